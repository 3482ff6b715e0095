"""Cohorts from what people have: folders, tables, and whatever lists of images they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from napari_memscan.errors import BadInput, JobFailed
from napari_memscan.files import write_text
from napari_memscan.typing import Split
from napari_memscan.volumes.cohort import COLUMNS, Cohort
from napari_memscan.volumes.cohort_rows import find_split, hash_content, make_row, match_subject
from napari_memscan.volumes.datalists import import_json, import_mrnet
from napari_memscan.volumes.reader import list_volumes

PATH_COLUMNS = ("path", "image", "image_path")


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
            return import_json(path, **options)
        return import_csv(path, **options)
    if not path.is_dir():
        raise BadInput(f"{path}: no such file or folder. Choose a cohort.csv or a folder.")
    if (path / "cohort.csv").is_file():
        return import_csv(path / "cohort.csv", **options)
    if (path / "dataset.json").is_file():
        return import_json(path / "dataset.json", **options)
    if (path / "train" / "sagittal").is_dir():
        return import_mrnet(path, **options)
    parts = [
        import_folder(child, split, **options)
        for child in sorted(path.iterdir())
        if child.is_dir() and (split := find_split(child.name)) is not None
    ]
    if not parts:
        raise BadInput(
            f"{path}: no cohort.csv, no dataset.json and no sub-folders named after splits "
            "(training, validation). Make one of them."
        )
    return parts[0].join_cohorts(*parts[1:])


def import_folder(folder: str | Path, split: Split, subject_pattern: str | None = None) -> Cohort:
    """Take every volume below a folder.

    Parameters
    ----------
    folder : path
        Searched with its sub-folders.
    split : Split
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
            subject = match_subject(path.relative_to(folder).as_posix(), subject_pattern)
        rows.append(make_row(path, split, subject_id=subject))
    return Cohort.from_rows(rows)


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
        usual = find_split(given) or given
        split = find_split(renames.get(given, renames.get(usual, usual)))
        if split is None:
            raise BadInput(f"{path}: split '{given}' is not known; use {', '.join(Split)}.")
        file = str(values[name]).strip()
        if not file:
            raise BadInput(f"{path}: line {line} names no file. Fill in '{name}' or remove it.")
        extra = {
            c: str(values.get(c, "")).strip()
            for c in COLUMNS
            if c not in ("path", "split", "sha256") and (c != "name" or taken is not None)
        }
        gone = str(values.get("sha256", "")).strip() if missing_ok else None
        rows.append(make_row(path.parent / file, split, hashed, gone, **extra))
    return Cohort.from_rows(rows, taken=taken or ())
