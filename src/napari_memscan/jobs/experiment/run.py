"""The runs of an experiment: each trained, sampled and scanned in a study of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from napari_memscan.checkpoints.loading import compute_checkpoint_hash
from napari_memscan.config import GeneratorConfig
from napari_memscan.errors import BadInput
from napari_memscan.files import make_portable, parse_json, write_json
from napari_memscan.jobs import distributed as processes
from napari_memscan.jobs.experiment.cohorts import derive_cohort
from napari_memscan.jobs.experiment.duration import compute_latent_shape
from napari_memscan.jobs.experiment.outcome import (
    RESULT_FILE,
    TIMES_FILE,
    ExperimentOutcome,
    collect_outcome,
    summarise_run,
)
from napari_memscan.jobs.experiment.outcome_files import write_outcome
from napari_memscan.jobs.experiment.plan import ExperimentPlan, ExperimentRun
from napari_memscan.jobs.news import News
from napari_memscan.jobs.sampling.generate import generate_volumes
from napari_memscan.jobs.scan.scan import scan_study
from napari_memscan.jobs.training.train import train_model
from napari_memscan.progress import Progress
from napari_memscan.study import Study
from napari_memscan.training.progress import TrainingProgress
from napari_memscan.typing import Split
from napari_memscan.volumes.cohort import Cohort

SPEC_FILE = "run.json"
"""In a run's folder: all that its bytes depend on besides the program."""

POLL_INTERVAL = 1.0
"""Seconds between two looks at what another process has finished."""


def run_experiment(
    study: Study,
    out: str | Path,
    plan: ExperimentPlan,
    *,
    only: Sequence[int] | None = None,
    autoencoder: str | Path | None = None,
    device: str = "auto",
) -> Generator[Progress, None, ExperimentOutcome]:
    """Train, sample and scan every run; write the table, the figures and what they say.

    The autoencoder is one for all runs: what is varied is the denoiser. It has seen all training
    volumes of the study, so in a run with fewer of them it has seen some that the denoiser has
    not; no run's copies are counted against those, and validation volumes are new to both.

    Under torchrun or ``srun`` each process takes every so many-th run; the first trains the
    autoencoder, and waits at the end for what the others do.

    Parameters
    ----------
    study : Study
        Its cohort, embedder, rule and verification; nothing in its folder is changed.
    out : path
        Folder of the experiment. What is finished there is not made again.
    plan : ExperimentPlan
    only : sequence of int, optional
        Numbers of the runs to make; by default all.
    autoencoder : path, optional
        Trained; by default the study's ``models/autoencoder`` where there is one, else it is
        trained in `out`.
    device : str
        To train on.

    Yields
    ------
    Progress
        Runs done and in all, with what is being done in words. Closing the iterator stops within
        a step; the same call goes on and gives the same bytes.

    Returns
    -------
    Outcome
        Of all runs that are finished, by whatever process; of a process that is not the first,
        perhaps not yet of all.

    Raises
    ------
    BadInput
        The folder holds another experiment, a run that does not exist is asked for, or latents
        do not fit the denoiser.
    JobFailed
        A training diverged, or another memscan works on the same run.
    """
    out = Path(out).resolve()
    runs = plan.runs
    chosen = [run for run in runs if only is None or run.number in only]
    if only is not None and len(chosen) < len(set(only)):
        raise BadInput(f"no such run: the runs are 1 to {len(runs)}.")
    for run in runs:
        _require_same_run(out, run, _build_spec(study, plan, run))
    results = [out / "runs" / run.name / RESULT_FILE for run in chosen]
    with processes.isolate_process() as (rank, size):
        device = _choose_gpu(device, size)
        if rank == 0:
            plan.save(out)
        coder = yield from _prepare_autoencoder(study, out, plan, autoencoder, device, rank)
        for run in runs:
            _require_same_run(out, run, _build_spec(study, plan, run, coder))
        for done in range(rank, len(chosen), size):
            if not results[done].exists():
                job = _execute_run(study, out, plan, chosen[done], coder, device)
                yield from _relay_progress(job, done, len(chosen), chosen[done].name)
        while rank == 0 and (left := sum(not path.exists() for path in results)):
            yield Progress(len(chosen) - left, len(chosen), "other processes do the rest")
            time.sleep(POLL_INTERVAL)
    found = collect_outcome(study, out, plan)
    if rank == 0:
        write_outcome(out, found)
    yield Progress(len(chosen), len(chosen), f"{len(found.rows)} of {len(runs)} runs are finished")
    return found


def _choose_gpu(device: str, size: int) -> str:
    """Name the GPU of this process, where each of several has one; Lightning takes the first."""
    from napari_memscan.checkpoints.device import choose_device

    if size == 1 or ":" in device or choose_device(device).type != "cuda":
        return device
    import torch

    return f"cuda:{torch.cuda.current_device()}"


def _relay_progress(
    job: Generator[Any, None, Any], done: int, total: int, what: str
) -> Generator[Progress, None, None]:
    """Run a job, and say in words what it reports."""
    try:
        for news in job:
            yield Progress(done, total, f"{what}: {_describe_event(news)}")
    finally:
        job.close()


def _build_spec(
    study: Study, plan: ExperimentPlan, run: ExperimentRun, coder: Path | None = None
) -> dict[str, Any]:
    """Return all that a run depends on; with the autoencoder's weights where they are known."""
    cohort, _ = derive_cohort(study, plan, run)
    n_all = len(study.cohort.rows(Split.TRAINING))
    n = len(cohort.rows(Split.TRAINING))
    config = study.config
    conditional = plan.denoiser.conditional
    return {
        "values": dict(run.values),
        "denoiser": plan.settings(run, n, n_all).model_dump(mode="json"),
        "autoencoder": plan.autoencoder.model_dump(mode="json"),
        "n": plan.n,
        "seed": config.seed,
        "embedder": make_portable(config.embedder, study.folder),
        "preprocessing": config.preprocessing.model_dump(mode="json"),
        "rule": config.rule.model_dump(mode="json"),
        "verification": config.verification.model_dump(mode="json", exclude={"workers"}),
        "volumes": [
            [row.sha256 or row.path, row.split, *([row.condition] if conditional else [])]
            for row in cohort.rows()
        ],
    } | ({"weights of the autoencoder": compute_checkpoint_hash(coder)} if coder else {})


def _require_same_run(out: Path, run: ExperimentRun, spec: dict[str, Any]) -> None:
    """Refuse a folder whose run of this name is another one."""
    path = out / "runs" / run.name / SPEC_FILE
    now = json.loads(json.dumps(spec))
    try:
        # Factors may be named later: what they have in the base run is what was set before.
        other = parse_json(
            path,
            lambda before: sorted(k for k in now if k != "values" and before.get(k) != now[k]),
            "Delete the folder of this run.",
        )
    except FileNotFoundError:
        return
    if other:
        raise BadInput(
            f"{path.parent}: this run was made with other {', '.join(other)}. Name another folder "
            "for the results, or the settings as they were."
        )


def _prepare_autoencoder(
    study: Study, out: Path, plan: ExperimentPlan, given: str | Path | None, device: str, rank: int
) -> Generator[Progress, None, Path]:
    """Return the one of all runs; the first process trains it, the others wait for it."""
    own = study.folder / "models" / "autoencoder"
    if given is not None or (own / "recipe.json").exists():
        return Path(given).resolve() if given is not None else own
    made = out / "autoencoder"
    if not (made / "recipe.json").exists():
        compute_latent_shape(study, plan)
        if rank == 0:
            base = Study(out, study.config, study.cohort, out / "cache")
            with base.lock("train the autoencoder of all runs"):
                job = train_model(base, "autoencoder", made, plan.autoencoder, device=device)
                yield from _relay_progress(job, 0, len(plan.runs), "autoencoder")
    while not (made / "recipe.json").exists():
        yield Progress(0, len(plan.runs), "the first process trains the autoencoder")
        time.sleep(POLL_INTERVAL)
    return made


def _execute_run(
    study: Study, out: Path, plan: ExperimentPlan, run: ExperimentRun, coder: Path, device: str
) -> Generator[Any, None, None]:
    folder = out / "runs" / run.name
    cohort, duplicated = derive_cohort(study, plan, run)
    settings = plan.settings(
        run, len(cohort.rows(Split.TRAINING)), len(study.cohort.rows(Split.TRAINING))
    )
    if not (folder / SPEC_FILE).exists():
        write_json(folder / SPEC_FILE, _build_spec(study, plan, run, coder))
    own = _open_run_study(study, out, cohort, run)
    model = folder / "models" / "denoiser"
    seconds: dict[str, float] = {}
    if not (model / "recipe.json").exists():
        steps, started = 0, time.monotonic()
        with own.lock("train"):
            for news in train_model(
                own, "denoiser", model, settings, device=device, autoencoder=coder
            ):
                if isinstance(news, TrainingProgress):
                    if not steps:
                        started = time.monotonic()
                    steps += 1
                yield news
        if steps > 1:
            seconds["a step"] = (time.monotonic() - started) / (steps - 1)
    if own.config.generator is None:
        own.update(generator=GeneratorConfig(kind="ldm", path=str(model)))
    started, before = time.monotonic(), len(own.samples())
    yield from generate_volumes(own, plan.n)
    if before < plan.n:
        seconds["a volume"] = (time.monotonic() - started) / (plan.n - before)
    started = time.monotonic()
    result = yield from scan_study(own)
    seconds["the scan"] = time.monotonic() - started
    if "a step" in seconds:
        write_json(folder / TIMES_FILE, {name: round(value, 4) for name, value in seconds.items()})
    write_json(folder / RESULT_FILE, summarise_run(own, run, result, settings, duplicated))


def _open_run_study(study: Study, out: Path, cohort: Cohort, run: ExperimentRun) -> Study:
    """Open the study of a run, or make it; one cache for all: most volumes are in all of them."""
    folder, cache_dir = out / "runs" / run.name, out / "cache"
    if (folder / "study.toml").exists():
        return Study.open(folder, cache_dir=cache_dir)
    changes = {"name": f"{study.config.name}: {run.name}", "generator": None}
    config = study.absolute_config().model_copy(update=changes)
    return Study.create(folder, config, cohort, cache_dir=cache_dir)


def _describe_event(news: News) -> str:
    """Say in words what a job inside reports."""
    if isinstance(news, Progress):
        return news.what
    if isinstance(news, TrainingProgress):
        return f"step {news.step} of {news.total}, loss {news.loss:.4f}"
    return f"volume {news.sample + 1}, step {news.step} of {news.total}"
