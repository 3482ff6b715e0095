"""The runs of an experiment: each trained, sampled and scanned in a study of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from napari_memscan.config import GeneratorConfig
from napari_memscan.errors import BadInput, JobFailed
from napari_memscan.files import read_small, write_json
from napari_memscan.jobs import processes
from napari_memscan.jobs.experiment.cohorts import derived
from napari_memscan.jobs.experiment.fitting import VIEWS, fit
from napari_memscan.jobs.experiment.outcome import (
    RESULT,
    TIMES,
    Outcome,
    outcome,
    result_of,
)
from napari_memscan.jobs.experiment.plan import Plan, Run
from napari_memscan.jobs.experiment.writing import write_outcome
from napari_memscan.jobs.generating import generate
from napari_memscan.jobs.progress import Progress
from napari_memscan.jobs.scanning import scan
from napari_memscan.jobs.training import train
from napari_memscan.study import Study
from napari_memscan.training.settings import DenoiserSettings
from napari_memscan.volumes.cohort import Cohort

SPEC = "run.json"
"""In a run's folder: all that its bytes depend on besides the program."""

LOOK = 1.0
"""Seconds between two looks at whether another process has trained the autoencoder."""


def experiment(
    study: Study,
    out: str | Path,
    plan: Plan,
    *,
    only: Sequence[int] | None = None,
    autoencoder: str | Path | None = None,
    device: str = "auto",
) -> Generator[Progress, None, Outcome]:
    """Train, sample and scan every run; write the table, the figures and what they say.

    The autoencoder is one for all runs: what is varied is the denoiser. It has seen all training
    volumes of the study, so in a run with fewer of them it has seen some that the denoiser has
    not; no run's copies are counted against those, and validation volumes are new to both.

    A run that another process works on is left to it: the same call may be started several times.

    Parameters
    ----------
    study : Study
        Its cohort, embedder, rule and verification; nothing in its folder is changed.
    out : path
        Folder of the experiment. What is finished there is not made again.
    plan : Plan
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
        Of all runs that are finished, by whatever process.

    Raises
    ------
    BadInput
        The folder holds another experiment, a run that does not exist is asked for, or it was
        started by torchrun or srun with several processes.
    JobFailed
        A training diverged, or a run that was asked for is another process's.
    """
    if processes.place()[1] > 1:
        raise BadInput(
            "an experiment's runs do not share their work. Start each as a process of its own, "
            "with --run N; see docs/experiment.md."
        )
    out = Path(out).resolve()
    runs = plan.runs
    chosen = [run for run in runs if only is None or run.number in only]
    if only is not None and len(chosen) < len(set(only)):
        raise BadInput(f"--run: the runs are 1 to {len(runs)}.")
    for run in runs:
        _same(out, run, _spec(study, plan, run))
    plan.save(out)
    coder = yield from _autoencoder(study, out, plan, autoencoder, device)
    for run in runs:
        _same(out, run, _spec(study, plan, run, coder))
    for done, run in enumerate(chosen):
        folder = out / "runs" / run.name
        if (folder / RESULT).exists():
            continue
        with _held(folder) as mine:
            if not mine:
                if only is not None:
                    raise JobFailed(f"{folder}: another process is working on this run.")
                continue
            job = _made(study, out, plan, run, coder, device)
            try:
                for news in job:
                    yield Progress(done, len(chosen), f"{run.name}: {_words(news)}")
            finally:
                job.close()
    found = outcome(study, out, plan)
    write_outcome(out, found)
    yield Progress(len(chosen), len(chosen), f"{len(found.rows)} of {len(runs)} runs are finished")
    return found


def _spec(study: Study, plan: Plan, run: Run, coder: Path | None = None) -> dict[str, Any]:
    """Return all that a run depends on; with the autoencoder's weights where they are known."""
    from napari_memscan.checkpoints.loading import checkpoint_hash

    cohort, _ = derived(study, plan, run)
    n_all = len(study.cohort.rows("training"))
    n = len(cohort.rows("training"))
    config = study.config
    conditional = plan.denoiser.conditional
    return {
        "values": dict(run.values),
        "denoiser": plan.settings(run, n, n_all).model_dump(mode="json"),
        "autoencoder": plan.autoencoder.model_dump(mode="json"),
        "n": plan.n,
        "seed": config.seed,
        "embedder": config.embedder,
        "preprocessing": config.preprocessing.model_dump(mode="json"),
        "rule": config.rule.model_dump(mode="json"),
        "verification": config.verification.model_dump(mode="json", exclude={"workers"}),
        "volumes": [
            [row.sha256 or row.path, row.split, *([row.condition] if conditional else [])]
            for row in cohort.rows()
        ],
    } | ({"weights of the autoencoder": checkpoint_hash(coder)} if coder else {})


def _same(out: Path, run: Run, spec: dict[str, Any]) -> None:
    """Refuse a folder whose run of this name is another one."""
    path = out / "runs" / run.name / SPEC
    if not path.exists():
        return
    try:
        before = json.loads(read_small(path))
        # Settings that came later have their default in a run made before.
        denoiser = DenoiserSettings.model_validate(before["denoiser"])
        before["denoiser"] = denoiser.model_dump(mode="json")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise BadInput(
            f"{path}: cannot be read ({error}). Delete the folder of this run."
        ) from error
    now = json.loads(json.dumps(spec))
    other = sorted(key for key in now if before.get(key) != now[key])
    # Factors may be named later: what they have in the base run is what was set before.
    other = [key for key in other if key != "values"]
    if other:
        raise BadInput(
            f"{path.parent}: this run was made with other {', '.join(other)}. Name another folder "
            "with --out, or the settings as they were."
        )


def _autoencoder(
    study: Study, out: Path, plan: Plan, given: str | Path | None, device: str
) -> Generator[Progress, None, Path]:
    own = study.folder / "models" / "autoencoder"
    if given is not None or (own / "recipe.json").exists():
        return Path(given).resolve() if given is not None else own
    made = out / "autoencoder"
    base = Study(out, study.config, study.cohort)
    base.cache_dir = out / "cache"
    while not (made / "recipe.json").exists():
        with _held(made) as mine:
            if not mine:
                yield Progress(0, len(plan.runs), "another process trains the autoencoder")
                time.sleep(LOOK)
                continue
            if (made / "recipe.json").exists():
                break
            job = train(base, "autoencoder", made, plan.autoencoder, device=device)
            try:
                for news in job:
                    yield Progress(0, len(plan.runs), f"autoencoder: {_words(news)}")
            finally:
                job.close()
    return made


@contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Hold a folder against other processes; False where one of them has it."""
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    # Not thread-local: a job may be closed in another thread than it ran in.
    lock = FileLock(folder / ".experiment.lock", timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _made(
    study: Study, out: Path, plan: Plan, run: Run, coder: Path, device: str
) -> Generator[Any, None, None]:
    folder = out / "runs" / run.name
    cohort, duplicated = derived(study, plan, run)
    settings = plan.settings(run, len(cohort.rows("training")), len(study.cohort.rows("training")))
    if not (folder / SPEC).exists():
        write_json(folder / SPEC, _spec(study, plan, run, coder))
    own = _opened(study, folder, cohort, run)
    # One for all runs: most volumes are in all of them.
    own.cache_dir = out / "cache"
    model = folder / "models" / "denoiser"
    seconds: dict[str, float] = {}
    if not (model / "recipe.json").exists():
        steps, started = 0, time.monotonic()
        views = VIEWS if run.values.get("augmentation") == "on" else 0
        for news in fit(own, model, settings, coder, device, views):
            if hasattr(news, "loss"):
                if not steps:
                    started = time.monotonic()
                steps += 1
            yield news
        if steps > 1:
            seconds["a step"] = (time.monotonic() - started) / (steps - 1)
    if own.config.generator is None:
        own.update(generator=GeneratorConfig(kind="ldm", path=str(model)))
    started, before = time.monotonic(), len(own.samples())
    yield from generate(own, plan.n)
    if before < plan.n:
        seconds["a volume"] = (time.monotonic() - started) / (plan.n - before)
    started = time.monotonic()
    result = yield from scan(own)
    seconds["the scan"] = time.monotonic() - started
    if "a step" in seconds:
        write_json(folder / TIMES, {name: round(value, 4) for name, value in seconds.items()})
    write_json(folder / RESULT, result_of(own, run, result, settings, duplicated))


def _opened(study: Study, folder: Path, cohort: Cohort, run: Run) -> Study:
    """Open the study of a run, or make it."""
    from napari_memscan.checkpoints.trusted.spec import resolved
    from napari_memscan.embedders.loading import LOW_RESOLUTION

    if (folder / "study.toml").exists():
        return Study.open(folder)
    config = study.config
    spec = config.embedder
    changes: dict[str, Any] = {
        "name": f"{config.name}: {run.name}",
        "generator": None,
        "embedder": spec if spec == LOW_RESOLUTION else resolved(spec, study.folder),
    }
    return Study.create(folder, config.model_copy(update=changes), cohort)


def _words(news: Any) -> str:
    """Say in words what a job inside reports."""
    if hasattr(news, "what"):
        return str(news.what)
    if hasattr(news, "loss"):
        return f"step {news.step} of {news.total}, loss {news.loss:.4f}"
    return f"volume {news.sample + 1}, step {news.step} of {news.total}"
