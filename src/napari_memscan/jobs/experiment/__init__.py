"""The paper's experiments on a study's own cohort: what raises copying, and what lowers it."""

from napari_memscan.jobs.experiment.duration import Estimate, estimate
from napari_memscan.jobs.experiment.factors import FACTORS
from napari_memscan.jobs.experiment.outcome import Outcome, outcome
from napari_memscan.jobs.experiment.outcome_files import write_outcome
from napari_memscan.jobs.experiment.plan import Plan, Run, planned, read_plan
from napari_memscan.jobs.experiment.run import experiment

__all__ = [
    "FACTORS",
    "Estimate",
    "Outcome",
    "Plan",
    "Run",
    "estimate",
    "experiment",
    "outcome",
    "planned",
    "read_plan",
    "write_outcome",
]
