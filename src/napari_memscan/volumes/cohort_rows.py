"""Rows of a cohort from what is written of them: files, names of splits, subjects in names."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from napari_memscan.errors import BadInput
from napari_memscan.files import hash_file, hash_json, make_absolute
from napari_memscan.typing import Split
from napari_memscan.volumes.cohort import CohortRow

SPLIT_NAMES = {split.value: split for split in Split} | {
    "train": Split.TRAINING,
    "val": Split.VALIDATION,
    "valid": Split.VALIDATION,
    "syn": Split.SYNTHETIC,
    "test": Split.UNSEEN,
    "testing": Split.UNSEEN,
    "held-out": Split.UNSEEN,
}


def find_split(name: str) -> Split | None:
    """Return the split that is usually called so, if one is."""
    return SPLIT_NAMES.get(name.strip().lower())


def hash_content(path: str | Path) -> str:
    """Return the SHA-256 of a file, or one over all files of a DICOM folder."""
    path = Path(path)
    if path.is_dir():
        return hash_json([hash_file(p) for p in sorted(path.iterdir()) if p.is_file()])
    return hash_file(path)


def make_row(
    path: Path,
    split: Split,
    hashed: Callable[[Path], str] = hash_content,
    gone: str | None = None,
    /,
    **values: str,
) -> CohortRow:
    """Return the row of a file; BadInput where it is missing and no hash of it is known."""
    there = path.exists()
    if not there and gone is None:
        raise BadInput(f"{path}: missing, though the cohort names it. Restore or remove it.")
    place = make_absolute(path)
    return CohortRow(str(place), split, sha256=hashed(place) if there else str(gone), **values)


def match_subject(name: str, pattern: str) -> str:
    """Return the subject that a name holds: the pattern's group ``subject``, or its first."""
    try:
        match = re.search(pattern, name)
    except re.error as error:
        raise BadInput(
            f"subject pattern '{pattern}': not a regular expression ({error})."
        ) from error
    subject = match and match.re.groups and (match.groupdict().get("subject") or match.group(1))
    if not subject:
        raise BadInput(
            f"{name}: the subject pattern '{pattern}' finds no subject in this name. "
            "It needs a group, such as 'sub-([^_]+)'."
        )
    return str(subject)
