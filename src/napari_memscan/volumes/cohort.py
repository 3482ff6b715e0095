"""The volumes of a study: one row a volume, with its split and its subject."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_memscan.errors import BadInput
from napari_memscan.files import make_portable, write_text
from napari_memscan.typing import Split
from napari_memscan.volumes.names import name_volumes

if TYPE_CHECKING:
    import pandas as pd

    from napari_memscan.volumes.volume import Volume

COLUMNS = (
    "path",
    "split",
    "subject_id",
    "session_id",
    "axes",
    "spacing",
    "sha256",
    "condition",
    "name",
)
UNKNOWN_SUBJECTS = (
    "{} volumes have no subject_id: nobody can tell whether a subject is in two splits, which "
    "would raise the threshold and hide copies."
)


@dataclass(frozen=True)
class CohortRow:
    """One volume of a cohort.

    Attributes
    ----------
    path : str
        Absolute path of the file, or of the folder of a DICOM series.
    split : Split
    subject_id, session_id : str
        Whose volume; empty when unknown.
    axes : str
        For ``.npy``: what each axis is, such as ``XYZ`` or ``DHW``; empty for files that say it.
    spacing : str
        ``x y z`` in mm for files that do not say it; else empty.
    sha256 : str
        Of the file's bytes.
    condition : str
        What a conditional model is told of it, such as ``left``; empty when unknown.
    name : str
        What results call it, unlike any other in its cohort; see `name_rows`. It stays when the
        file is moved.
    """

    path: str
    split: Split
    subject_id: str = ""
    session_id: str = ""
    axes: str = ""
    spacing: str = ""
    sha256: str = ""
    condition: str = ""
    name: str = ""

    @property
    def content(self) -> str:
        """What stands for the volume as it was read; see `compute_content_key`."""
        from napari_memscan.volumes.volume import compute_content_key

        return compute_content_key(self.sha256, self.axes, self.spacing)

    def read(self) -> Volume:
        """Read the volume; BadInput when the file does not hold one."""
        from napari_memscan.volumes.reader import parse_spacing, read_volume

        return read_volume(self.path, axes=self.axes or None, spacing=parse_spacing(self.spacing))


def name_rows(rows: Iterable[CohortRow], taken: Iterable[str] = ()) -> list[CohortRow]:
    """Return the rows, those that had no name with one; see `name_volumes`.

    Parameters
    ----------
    rows : iterable of CohortRow
        Of one cohort.
    taken : iterable of str
        Names that nobody else may get, such as those of samples.
    """
    rows = list(rows)
    # One split group after the other: a name does not depend on volumes that no scan looks at.
    for splits in ((Split.TRAINING, Split.VALIDATION), (Split.UNSEEN,), (Split.SYNTHETIC,)):
        new = [i for i, row in enumerate(rows) if not row.name and row.split in splits]
        others = {row.name for row in rows}.union(taken)
        names = name_volumes([rows[i].path for i in new], others)
        for i, name in zip(new, names, strict=True):
            rows[i] = replace(rows[i], name=name)
    return rows


@dataclass
class Cohort:
    """The volumes of a study.

    Attributes
    ----------
    table : pandas.DataFrame
        One row a volume, columns `COLUMNS`, all text.
    warnings : list of str
        What a reader of the report should know; filled by importers and by `check`.
    """

    table: pd.DataFrame
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def from_rows(
        cls, rows: Iterable[CohortRow], warnings: Iterable[str] = (), taken: Iterable[str] = ()
    ) -> Cohort:
        """Make a cohort of rows; those without a name get one, none of those that are taken."""
        import pandas as pd

        values = [[getattr(row, c) for c in COLUMNS] for row in name_rows(rows, taken)]
        return cls(pd.DataFrame(values, columns=list(COLUMNS), dtype=str), list(warnings))

    def save(self, path: str | Path) -> None:
        """Write the table; paths below or beside the file's folder become relative to it."""
        path = Path(path)
        root = path.parent.resolve()
        table = self.table[["name", *COLUMNS[:-1]]].copy()
        table["path"] = [make_portable(p, root) for p in table["path"]]
        if not table["condition"].any():
            del table["condition"]
        write_text(path, table.to_csv(index=False, lineterminator="\n"))

    def join_cohorts(self, *others: Cohort) -> Cohort:
        """Return a cohort of this one's rows and the others', in this order, named anew."""
        rows = [replace(row, name="") for cohort in (self, *others) for row in cohort.rows()]
        return Cohort.from_rows(rows, [w for c in (self, *others) for w in c.warnings])

    def rows(self, split: Split | None = None) -> list[CohortRow]:
        """Return the rows of one split, or all of them, in the table's order."""
        table = self.table if split is None else self.table[self.table["split"] == split]
        return [
            CohortRow(str(path), Split(split), *map(str, values))
            for path, split, *values in table.itertuples(index=False)
        ]

    def counts(self) -> dict[Split, int]:
        """Return the number of volumes in each split."""
        return {split: int((self.table["split"] == split).sum()) for split in Split}

    def format_counts(self) -> str:
        """Return how many volumes of which split there are: ``64 training, 40 validation``."""
        return ", ".join(f"{n} {split}" for split, n in self.counts().items() if n)

    def check(self, missing_ok: bool = False) -> None:
        """Refuse what would make every number wrong; note what a reader should know.

        With `missing_ok` files that are missing are only noted: what was scanned can be read.

        Raises
        ------
        BadInput
            No or one training volume, no validation volume, a missing file, a subject in two
            splits, the same file in training and in validation.
        """
        counts = self.counts()
        if counts[Split.TRAINING] < 2:
            raise BadInput(
                f"cohort: {counts[Split.TRAINING]} training volumes; at least 2 are needed. "
                "Set 'training' in the column 'split'."
            )
        if counts[Split.VALIDATION] < 1:
            raise BadInput(
                "cohort: no validation volumes. A threshold needs volumes of subjects that the "
                "model has not seen: set 'validation' in the column 'split' for some."
            )
        twice = [name for name, n in Counter(self.table["name"]).items() if n > 1]
        if twice:
            raise BadInput(
                f"cohort: {twice[0]} is the name of two volumes. Give each one a name of its own "
                "in the column 'name', or empty it: then they are named after their files."
            )
        missing = [row for row in self.rows() if not Path(row.path).exists()]
        if missing and missing_ok:
            # By name: this goes into results, which say nothing of where files lie.
            self._warn(
                f"{len(missing)} of {len(self.table)} files that the cohort names are missing, "
                f"the first is {missing[0].name}. Restore them before you scan or train, or "
                "correct the column 'path' of cohort.csv."
            )
        elif missing:
            raise BadInput(
                f"{missing[0].path}: missing, though the cohort names it ({len(missing)} such "
                "files). Restore the files or take them out of the cohort."
            )
        self._check_subjects()
        self._check_duplicates()

    def _check_subjects(self) -> None:
        seen: dict[str, CohortRow] = {}
        real = [row for row in self.rows() if row.split != Split.SYNTHETIC]
        for row in (row for row in real if row.subject_id):
            first = seen.setdefault(row.subject_id, row)
            if first.split != row.split:
                raise BadInput(
                    f"cohort: subject {row.subject_id} is in {first.split} ({first.path}) and in "
                    f"{row.split} ({row.path}). Put all volumes of a subject into one split; "
                    "otherwise the threshold would hide copies."
                )
        unknown = sum(not row.subject_id for row in real)
        if unknown:
            self._warn(UNKNOWN_SUBJECTS.format(unknown))

    def _check_duplicates(self) -> None:
        by_hash: dict[str, CohortRow] = {}
        twice = 0
        for row in self.rows(Split.TRAINING):
            twice += row.sha256 in by_hash if row.sha256 else 0
            by_hash.setdefault(row.sha256, row)
        if twice:
            self._warn(f"{twice} training files are identical to another training file.")
        for row in self.rows(Split.VALIDATION):
            if row.sha256 and row.sha256 in by_hash:
                raise BadInput(
                    f"cohort: {row.path} (validation) and {by_hash[row.sha256].path} (training) "
                    "are the same file. Remove one of them."
                )

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)
