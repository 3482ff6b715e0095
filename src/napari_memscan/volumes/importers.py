"""Cohorts from what people have: folders, tables, MSD and MRNet data sets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from napari_memscan.errors import BadInput, JobFailed
from napari_memscan.files import hash_file, hash_json, make_absolute, parse_json, write_text
from napari_memscan.volumes.cohort import COLUMNS, SPLITS, Cohort, CohortRow
from napari_memscan.volumes.reader import list_volumes

SPLIT_ALIASES = {
    "train": "training",
    "val": "validation",
    "valid": "validation",
    "syn": "synthetic",
    "test": "unseen",
    "testing": "unseen",
    "held-out": "unseen",
}
PATH_COLUMNS = ("path", "image", "image_path")


def hash_content(path: str | Path) -> str:
    """Return the SHA-256 of a file, or one over all files of a DICOM folder."""
    path = Path(path)
    if path.is_dir():
        return hash_json([hash_file(p) for p in sorted(path.iterdir()) if p.is_file()])
    return hash_file(path)


def _make_row(
    path: Path,
    split: str,
    hashed: Callable[[Path], str] = hash_content,
    gone: str | None = None,
    /,
    **values: str,
) -> CohortRow:
    there = path.exists()
    if not there and gone is None:
        raise BadInput(f"{path}: missing, though the cohort names it. Restore or remove it.")
    place = make_absolute(path)
    return CohortRow(str(place), split, sha256=hashed(place) if there else str(gone), **values)


def import_cohort(path: str | Path, **options: Any) -> Cohort:
    """Import a CSV table, a MONAI datalist, an MSD `dataset.json`, MRNet, or a folder of splits.

    Parameters
    ----------
    path : path
        A folder is taken as MRNet when it holds ``train/sagittal``; as MSD when it holds
        ``dataset.json``; else ``cohort.csv`` in it; else one sub-folder a split.
    **options
        Passed to the importer chosen.
    """
    path = Path(path)
    if path.is_file():
        if path.suffix.lower() == ".json":
            return _import_json(path, **options)
        return import_csv(path, **options)
    if not path.is_dir():
        raise BadInput(f"{path}: no such file or folder. Choose a cohort.csv or a folder.")
    if (path / "cohort.csv").is_file():
        return import_csv(path / "cohort.csv", **options)
    if (path / "dataset.json").is_file():
        return _import_json(path / "dataset.json", **options)
    if (path / "train" / "sagittal").is_dir():
        return import_mrnet(path, **options)
    parts = [
        import_folder(child, _normalise_split(child.name), **options)
        for child in sorted(path.iterdir())
        if child.is_dir() and _normalise_split(child.name) in SPLITS
    ]
    if not parts:
        raise BadInput(
            f"{path}: no cohort.csv, no dataset.json and no sub-folders named after splits "
            "(training, validation). Make one of them."
        )
    return parts[0].join_cohorts(*parts[1:])


def _normalise_split(text: str) -> str:
    text = text.strip().lower()
    return SPLIT_ALIASES.get(text, text)


def import_folder(folder: str | Path, split: str, subject_pattern: str | None = None) -> Cohort:
    """Take every volume below a folder.

    Parameters
    ----------
    folder : path
        Searched with its sub-folders.
    split : str
        Of all these volumes.
    subject_pattern : str, optional
        Regular expression on the path below `folder`; its first group, or the group named
        ``subject``, is the subject. Without it subjects are unknown.

    Raises
    ------
    BadInput
        No volumes, or a name that the pattern does not match.
    """
    folder = Path(folder)
    rows = []
    for path in list_volumes(folder):
        subject = ""
        if subject_pattern is not None:
            subject = _match_subject(path.relative_to(folder).as_posix(), subject_pattern)
        rows.append(_make_row(path, split, subject_id=subject))
    return Cohort.from_rows(rows)


def _match_subject(name: str, pattern: str) -> str:
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


def load_cohort(path: Path, hashed: Callable[[Path], str], taken: Iterable[str] = ()) -> Cohort:
    """Read a study's own table as `Cohort.save` wrote it; files may be missing.

    Rows that somebody has added get a name, which is written into the table: it stays theirs.

    Parameters
    ----------
    path : Path
        ``cohort.csv``.
    hashed : callable
        Returns the SHA-256 of a file.
    taken : iterable of str
        Names that no new row may get, such as those of samples.
    """
    import pandas as pd

    cohort = import_csv(path, hashed=hashed, missing_ok=True, taken=list(taken))
    table, names = pd.read_csv(path, dtype=str, keep_default_na=False), list(cohort.table["name"])
    if "name" not in table.columns or list(table["name"].str.strip()) != names:
        table["name"] = names
        with suppress(JobFailed):  # A study that can only be read is named anew each time.
            write_text(path, table.to_csv(index=False, lineterminator="\n"))
    return cohort


def import_csv(
    path: str | Path,
    splits: Mapping[str, str] | None = None,
    hashed: Callable[[Path], str] = hash_content,
    missing_ok: bool = False,
    taken: Iterable[str] | None = None,
) -> Cohort:
    """Read a table of volumes.

    Parameters
    ----------
    path : path
        CSV with a column ``path`` (or ``image``, ``image_path``) and ``split``; optional are
        ``subject_id``, ``session_id``, ``axes``, ``spacing``, ``condition``. Relative paths
        start at the file's folder. Usual other names of splits are understood (``train``,
        ``val``, ``test``).
    splits : mapping, optional
        Renames splits first, such as ``{"unseen": "synthetic"}``.
    hashed : callable
        Returns the SHA-256 of a file; another one may remember it.
    missing_ok : bool
        Keep rows of files that are missing, with the SHA-256 that the table has of them.
    taken : iterable of str, optional
        The table is a study's own: its column ``name`` holds, and rows without one get none of
        these. In other people's tables a column of that name says something else.

    Raises
    ------
    BadInput
        Not a table, a column or file is missing, a split is not known.
    """
    import pandas as pd

    path = Path(path)
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise BadInput(f"{path}: not a readable CSV table ({error}).") from error
    table.columns = [str(c).strip() for c in table.columns]
    name = next((c for c in PATH_COLUMNS if c in table.columns), None)
    if name is None or "split" not in table.columns:
        raise BadInput(
            f"{path}: columns {', '.join(table.columns)}; 'path' and 'split' are needed, "
            "separated by commas."
        )
    renames = dict(splits or {})
    rows = []
    for line, values in enumerate(table.to_dict("records"), start=2):
        given = str(values["split"]).strip()
        split = _normalise_split(
            str(renames.get(given, renames.get(_normalise_split(given), given)))
        )
        if split not in SPLITS:
            raise BadInput(f"{path}: split '{given}' is not known; use {', '.join(SPLITS)}.")
        file = str(values[name]).strip()
        if not file:
            raise BadInput(f"{path}: line {line} names no file. Fill in '{name}' or remove it.")
        extra = {
            c: str(values.get(c, "")).strip()
            for c in COLUMNS
            if c not in ("path", "split", "sha256") and (c != "name" or taken is not None)
        }
        gone = str(values.get("sha256", "")).strip() if missing_ok else None
        rows.append(_make_row(path.parent / file, split, hashed, gone, **extra))
    return Cohort.from_rows(rows, taken=taken or ())


def _import_json(path: Path, **options: Any) -> Cohort:
    """Take lists with a split besides 'training' as a datalist, else one list as MSD's pool."""
    value = _read_json(path)
    if isinstance(value, dict):
        lists = [_normalise_split(name) for name, of in value.items() if isinstance(of, list)]
        divided = "validation" in lists or "synthetic" in lists
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
            if not isinstance(split, str) or _normalise_split(split) not in SPLITS:
                raise BadInput(
                    f"{path}: entry {number} names no known split; "
                    f'{{"image": path, "split": name}} is expected, with one of '
                    f"{', '.join(SPLITS)}."
                )
            lists.setdefault(split, []).append(entry)
    else:
        lists = {name: entries for name, entries in value.items() if isinstance(entries, list)}
    rows = []
    for name, entries in lists.items():
        split = _normalise_split(name)
        if split not in SPLITS:
            continue
        for file, known in _iterate_entries(path, name, entries, subject_pattern):
            rows.append(_make_row(file, split, **known))
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
            known["subject_id"] = _match_subject(image.removeprefix("./"), pattern)
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
    found = list(_iterate_entries(path, "training", entries, subject_pattern))
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
        _make_row(f, "validation" if s in held_out else "training", **{**known, "subject_id": s})
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
