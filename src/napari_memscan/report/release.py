"""The release folder: clean volumes, what is claimed of them, and a hash of every file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_memscan.errors import BadInput
from napari_memscan.files import hash_file, write_json, write_text
from napari_memscan.report.dicom import DICOM_FOLDER
from napari_memscan.review.events import get_program_version
from napari_memscan.volumes.reader import write_nifti
from napari_memscan.volumes.volume import Volume

CHECKSUMS, MANIFEST, DATASHEET = "SHA256SUMS", "manifest.json", "datasheet.md"
LICENSE, REPORT = "LICENSE", "report/index.html"
BIDS_VERSION = "1.10.0"


@dataclass(frozen=True)
class ReleaseLayout:
    """Where volumes lie in a release.

    Attributes
    ----------
    n : int
        Volumes in all: long enough numbers are given to each.
    bids : str
        Suffix such as ``T1w``; empty for a plain folder.
    """

    n: int
    bids: str = ""

    def file(self, number: int) -> str:
        """Return the path of a volume, numbered from 1."""
        name = f"{number:0{max(4, len(str(self.n)))}d}"
        if self.bids:
            return f"sub-{name}/anat/sub-{name}_{self.bids}.nii.gz"
        return f"volume-{name}.nii.gz"


def shuffle_samples(samples: Iterable[str], seed: int) -> list[str]:
    """Return samples in an order that says nothing of them; the same for the same seed.

    Each has a place of its own by a hash, so that one more leaves the order of the others.
    """
    return sorted(samples, key=lambda s: hashlib.sha256(f"release {seed} {s}".encode()).digest())


def write_clean_volume(volume: Volume, folder: Path, name: str) -> str:
    """Write a volume with nothing but voxels and voxel size in its file; return its SHA-256."""
    path = folder / name
    write_nifti(Volume(volume.data, volume.spacing), path)
    return hash_file(path)


def list_release_files(folder: Path) -> list[str]:
    """Return all files below a folder but the list of hashes, hidden ones too, sorted."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if (path.is_symlink() or not path.is_dir()) and path != folder / CHECKSUMS
    )


def write_checksums(folder: Path) -> str:
    """Write ``SHA256SUMS``, as ``sha256sum -c`` reads it; return its own SHA-256.

    That one number stands for the whole release.
    """
    text = "".join(f"{hash_file(folder / name)}  {name}\n" for name in list_release_files(folder))
    write_text(folder / CHECKSUMS, text)
    return hash_file(folder / CHECKSUMS)


def parse_checksums(text: str) -> dict[str, str]:
    """Return file to hash.

    Raises
    ------
    ValueError
        A line is no hash and path inside the release, or a path comes twice.
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        digest, _, name = line.partition("  ")
        parts = name.split("/")
        if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise ValueError(f"'{line[:80]}' is no hash and file")
        if not name or name in found or "\\" in name or {"", ".", ".."} & set(parts):
            raise ValueError(f"'{name[:80]}' is no file of a release, or comes twice")
        found[name] = digest
    return found


def compose_license(license: str) -> str:
    """Return what the file ``LICENSE`` says: where an SPDX licence stands, or the text given."""
    if " " in license.strip() or "\n" in license.strip():
        return license.strip() + "\n"
    name = license.strip()
    return (
        f"SPDX-License-Identifier: {name}\n\n"
        f"These synthetic volumes are released under {name}.\n"
        f"Its text: https://spdx.org/licenses/{name}.html\n"
    )


def write_bids_files(folder: Path, title: str, license: str, files: Sequence[str]) -> None:
    """Write what BIDS asks for beside the volumes."""
    write_json(
        folder / "dataset_description.json",
        {
            "Name": title,
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "derivative",
            "License": license,
            "GeneratedBy": [
                {
                    "Name": "napari-memscan",
                    "Version": get_program_version(),
                    "Description": "synthetic volumes, screened for copies of training volumes",
                }
            ],
        },
    )
    subjects = "".join(f"{name.split('/')[0]}\tsynthetic\n" for name in files)
    write_text(folder / "participants.tsv", f"participant_id\torigin\n{subjects}")
    write_json(
        folder / "participants.json",
        {"origin": {"Description": "synthetic: made by a generative model, no person"}},
    )
    write_text(
        folder / "README",
        f"{title}\n\nSynthetic volumes: no participant is a person. What they are and how they "
        f"were screened: {DATASHEET}, {MANIFEST}, {REPORT}.\n",
    )
    own = (MANIFEST, DATASHEET, CHECKSUMS, "report/", f"{DICOM_FOLDER}/")
    write_text(folder / ".bidsignore", "".join(f"{name}\n" for name in own))


def check_release_target(out: Path, used: Mapping[str, Path]) -> None:
    """Refuse a target that holds anything but an earlier release, or lies among what is used.

    Parameters
    ----------
    out : Path
        Absolute.
    used : mapping of str to Path
        What it is to people, and a file or folder that the study reads.
    """
    for what, path in used.items():
        if path == out or path.is_relative_to(out) or (out.is_relative_to(path) and path.is_dir()):
            raise BadInput(
                f"{out}: lies together with {what}. Choose a folder of its own for the release."
            )
    if not out.exists():
        return
    if not out.is_dir() or out.is_symlink():
        raise BadInput(f"{out}: is there already and no folder. Choose another name.")
    there = list_release_files(out)
    if not there and not (out / CHECKSUMS).exists():
        return
    try:
        known = parse_checksums((out / CHECKSUMS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{out}: holds files and is no earlier release. Choose a new folder."
        ) from error
    others = sorted(set(there) - set(known))
    # Volumes are many, and nobody edits them; a datasheet that was filled in by hand is work.
    others += [
        name
        for name in there
        if name in known
        and not name.endswith((".nii.gz", ".dcm"))
        and hash_file(out / name) != known[name]
    ]
    if MANIFEST not in known or others:
        raise BadInput(
            f"{out}: holds files that are not of an earlier release, or were changed since "
            f"({', '.join(others[:3])}); they would be lost. Choose a new folder."
        )
