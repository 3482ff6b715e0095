"""Whether a release is still what it was: every file, every header, and what it claims."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from napari_memscan.errors import BadInput, MemscanError, make_printable
from napari_memscan.files import hash_file, read_small_file
from napari_memscan.report.dicom import find_differing_slices, get_series_folder
from napari_memscan.report.manifest import MANIFEST_FORMAT, ReleaseSelection
from napari_memscan.report.nifti_header import find_extra_content
from napari_memscan.report.policy import PASSED, ReleasePolicy
from napari_memscan.report.release import (
    CHECKSUMS,
    DATASHEET,
    LICENSE,
    MANIFEST,
    REPORT,
    list_release_files,
    parse_checksums,
)
from napari_memscan.typing import Decision

MIN_FINGERPRINT_DIGITS = 12
"""Hexadecimal digits of a noted fingerprint that are enough to recognise it."""
MAX_MANIFEST_BYTES = 500_000_000
"""Bytes of the largest manifest that is read."""


@dataclass(frozen=True)
class ReleaseVerification:
    """What the verification of a release found.

    Attributes
    ----------
    folder : str
        Of the release.
    fingerprint : str
        SHA-256 of its ``SHA256SUMS``: stands for the whole release.
    n_files : int
        Files whose hashes were compared.
    faults : tuple of str
        What does not fit.
    claims : tuple of str
        What the release says of itself, in words; only as good as the one who made it.
    """

    folder: str
    fingerprint: str
    n_files: int
    faults: tuple[str, ...]
    claims: tuple[str, ...]

    @property
    def intact(self) -> bool:
        """Whether nothing was found missing, added, changed or contradictory."""
        return not self.faults

    def to_json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self) | {"intact": self.intact}, indent=2, sort_keys=True)

    def __str__(self) -> str:
        lines = [f"{self.folder}: {self.n_files} files"]
        lines += [f"broken       {fault}" for fault in self.faults]
        if self.intact:
            lines.append("intact       every file is there, none was added or changed")
        lines += [f"claims       {claim}" for claim in self.claims]
        return "\n".join([*lines, f"fingerprint  {self.fingerprint}"])


def verify_release(folder: str | Path, expect: str = "") -> ReleaseVerification:
    """Verify a release; needs nothing but its folder.

    Parameters
    ----------
    folder : path
        Of the release.
    expect : str
        Its fingerprint as noted elsewhere, or the first digits of it (`MIN_FINGERPRINT_DIGITS` at
        least). Without it, a release that was made anew as a whole does not show.

    Raises
    ------
    BadInput
        The folder holds no release, or `expect` is no hash.
    """
    folder = Path(folder).resolve()
    expect = expect.strip().lower()
    if expect and (len(expect) < MIN_FINGERPRINT_DIGITS or set(expect) - set("0123456789abcdef")):
        raise BadInput(
            f"fingerprint '{expect}': at least {MIN_FINGERPRINT_DIGITS} hexadecimal digits are"
            " expected."
        )
    if not (folder / CHECKSUMS).is_file() and not (folder / MANIFEST).is_file():
        raise BadInput(f"{folder}: no release there: neither {CHECKSUMS} nor {MANIFEST}.")
    faults: list[str] = []
    sums: dict[str, str] = {}
    fingerprint = ""
    try:
        text = read_small_file(folder / CHECKSUMS, MAX_MANIFEST_BYTES)
        fingerprint = hashlib.sha256(text).hexdigest()
        sums = parse_checksums(text.decode())
    except (OSError, ValueError) as error:
        faults.append(f"{CHECKSUMS}: cannot be read ({error})")
    if expect and not fingerprint.startswith(expect):
        faults.append(f"{CHECKSUMS}: not the one whose fingerprint was noted")
    if sums:
        faults += _check_files(folder, sums)
    claims: tuple[str, ...] = ()
    try:
        manifest = json.loads(read_small_file(folder / MANIFEST, MAX_MANIFEST_BYTES))
        if manifest["format"] != MANIFEST_FORMAT:
            raise BadInput(
                f"{folder / MANIFEST}: format {manifest['format']}, this memscan reads"
                f" {MANIFEST_FORMAT}. Update napari-memscan."
            )
        faults += _check_manifest(manifest, sums)
        claims = list_claims(manifest)
    except BadInput:
        raise
    except FileNotFoundError:
        if not sums:
            faults.append(f"{MANIFEST}: missing")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        faults.append(f"{MANIFEST}: cannot be understood ({type(error).__name__}: {error})")
    return ReleaseVerification(
        str(folder),
        fingerprint,
        len(sums),
        tuple(map(make_printable, faults)),  # Names of files are the work of whoever made them.
        tuple(map(make_printable, claims)),
    )


def _check_files(folder: Path, sums: Mapping[str, str]) -> Iterator[str]:
    """Yield what is missing, added or changed, and headers that hold too much."""
    there = list_release_files(folder)
    for name in sorted({MANIFEST, DATASHEET, LICENSE, REPORT} - set(sums)):
        yield f"{name}: not in {CHECKSUMS}, and belongs to every release"
    for name in sorted(set(there) - set(sums)):
        yield f"{name}: added"
    clean: list[str] = []
    folders = {parent for name in sums for parent in (folder / name).parents}
    for path in sorted(p for p in folder.rglob("*") if p.is_dir() and not p.is_symlink()):
        if path not in folders:
            yield f"{path.relative_to(folder).as_posix()}/: a folder that was added"
    for name, digest in sums.items():
        path = folder / name
        if name not in there:
            yield f"{name}: missing"
        elif not path.is_file() or _is_linked(path, folder):
            yield f"{name}: a link or device in place of a file"
        elif hash_file(path) != digest:
            yield f"{name}: changed"
        elif name.endswith((".nii", ".nii.gz")):
            found = find_extra_content(path)
            if found:
                yield f"{name}: {found}"
            else:
                clean.append(name)
    yield from _check_series(folder, sums, clean)


def _check_series(folder: Path, sums: Mapping[str, str], clean: Sequence[str]) -> Iterator[str]:
    """Yield DICOM slices that are anything but the volume that they belong to."""
    slices = {name: digest for name, digest in sums.items() if name.endswith(".dcm")}
    written = {name.rpartition("/")[0] for name in slices}
    for name in clean:
        if get_series_folder(name) in written:
            try:
                yield from find_differing_slices(folder, name, slices)
            except MemscanError as error:
                yield f"{name}: cannot be compared with its DICOM series ({error})"
    for name in sorted(slices):
        yield f"{name}: of no volume of this release that could be read"


def _is_linked(path: Path, folder: Path) -> bool:
    return path.resolve() != path or not path.resolve().is_relative_to(folder)


def _check_manifest(manifest: Mapping[str, Any], sums: Mapping[str, str]) -> Iterator[str]:
    """Yield where a manifest contradicts the files, itself, or the policy it states."""
    volumes, selection = manifest["volumes"], ReleaseSelection(**manifest["selection"])
    policy = ReleasePolicy(
        tuple(manifest["policy"]["rule"]),
        manifest["policy"]["readers"],
        int(manifest["policy"]["wanted"]),
    )
    names = [volume["file"] for volume in volumes]
    images = {name for name in sums if name.endswith((".nii", ".nii.gz"))}
    if len(set(names)) < len(names):
        yield f"{MANIFEST}: a volume comes twice"
    for name in sorted(images - set(names)):
        yield f"{name}: not in {MANIFEST}"
    written = {name.rpartition("/")[0] for name in sums if name.endswith(".dcm")}
    for volume in volumes:
        name = volume["file"]
        if sums and "DICOM" in manifest["layout"] and get_series_folder(name) not in written:
            yield f"{name}: its DICOM series is missing"
        if sums and sums.get(name) != volume["sha256"]:
            yield f"{name}: not the volume of which {MANIFEST} speaks"
        said = [decision for decision in Decision for _ in range(volume["decisions"][decision])]
        outcome = policy.outcome(volume["verdict"], said)
        if outcome.status != PASSED:
            yield f"{name}: the stated policy does not let it pass ({outcome.why})"
    out = selection.left_out + sum(selection.rejected.values())
    if (selection.released, selection.released + out) != (len(volumes), selection.generated):
        yield f"{MANIFEST}: its numbers of volumes do not add up"
    if selection.generated != manifest["scan"]["n_synthetic"]:
        yield f"{MANIFEST}: not all volumes that were made were scanned"
    if manifest["scan"]["no_power"] and policy.rule:
        yield f"{MANIFEST}: volumes passed by verdicts of a detector without power"


def list_claims(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a release says of itself."""
    scan, policy, decisions = manifest["scan"], manifest["policy"], manifest["decisions"]
    test, assumption = manifest["selftest"], manifest["assumption"]
    level = f", q {scan['q']:g}" if scan["q"] is not None else ""
    claims = [
        f"{manifest['title']}; licence: {manifest['license'].strip().splitlines()[0]}",
        str(ReleaseSelection(**manifest["selection"])),
        f"screened by {scan['rule']} on the {scan['measure']}{level}, a null of {scan['n_null']}, "
        f"{scan['n_training']} training volumes; memscan {manifest['memscan']}",
        f"policy: readers '{policy['readers']}', passing without a reader: "
        f"{', '.join(policy['rule']) or 'nothing'}; {decisions['readers']} readers",
    ]
    if scan["no_power"]:
        claims.append(f"the detector had no power: {scan['no_power']}")
    if assumption is not None and assumption["failed"]:
        claims.append("the assumption test failed: the error rate is in doubt")
    if test is None:
        claims.append("no self-test: what the detector misses is not known")
    else:
        found = test["sensitivity"]
        claims.append(
            f"self-test: {found['k']} of {found['n']} planted copies called"
            + (", with another search than the scan's" if test["out_of_date"] else "")
        )
    return (*claims, f"head of the decisions {decisions['head']} after {decisions['events']}")
