"""Which volumes a run of an experiment learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from napari_memscan.errors import BadInput
from napari_memscan.jobs.experiment.plan import ExperimentPlan, ExperimentRun
from napari_memscan.study import Study
from napari_memscan.typing import Split
from napari_memscan.volumes.cohort import Cohort, CohortRow


def derive_cohort(study: Study, plan: ExperimentPlan, run: ExperimentRun) -> tuple[Cohort, int]:
    """Return the cohort of a run, and how many of its first training volumes may be duplicated.

    Subjects stand in an order drawn from the study's seed, the same for all runs: a smaller
    training set is part of every larger one, and the same volumes are duplicated in all. Those
    that are left out take part in nothing.
    """
    rows = study.cohort.rows()
    training = _shuffle_subjects(study.config.seed, study.cohort.rows(Split.TRAINING))
    n_all = sum(map(len, training))
    n = int(run.values.get("size", n_all))
    kept: list[CohortRow] = []
    for group in training:
        if len(kept) + len(group) > n:
            break
        kept += group
    if len(kept) < 2:
        raise BadInput(
            f"run {run.name}: {n} training volumes make fewer than 2 of whole subjects. Choose a "
            "larger size."
        )
    paths = {row.path for row in kept}
    rest = [row for row in rows if row.path not in paths]
    others = [replace(r, split=Split.UNSEEN) if r.split == Split.TRAINING else r for r in rest]
    others = [row for row in others if row.split != Split.SYNTHETIC]
    return Cohort.from_rows([*kept, *others]), min(plan.duplicated(n_all), len(kept))


def _shuffle_subjects(seed: int, rows: Sequence[CohortRow]) -> list[list[CohortRow]]:
    """Return training volumes by subject, in a drawn order; those without one stand alone."""
    import numpy as np

    groups: dict[str, list[CohortRow]] = {}
    for row in rows:
        groups.setdefault(row.subject_id or f"/{row.path}", []).append(row)
    names = list(groups)
    order = np.random.default_rng([seed, 7]).permutation(len(names))
    return [groups[names[i]] for i in order]
