"""How long an experiment will take, before it starts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.errors import BadInput
from napari_memscan.files import parse_json
from napari_memscan.jobs.experiment.cohorts import derive_cohort
from napari_memscan.jobs.experiment.outcome import RESULT_FILE, TIMES_FILE
from napari_memscan.jobs.experiment.plan import ExperimentPlan, ExperimentRun
from napari_memscan.study import Study
from napari_memscan.typing import Split

if TYPE_CHECKING:
    from napari_memscan.training.settings import DenoiserSettings

MEASURED_TIMES = ("a step", "a volume", "the scan")
"""What a run writes of the seconds it took."""
TIMED_STEPS = 2
"""Steps that are timed, after one that is not."""


@dataclass(frozen=True)
class RunEstimate:
    """How long a run will take on this machine, as busy as it is.

    Attributes
    ----------
    run : ExperimentRun
    n_training, steps : int
        Volumes and optimiser steps of its training.
    training, sampling : float
        Seconds.
    scan : float or None
        Seconds; None until a run of this experiment has been scanned.
    finished : bool
        Nothing is left to be done.
    """

    run: ExperimentRun
    n_training: int
    steps: int
    training: float
    sampling: float
    scan: float | None
    finished: bool

    @property
    def seconds(self) -> float:
        """In all, as far as known; 0 where it is finished."""
        return 0.0 if self.finished else self.training + self.sampling + (self.scan or 0.0)


def estimate_runs(study: Study, out: str | Path, plan: ExperimentPlan) -> list[RunEstimate]:
    """Return how long each run will take; nothing is written.

    From what runs of the same width took, where one of this experiment is finished; else a few
    steps of a network of that size are timed.

    Parameters
    ----------
    study : Study
    out : path
        Folder of the experiment; need not be there.
    plan : ExperimentPlan
    """
    n_all = len(study.cohort.rows(Split.TRAINING))
    latent = compute_latent_shape(study, plan)
    found, known = [], _load_run_times(Path(out), plan)
    timed: dict[Any, tuple[float, float]] = {}
    for run in plan.runs:
        n_training = len(derive_cohort(study, plan, run)[0].rows(Split.TRAINING))
        settings = plan.settings(run, n_training, n_all)
        at = tuple(settings.channels)
        taken = known.get(run.values.get("width"))
        if taken is None and at not in timed:
            timed[at] = _time_network(latent, settings)
        step, volume = (taken["a step"], taken["a volume"]) if taken else timed[at]
        scans = [one["the scan"] for one in known.values()]
        found.append(
            RunEstimate(
                run,
                n_training,
                settings.steps,
                settings.steps * step,
                plan.n * volume,
                max(scans) if scans else None,
                (Path(out) / "runs" / run.name / RESULT_FILE).exists(),
            )
        )
    return found


def _load_run_times(out: Path, plan: ExperimentPlan) -> dict[Any, dict[str, float]]:
    """Return width to what a run of it took, for what is measured whole."""
    found: dict[Any, dict[str, float]] = {}
    for run in plan.runs:
        path = out / "runs" / run.name / TIMES_FILE
        try:
            taken = parse_json(
                path, lambda values: {name: float(values[name]) for name in MEASURED_TIMES}, ""
            )
        except (OSError, BadInput):
            continue
        found.setdefault(run.values.get("width"), taken)
    return found


def compute_latent_shape(study: Study, plan: ExperimentPlan) -> tuple[int, ...]:
    """Return channels and axes of the latents, of the study's autoencoder or the one to be trained.

    Raises
    ------
    BadInput
        Volumes or latents cannot be halved as often as the networks do.
    """
    from napari_memscan.checkpoints.native_format import read_recipe

    coder, own = plan.autoencoder, study.folder / "models" / "autoencoder"
    if (own / "recipe.json").exists() and (made := read_recipe(own).provenance.get("settings")):
        coder = type(coder).model_validate(made)
    axes = coder.latent_axes(study.config.preprocessing.shape)
    plan.denoiser.check_axes(axes)
    return coder.latent_channels, *axes


def _time_network(latent: tuple[int, ...], settings: DenoiserSettings) -> tuple[float, float]:
    """Return seconds of an optimiser step and of a volume, on latents of noise."""
    import torch

    from napari_memscan.checkpoints.device import choose_device
    from napari_memscan.checkpoints.networks import build_denoiser

    device = choose_device("auto")
    with torch.random.fork_rng(devices=[]):
        network: Any = build_denoiser(settings.arguments(latent[0])).to(device)
    batch = torch.zeros(settings.batch, *latent, device=device)
    levels = torch.zeros(settings.batch, device=device)

    def step() -> None:
        float(network(batch, levels).square().mean().backward() or 0.0)

    def sample() -> None:
        with torch.inference_mode():
            network(batch[:1], levels[:1]).sum().item()

    train, infer = _time_call(step), _time_call(sample)
    # The optimiser and the average are small beside the network; decoding is about a few steps.
    return train * settings.accumulate * 1.1, infer * (settings.sample_steps + 5)


def _time_call(work: Any) -> float:
    work()
    started = time.monotonic()
    for _ in range(TIMED_STEPS):
        work()
    return (time.monotonic() - started) / TIMED_STEPS
