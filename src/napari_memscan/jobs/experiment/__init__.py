"""The paper's experiments on a study's own cohort: what raises copying, and what lowers it."""

from napari_memscan.jobs.experiment.duration import RunEstimate, estimate_runs
from napari_memscan.jobs.experiment.factors import FACTORS
from napari_memscan.jobs.experiment.outcome import ExperimentOutcome, collect_outcome
from napari_memscan.jobs.experiment.outcome_files import write_outcome
from napari_memscan.jobs.experiment.plan import (
    ExperimentPlan,
    ExperimentRun,
    plan_experiment,
    read_plan,
)
from napari_memscan.jobs.experiment.run import run_experiment

__all__ = [
    "FACTORS",
    "ExperimentOutcome",
    "ExperimentPlan",
    "ExperimentRun",
    "RunEstimate",
    "collect_outcome",
    "estimate_runs",
    "plan_experiment",
    "read_plan",
    "run_experiment",
    "write_outcome",
]
