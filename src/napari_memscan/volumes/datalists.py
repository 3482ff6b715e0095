"""Cohorts from lists of images: MONAI datalists, the Medical Segmentation Decathlon, MRNet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from napari_memscan.errors import BadInput
from napari_memscan.files import parse_json
from napari_memscan.typing import Split
from napari_memscan.volumes.cohort import Cohort
from napari_memscan.volumes.cohort_rows import find_split, make_row, match_subject


def import_json(path: Path, **options: Any) -> Cohort:
    """Take lists with a split besides 'training' as a datalist, else one list as MSD's pool."""
    value = _read_json(path)
    if isinstance(value, dict):
        lists = {find_split(name) for name, of in value.items() if isinstance(of, list)}
        divided = not lists.isdisjoint((Split.VALIDATION, Split.SYNTHETIC))
    else:
        divided = any(isinstance(entry, dict) and "split" in entry for entry in value)
    return (import_datalist if divided else import_msd)(path, **options)


def _read_json(path: Path) -> dict[str, Any] | list[Any]:
    advice = (
        'A MONAI datalist is expected: {"training": [{"image": path}, ...], "validation": [...]}, '
        'or a list of {"image": path, "split": name}.'
    )

    def parsed(value: Any) -> dict[str, Any] | list[Any]:
        if isinstance(value, dict | list):
            return value
        raise TypeError(f"it holds {'null' if value is None else type(value).__name__}")

    try:
        return parse_json(path, parsed, advice)
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file. {advice}") from error


def import_datalist(path: str | Path, subject_pattern: str | None = None) -> Cohort:
    """Read a MONAI datalist: lists of ``{"image": path, ...}`` under the names of splits.

    Parameters
    ----------
    path : path
        The JSON file; paths in it start at its folder. Entries may also hold ``subject_id``,
        ``session_id``, ``axes``, ``spacing`` and ``condition``; other keys, such as labels, are
        left aside. One list of entries does, too, where each names its ``split``.
    subject_pattern : str, optional
        As in `import_folder`, for entries without ``subject_id``.

    Raises
    ------
    BadInput
        Another value, an entry without image or split, or a missing file.
    """
    path = Path(path)
    value = _read_json(path)
    if isinstance(value, list):
        lists: dict[str, list[Any]] = {}
        for number, entry in enumerate(value):
            split = entry.get("split") if isinstance(entry, dict) else None
            if not isinstance(split, str) or find_split(split) is None:
                raise BadInput(
                    f"{path}: entry {number} names no known split; "
                    f'{{"image": path, "split": name}} is expected, with one of '
                    f"{', '.join(Split)}."
                )
            lists.setdefault(split, []).append(entry)
    else:
        lists = {name: entries for name, entries in value.items() if isinstance(entries, list)}
    rows = []
    for name, entries in lists.items():
        split = find_split(name)
        if split is None:
            continue
        for file, known in _iterate_entries(path, name, entries, subject_pattern):
            rows.append(make_row(file, split, **known))
    return Cohort.from_rows(rows)


def _iterate_entries(
    path: Path, name: str, entries: list[Any], pattern: str | None
) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield file and columns of each entry of a JSON list."""
    for number, entry in enumerate(entries):
        entry = {"image": entry} if isinstance(entry, str) else entry
        if not isinstance(entry, dict) or not isinstance(image := entry.get("image"), str):
            raise BadInput(
                f'{path}: entry {number} of "{name}" names no image; {{"image": path}} is expected.'
            )
        file = path.parent / image
        if not image or not _exists(file):
            raise BadInput(f"{file}: missing, though {path.name} names it under '{name}'.")
        known = {
            key: _format_value(entry[key])
            for key in ("subject_id", "session_id", "axes", "spacing", "condition")
            if entry.get(key) is not None
        }
        if pattern is not None and "subject_id" not in known:
            known["subject_id"] = match_subject(image.removeprefix("./"), pattern)
        yield file, known


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # Longer than a name may be, or with what no name holds.
        return False


def _format_value(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def import_msd(
    path: str | Path,
    validation_share: float = 0.3,
    seed: int = 1,
    subject_pattern: str | None = None,
) -> Cohort:
    """Read a Medical Segmentation Decathlon `dataset.json`, whose labelled images are one pool.

    Parameters
    ----------
    path : path
        The JSON file: an object with a list ``training``, or such a list; entries as in
        `import_datalist`.
    validation_share : float
        Share of subjects, in (0, 1), drawn as validation.
    seed : int
        Of that draw.
    subject_pattern : str, optional
        As in `import_folder`; without it each image counts as a subject, with a warning.

    Raises
    ------
    BadInput
        Another value, an entry without image, or a missing file.
    """
    path = Path(path)
    value = _read_json(path)
    entries = value.get("training") if isinstance(value, dict) else value
    if not isinstance(entries, list):
        raise BadInput(
            f"{path}: not a Decathlon dataset.json with a list 'training' of images, and no "
            "datalist with a list 'validation'. Name the lists after their splits."
        )
    found = list(_iterate_entries(path, Split.TRAINING, entries, subject_pattern))
    return _split_by_subject(found, validation_share, seed)


def import_mrnet(
    folder: str | Path, plane: str = "sagittal", validation_share: float = 0.2, seed: int = 26
) -> Cohort:
    """Read the MRNet knee data set: ``train/<plane>/*.npy``, slices x rows x columns.

    Dar et al. 2023 take the training exams of the sagittal plane, a fifth of them for
    validation. The folder does not say which exams are the same person, so two exams of one
    person can fall into two splits; a warning says so.
    """
    files = sorted((Path(folder) / "train" / plane).glob("*.npy"))
    if not files:
        raise BadInput(f"{folder}: no train/{plane}/*.npy. Choose the folder of MRNet-v1.0.")
    # Sagittal slices run along X; rows run from head to feet, columns from front to back.
    axes = {"sagittal": "Xzy", "coronal": "YzX", "axial": "ZyX"}.get(plane, "ZyX")
    return _split_by_subject([(file, {"axes": axes}) for file in files], validation_share, seed)


def _split_by_subject(found: list[tuple[Path, dict[str, str]]], share: float, seed: int) -> Cohort:
    """Divide a pool of files with what is known of each."""
    if not 0 < share < 1:
        raise BadInput(f"validation_share {share}: a number between 0 and 1 is expected.")
    found = sorted(found, key=lambda pair: pair[0])
    unknown = [known for _, known in found if not known.get("subject_id")]
    subjects = [known.get("subject_id") or f.name.split(".")[0] for f, known in found]
    names = sorted(set(subjects))
    order = np.random.default_rng(seed).permutation(len(names))
    held_out = {names[i] for i in order[: max(1, round(share * len(names)))]}
    rows = [
        make_row(
            f, Split.VALIDATION if s in held_out else Split.TRAINING, **{**known, "subject_id": s}
        )
        for (f, known), s in zip(found, subjects, strict=True)
    ]
    warnings = (
        [
            "The data set does not say which images are of the same person; each image is taken as"
            " a subject. Two images of one person in two splits would raise the threshold."
        ]
        if unknown
        else []
    )
    return Cohort.from_rows(rows, warnings)
