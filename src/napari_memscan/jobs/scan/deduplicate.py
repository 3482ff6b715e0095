"""What is twice in the cohort of a study: inside training, and in training and validation."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.errors import BadInput
from napari_memscan.files import write_json, write_text
from napari_memscan.jobs.progress import Progress
from napari_memscan.study import Study

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
    found : Duplicates
        Counts rows of `training` and, of leaks, of `validation`.
    cohort : Cohort
        That was searched.
    """

    found: DuplicateResult
    cohort: Cohort

    @property
    def training(self) -> list[CohortRow]:
        """Rows of the training volumes."""
        return self.cohort.rows("training")

    @property
    def validation(self) -> list[CohortRow]:
        """Rows of the validation volumes."""
        return self.cohort.rows("validation")

    def reasons(self, suspected: bool = False) -> dict[str, str]:
        """Return path to reason, of the training volumes to leave out.

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
                    rows[i].path,
                    f"{nearest.verdict} of {other.path} (score {nearest.score:.3f}); kept of "
                    f"this group of {len(group.members)}: {rows[group.keep].path}",
                )
        return reasons

    def to_dict(self) -> dict[str, Any]:
        """Return everything by path, for JSON."""
        rows, unseen = self.training, self.validation

        def told(group: DuplicateGroup) -> dict[str, Any]:
            return {
                "volumes": [rows[i].path for i in group.members],
                "subjects": [rows[i].subject_id for i in group.members],
                "keep": rows[group.keep].path,
                "pairs": [
                    asdict(p) | {"first": rows[p.first].path, "second": rows[p.second].path}
                    for p in group.pairs
                ],
            }

        found = self.found
        return {
            "groups": [told(group) for group in found.groups],
            "suspected": [told(group) for group in found.suspected],
            "expected": [told(group) for group in found.expected],
            "leaks": [
                asdict(p) | {"first": unseen[p.first].path, "second": rows[p.second].path}
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
        out = Cohort.from_rows(row for row in rows if row.path in reasons)
        table = out.table.assign(reason=[reasons[p] for p in out.table["path"]])
        write_text(beside, table.to_csv(index=False, lineterminator="\n"))
        Cohort.from_rows(row for row in rows if row.path not in reasons).save(path)
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
    import numpy as np

    from napari_memscan.detection.detector import NullDistribution, fit_class_limits
    from napari_memscan.detection.duplicates.search import (
        CohortSearches,
        check_split_sizes,
        classify_duplicates,
        list_excluded_rows,
        list_non_sibling_rows,
    )
    from napari_memscan.jobs.scan.plants import draw_limit_plants, prepare_plant_tasks
    from napari_memscan.jobs.scan.scan import iter_embeddings
    from napari_memscan.jobs.scan.search import StudySearch, prepare_task
    from napari_memscan.jobs.scan.verify import compute_task_sharpness

    config = study.config
    rows = {split: study.cohort.rows(split) for split in ("training", "validation")}
    check_split_sizes(*map(len, rows.values()))
    with study.lock("look for duplicates"):
        every = [row for split in rows.values() for row in split]
        tasks = []
        found = iter_embeddings(study, [row.path for row in every])
        for done, (row, vector) in enumerate(zip(every, found, strict=True), 1):
            tasks.append(prepare_task(study, row.path, vector, row.subject_id))
            yield Progress(done, len(every), f"embedded {Path(row.path).name} ({row.split})")
        n = len(rows["training"])
        training, validation = tasks[:n], tasks[n:]
        real, unseen = ([row.subject_id for row in split] for split in rows.values())
        search = StudySearch(
            study,
            [row.path for row in rows["training"]],
            np.stack([task.vector for task in training]),
        )
        own = list_non_sibling_rows(real)
        plants = draw_limit_plants(study, search.training)
        perturbed = yield from prepare_plant_tasks(
            study, plants, search.training, search.spacing, "planted", as_generated=False
        )
        batch = [
            *(
                task.without(out)
                for task, out in zip(training, list_excluded_rows(real), strict=True)
            ),
            *(training[i].without(out) for i, out in own.items()),
            *validation,
            *perturbed,
        ]
        hits = yield from search.run(batch)
        at = [n, n + len(own), n + len(own) + len(validation)]
        searches = CohortSearches(
            hits[: at[0]],
            dict(zip(own, hits[at[0] : at[1]], strict=True)),
            hits[at[1] : at[2]],
            [compute_task_sharpness(study, task) for task in training],
        )
        null = NullDistribution(np.array([f.score for f in searches.validation]), unseen)
        limits = fit_class_limits(null, plants, hits[at[2] :], config.seed)
        result = CohortDuplicates(
            classify_duplicates(searches, limits, (real, unseen), q=config.rule.q), study.cohort
        )
        write_json(study.scan_dir / FILE, result.to_dict())
        return result
