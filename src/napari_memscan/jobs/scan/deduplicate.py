"""What is twice in the cohort of a study: inside training, and in training and validation."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.errors import BadInput
from napari_memscan.files import write_json, write_text
from napari_memscan.jobs.scan.volumes import list_entries, open_chain, prepare_splits
from napari_memscan.progress import Progress
from napari_memscan.study import Study
from napari_memscan.typing import Split

if TYPE_CHECKING:
    from napari_memscan.detection.duplicates.groups import DuplicateGroup, DuplicateResult
    from napari_memscan.volumes.cohort import Cohort, CohortRow

FILE = "duplicates.json"
REMOVED_FILE = "removed.csv"
"""Written beside a cohort without its duplicates."""


@dataclass(frozen=True)
class CohortDuplicates:
    """What is twice in a cohort, and in which rows.

    Attributes
    ----------
    found : DuplicateResult
        Counts rows of `training` and, of leaks, of `validation`.
    cohort : Cohort
        That was searched.
    """

    found: DuplicateResult
    cohort: Cohort

    @property
    def training(self) -> list[CohortRow]:
        """Rows of the training volumes."""
        return self.cohort.rows(Split.TRAINING)

    @property
    def validation(self) -> list[CohortRow]:
        """Rows of the validation volumes."""
        return self.cohort.rows(Split.VALIDATION)

    def reasons(self, suspected: bool = False) -> dict[str, str]:
        """Return name to reason, of the training volumes to leave out.

        Parameters
        ----------
        suspected : bool
            Those of undecided pairs, too.
        """
        rows, reasons = self.training, dict[str, str]()
        for group in (*self.found.groups, *(self.found.suspected if suspected else ())):
            for i in group.drop:
                nearest = next(p for p in group.pairs if i in (p.first, p.second))
                other = rows[nearest.first + nearest.second - i]
                reasons.setdefault(
                    rows[i].name,
                    f"{nearest.verdict} of {other.name} (score {nearest.score:.3f}); kept of "
                    f"this group of {len(group.members)}: {rows[group.keep].name}",
                )
        return reasons

    def to_dict(self) -> dict[str, Any]:
        """Return everything by name, for JSON."""
        rows, unseen = self.training, self.validation

        def told(group: DuplicateGroup) -> dict[str, Any]:
            return {
                "volumes": [rows[i].name for i in group.members],
                "subjects": [rows[i].subject_id for i in group.members],
                "keep": rows[group.keep].name,
                "pairs": [
                    asdict(p) | {"first": rows[p.first].name, "second": rows[p.second].name}
                    for p in group.pairs
                ],
            }

        found = self.found
        return {
            "groups": [told(group) for group in found.groups],
            "suspected": [told(group) for group in found.suspected],
            "expected": [told(group) for group in found.expected],
            "leaks": [
                asdict(p) | {"first": unseen[p.first].name, "second": rows[p.second].name}
                for p in found.leaks
            ],
            "n_training": found.n_training,
            "n_null": found.n_null,
            "q": found.q,
        }

    def write(self, path: Path, suspected: bool = False) -> Path:
        """Write the cohort without what is twice, and beside it what was left out and why.

        What is left out goes into no other split: as validation it would be a copy in the null.

        Parameters
        ----------
        path : path
            Of the new table; nothing may be there.
        suspected : bool
            Leave out those of undecided pairs, too.

        Returns
        -------
        Path
            The table of what was left out.

        Raises
        ------
        BadInput
            One of the two files is there already.
        """
        from napari_memscan.volumes.cohort import Cohort

        beside = path.parent / REMOVED_FILE
        for file in (path, beside):
            if file.exists():
                raise BadInput(f"{file}: is there already. Write to another folder.")
        reasons = self.reasons(suspected)
        rows = self.cohort.rows()
        out = Cohort.from_rows(row for row in rows if row.name in reasons)
        table = out.table.assign(reason=[reasons[name] for name in out.table["name"]])
        write_text(beside, table.to_csv(index=False, lineterminator="\n"))
        Cohort.from_rows(row for row in rows if row.name not in reasons).save(path)
        return beside


def deduplicate_cohort(study: Study) -> Generator[Progress, None, CohortDuplicates]:
    """Search every training volume among those of other subjects.

    Volumes are compared as they are, not as the study's generator would make them. What is found
    is kept in the study's cache: a job that was stopped goes on.

    Yields
    ------
    Progress
        After each volume.

    Returns
    -------
    CohortDuplicates
        Also in the study's ``scan/duplicates.json``.

    Raises
    ------
    BadInput
        Too few volumes, or one that does not do.
    """
    from napari_memscan.detection.duplicates.search import check_split_sizes, find_duplicates

    entries = list_entries(study, Split.TRAINING, Split.VALIDATION)
    check_split_sizes(*map(len, entries.values()))
    with study.lock("look for duplicates"):
        tasks = yield from prepare_splits(study, entries)
        chain = open_chain(study, tasks[Split.TRAINING])
        found = yield from find_duplicates(
            chain, tasks[Split.VALIDATION], chain.draw_for_limits(study.config.preprocessing.shape)
        )
        result = CohortDuplicates(found, study.cohort)
        write_json(study.scan_dir / FILE, result.to_dict())
        return result
