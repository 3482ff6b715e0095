"""Models fitted to the cohort of a study."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.errors import BadInput, Hint, HintKind, JobFailed
from napari_memscan.progress import Progress
from napari_memscan.study import Study
from napari_memscan.typing import Split

if TYPE_CHECKING:
    from napari_memscan.jobs.training.monitor import MonitorSettings
    from napari_memscan.training.resources import TrainingEstimate
    from napari_memscan.training.run import TrainingProgress
    from napari_memscan.training.settings import TrainingSettings
    from napari_memscan.typing import Array, SplitArrays
    from napari_memscan.volumes.cohort import Cohort


def train_model(
    study: Study,
    part: str,
    out: Path,
    settings: TrainingSettings,
    *,
    device: str = "auto",
    autoencoder: Path | None = None,
    monitor: MonitorSettings | None = None,
    devices: int = 1,
    nodes: int = 1,
    strategy: str = "auto",
) -> Generator[Progress | TrainingProgress, None, Path]:
    """Fit one part of a model to the study's cohort; see `training.run.train`.

    Parameters
    ----------
    monitor : MonitorSettings, optional
        For a denoiser: look for copies while it trains.
    devices, nodes, strategy
        See `training.run.train`.

    Returns
    -------
    Path
        Folder of the checkpoint: `out`, or the one that was kept where the monitor ended the
        training.

    Raises
    ------
    JobFailed
        The monitor ended the training, and no checkpoint was kept.
    """
    from napari_memscan.training.run import train as fit

    if monitor is not None and part != "denoiser":
        raise BadInput(f"an {part} samples no volumes; only a denoiser can be monitored.")
    arrays = yield from load_training_volumes(study)
    recipe = study.config.preprocessing
    watch = None
    if monitor is not None:
        from napari_memscan.jobs.training.monitor import TrainingMonitor

        watch = TrainingMonitor(
            monitor, out, arrays[Split.TRAINING], arrays[Split.VALIDATION], recipe, device
        )
    whole = yield from fit(
        part,
        arrays,
        out,
        settings,
        device=device,
        preprocessing=recipe,
        spacing=resolve_training_spacing(study),
        autoencoder=autoencoder,
        conditions=list_training_conditions(study.cohort),
        watch=watch,
        devices=devices,
        nodes=nodes,
        strategy=strategy,
        announce=_announce,
    )
    if whole:
        return out
    from napari_memscan.jobs.training.monitor import BEST_FOLDER, LOG_FILE, read_log

    row = read_log(out / LOG_FILE)[-1]  # Of several processes the first one wrote it.
    if not (out / BEST_FOLDER / "recipe.json").exists():
        raise JobFailed(
            f"{out}: stopped at step {row.step}: {row}, above the limit, as at every look before.",
            Hint(HintKind.RAISE_LIMIT),
        )
    return out / BEST_FOLDER


def estimate_training(
    study: Study, part: str, settings: TrainingSettings, **how: Any
) -> Generator[Progress, None, TrainingEstimate]:
    """Return what the training of one part would take; nothing is written.

    Parameters
    ----------
    study, part, settings
        See `train_model`.
    **how
        `device`, `autoencoder`, `devices`, `nodes` and `strategy` as for `train_model`.
    """
    from napari_memscan.training.run import measure_training

    arrays = yield from load_training_volumes(study)
    return (
        yield from measure_training(
            part,
            arrays,
            settings,
            preprocessing=study.config.preprocessing,
            conditions=list_training_conditions(study.cohort),
            announce=_announce,
            **how,
        )
    )


def _announce(text: str) -> Progress:
    return Progress(0, 1, text, note=text)


def load_training_volumes(study: Study) -> Generator[Progress, None, SplitArrays]:
    """Read training and validation volumes, preprocessed: arrays (n, X, Y, Z) by split."""
    import numpy as np

    splits = {s: [r.path for r in study.cohort.rows(s)] for s in (Split.TRAINING, Split.VALIDATION)}
    total = sum(map(len, splits.values()))
    arrays: dict[Split, list[Array]] = {split: [] for split in splits}
    done = 0
    for split, paths in splits.items():
        for path in paths:
            arrays[split].append(study.array(path))
            done += 1
            yield Progress(done, total, f"read {Path(path).name}")
    return {split: np.stack(values) for split, values in arrays.items()}


def list_training_conditions(cohort: Cohort) -> dict[Split, list[str]]:
    """Return the condition of each volume of `load_training_volumes`, empty where it is unknown."""
    return {s: [r.condition for r in cohort.rows(s)] for s in (Split.TRAINING, Split.VALIDATION)}


def resolve_training_spacing(study: Study) -> tuple[float, float, float] | None:
    """Return the voxel size that a model of a study is trained at, in mm.

    That of the preprocessing; else of the training volumes if all agree; else it is unknown.
    """
    if study.config.preprocessing.spacing is not None:
        return study.config.preprocessing.spacing
    found = {study.volume(row.path).spacing for row in study.cohort.rows(Split.TRAINING)}
    if len(found) != 1:
        return None
    return found.pop()
