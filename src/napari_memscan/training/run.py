"""The training loop: progress at every step, stoppable, and going on where it stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.checkpoints.native import save_checkpoint
from napari_memscan.errors import BadInput, JobFailed
from napari_memscan.files import hash_of
from napari_memscan.training.settings import (
    EMBEDDERS,
    SETTINGS,
    AutoencoderSettings,
    DenoiserSettings,
    EmbedderSettings,
    Settings,
    StructuralSettings,
    settings_of,
)
from napari_memscan.training.state import STATE, restore_state, save_state
from napari_memscan.training.watching import Moment, Watch
from napari_memscan.volumes.preprocessing import Preprocessing

__all__ = ["STATE", "TrainingProgress", "train"]


@dataclass(frozen=True)
class TrainingProgress:
    """One optimiser step is done.

    Attributes
    ----------
    step, total : int
        Steps done and in all.
    loss : float
        Training loss of this step.
    validation_loss : float or None
        Set at the steps where it was measured; None at the others.
    """

    step: int
    total: int
    loss: float
    validation_loss: float | None = None


def train(
    part: str,
    arrays: dict[str, NDArray[np.float32]],
    out: str | Path,
    settings: Settings,
    *,
    device: str = "auto",
    preprocessing: Preprocessing,
    spacing: tuple[float, float, float] | None = None,
    autoencoder: str | Path | None = None,
    watch: Watch | None = None,
) -> Generator[Any, None, bool]:
    """Fit one part of a model and write it as a checkpoint.

    Parameters
    ----------
    part : {"autoencoder", "denoiser", "embedder"}
        What is fitted.
    arrays : dict
        ``training`` and ``validation``: preprocessed volumes (N, X, Y, Z), float32 in [0, 1].
    out : path
        Folder of the checkpoint. A training that was stopped there goes on from its last state;
        each step's batch and noise follow from seed and step, so the result is the same.
    settings : Settings
        Of the class that belongs to `part`; for the embedder it says which kind is fitted.
    device : str
        ``auto``, ``cpu``, ``cuda`` ...
    preprocessing : Preprocessing
        What the volumes went through; kept in the recipe.
    spacing : (float, float, float), optional
        Voxel size in mm after preprocessing.
    autoencoder : path, optional
        For the denoiser: the trained autoencoder.
    watch : Watch, optional
        Looks at the training every so many steps, and may end it. Weights do not depend on it.

    Yields
    ------
    TrainingProgress
        After every step, and what `watch` yields. Closing the iterator saves the state and stops.

    Returns
    -------
    bool
        Whether it went on to its last step and wrote the checkpoint; False where `watch` ended it,
        with the state saved.

    Raises
    ------
    BadInput
        Too few volumes, shapes that do not fit, a folder that holds another training.
    JobFailed
        The loss is no longer finite, or the folder cannot be written.
    """
    import torch
    from lightning.fabric import Fabric
    from torch.optim.swa_utils import AveragedModel

    _check(part, arrays, settings)
    out = Path(out)
    fabric = Fabric(
        accelerator="auto" if device == "auto" else device.split(":")[0],
        devices=[int(device.split(":")[1])] if ":" in device else 1,
        # Never a lower precision unasked: bfloat16 is emulated on many processors.
        precision="32-true",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        task = _task(part, arrays, settings, preprocessing, spacing, autoencoder, fabric.device)
    decay = settings.ema_decay if isinstance(settings, DenoiserSettings) else 0.0
    optimizer: Any = torch.optim.Adam(task.network.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _Warmup(settings.steps))
    # Convolutions in 3D are faster with channels last on CPUs and GPUs alike.
    task.network.to(memory_format=torch.channels_last_3d)
    network, optimizer = fabric.setup(task.network, optimizer)
    # Of the bare network: the wrapper around it changes the names of the weights.
    average = AveragedModel(task.network, multi_avg_fn=_ema(decay)) if decay else None
    state: dict[str, Any] = {
        "step": 0,
        "seconds": 0.0,
        "validation": [],
        "fingerprint": _fingerprint(part, arrays, settings, preprocessing),
    }
    parts = {"network": network, "optimizer": optimizer, "schedule": schedule}
    if average is not None:
        parts["average"] = average
    restore_state(out, state, parts)
    loss_value = math.nan
    network.train()
    started = time.monotonic() - state["seconds"]

    def save(folder: Path) -> None:
        trained = average.module if average is not None else task.network
        weights = {key: value.contiguous() for key, value in trained.state_dict().items()}
        provenance: dict[str, Any] = {
            "settings": settings.model_dump(mode="json"),
            "n_training": len(arrays["training"]),
            "n_validation": len(arrays["validation"]),
            "data": state["fingerprint"],
            "validation": [list(pair) for pair in state["validation"][-20:]],
            "torch": torch.__version__,
        }
        if state["step"] < settings.steps:
            provenance["step"] = state["step"]
        recipe, tensors = task.result(weights, provenance)
        save_checkpoint(folder, recipe, tensors)

    def losses() -> tuple[float, float]:
        shown = average or network
        training = _mean_loss(task, shown, settings, "training")
        validation = _mean_loss(task, shown, settings, "validation")
        network.train()
        return training, validation

    try:
        while True:
            step = state["step"]
            last = step == settings.steps
            if watch is not None and step and (last or step % watch.every == 0):
                moment = Moment(step, settings.steps, state["fingerprint"], save, losses)
                if (yield from watch(moment)):
                    state["seconds"] = time.monotonic() - started
                    save_state(out, state, parts)
                    return False
            if last:
                break
            random = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
            rows = torch.multinomial(
                task.weights,
                min(settings.batch, len(task.weights)),
                replacement=isinstance(settings, DenoiserSettings),
                generator=random,
            )
            batch = fabric.to_device(task.data["training"][rows])
            optimizer.zero_grad()
            # Dropout draws from the global generator: tie it to the step as well.
            torch.manual_seed(settings.seed * 1_000_003 + step)
            loss = task.loss(network, batch, random)
            loss_value = float(loss.detach())
            if not math.isfinite(loss_value):
                raise JobFailed(
                    f"{out}: the loss of the {part} is {loss_value} at step {step + 1}; the "
                    f"training diverged. Start again in another folder with a smaller "
                    f"learning_rate than {settings.learning_rate:g}."
                )
            fabric.backward(loss)
            fabric.clip_gradients(network, optimizer, max_norm=settings.clip)
            optimizer.step()
            schedule.step()
            if average is not None:
                average.update_parameters(task.network)
            state["step"] = step + 1
            last = state["step"] == settings.steps
            validation = None
            if last or state["step"] % settings.validate_every == 0:
                validation = _mean_loss(task, average or network, settings, "validation")
                network.train()
                state["validation"].append((state["step"], round(validation, 6)))
            if last or state["step"] % settings.save_every == 0:
                state["seconds"] = time.monotonic() - started
                save_state(out, state, parts)
            yield TrainingProgress(state["step"], settings.steps, loss_value, validation)
    except GeneratorExit:
        state["seconds"] = time.monotonic() - started
        save_state(out, state, parts)
        raise
    save(out)
    return True


class _Warmup:
    """Learning rate over its peak: linear for a twentieth of all steps, then a cosine to zero."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.warm = max(1, steps // 20)

    def __call__(self, step: int) -> float:
        decay = 0.5 * (1 + math.cos(math.pi * min(step / self.steps, 1)))
        return min(1, (step + 1) / self.warm) * decay


def _ema(decay: float) -> Any:
    from torch.optim import swa_utils

    return swa_utils.get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]


def _check(part: str, arrays: dict[str, NDArray[np.float32]], settings: Settings) -> None:
    settings_of(part)
    fitting = tuple(EMBEDDERS.values()) if part == "embedder" else (SETTINGS[part],)
    if not isinstance(settings, fitting):
        names = " or ".join(kind.__name__ for kind in fitting)
        raise BadInput(f"settings for {part} must be {names}.")
    for split, least in (("training", 2), ("validation", 1)):
        if len(arrays.get(split, ())) < least:
            raise BadInput(f"the cohort has too few {split} volumes to train: {least} are needed.")


def _task(
    part: str,
    arrays: dict[str, NDArray[np.float32]],
    settings: Settings,
    preprocessing: Preprocessing,
    spacing: tuple[float, float, float] | None,
    autoencoder: str | Path | None,
    device: Any,
) -> Any:
    from napari_memscan.training.tasks import AutoencoderTask, DenoiserTask, EmbedderTask

    if isinstance(settings, AutoencoderSettings):
        return AutoencoderTask(arrays, settings, preprocessing, spacing)
    if isinstance(settings, EmbedderSettings):
        return EmbedderTask(arrays, settings, preprocessing)
    if isinstance(settings, StructuralSettings):
        from napari_memscan.training.structural import StructuralTask

        return StructuralTask(arrays, settings, preprocessing)
    assert isinstance(settings, DenoiserSettings)
    if autoencoder is None:
        raise BadInput("the denoiser needs a trained autoencoder: train that first, or name one.")
    return DenoiserTask(arrays, settings, Path(autoencoder), device)


def _fingerprint(
    part: str,
    arrays: dict[str, NDArray[np.float32]],
    settings: Settings,
    preprocessing: Preprocessing,
) -> str:
    import hashlib

    digest = hashlib.sha256()
    for split in ("training", "validation"):
        digest.update(np.ascontiguousarray(arrays[split]).view(np.uint8).data)
    loose = {"validate_every", "save_every"}
    return hash_of(
        [
            part,
            digest.hexdigest(),
            settings.model_dump(mode="json", exclude=loose),
            preprocessing.hash,
        ]
    )


def _mean_loss(task: Any, network: Any, settings: Settings, split: str) -> float:
    """Return the mean loss over as many volumes as validation has, always with the same noise."""
    import torch

    network.eval()
    random = torch.Generator().manual_seed(settings.seed)
    # Of training evenly over the table: the first ones may be those that are drawn more often.
    n, most = len(task.data[split]), len(task.data["validation"])
    rows = task.data[split][:: max(1, n // most)][:most]
    size = max(settings.batch, 2)
    losses = []
    device = next(network.parameters()).device
    with torch.no_grad():
        for start in range(0, len(rows), size):
            batch = rows[start : start + size].to(device)
            losses.append((float(task.loss(network, batch, random)), len(batch)))
    return sum(a * n for a, n in losses) / sum(n for _, n in losses)
