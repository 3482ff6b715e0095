"""Training one part of a model; the loop itself is in `training.loop`."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.training.callbacks import TrainingCallback
from napari_memscan.training.errors import explain_out_of_memory
from napari_memscan.training.progress import TrainingProgress
from napari_memscan.training.setup import check_training, make_fabric, make_task
from napari_memscan.training.state import STATE
from napari_memscan.typing import Split, SplitArrays
from napari_memscan.volumes.preprocessing import Preprocessing

if TYPE_CHECKING:
    from napari_memscan.training.conditions import Conditions
    from napari_memscan.training.resources import TrainingEstimate
    from napari_memscan.training.settings import TrainingSettings
    from napari_memscan.training.trainer import ModelTrainer

__all__ = ["STATE", "TrainingProgress", "measure_training", "train"]

BEFORE_FIRST_STEP = (
    "before the first step",
    "The batch plays no part there: end other programs that use it, or take fewer channels, "
    "smaller volumes or device cpu.",
)
"""When memory ran out, and what to do."""


def train(
    part: str,
    arrays: SplitArrays,
    out: str | Path,
    settings: TrainingSettings,
    *,
    device: str = "auto",
    preprocessing: Preprocessing,
    spacing: tuple[float, float, float] | None = None,
    autoencoder: str | Path | None = None,
    conditions: Conditions | None = None,
    watch: TrainingCallback | None = None,
    devices: int = 1,
    nodes: int = 1,
    strategy: str = "auto",
    announce: Callable[[str], Any] | None = None,
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
    settings : TrainingSettings
        Of the class that belongs to `part`; for the embedder it says which kind is fitted.
    device : str
        ``auto``, ``cpu``, ``cuda`` ...
    preprocessing : Preprocessing
        What the volumes went through; kept in the recipe.
    spacing : (float, float, float), optional
        Voxel size in mm after preprocessing.
    autoencoder : path, optional
        For the denoiser: the trained autoencoder.
    conditions : dict of str to list of str, optional
        For a conditional denoiser: that of each volume in `arrays`, empty where it is unknown.
    watch : TrainingCallback, optional
        Looks at the training every so many steps, and may end it. Weights do not depend on it.
    devices, nodes : int
        GPUs (or processes of the CPU) on each host, and hosts. Lightning starts the other
        processes of this host by running this program again; on several hosts torchrun or SLURM
        starts them. All see the same `out`.
    strategy : str
        Of Lightning Fabric, such as ``ddp``.
    announce : callable, optional
        Makes of words what is yielded before the first step: what takes time, and the memory that
        is needed and free. Without it nothing is.

    Yields
    ------
    TrainingProgress
        After every step, and what `watch` yields. Closing the iterator saves the state and stops.

    Returns
    -------
    bool
        Whether it went on to its end and wrote the checkpoint; False where `watch` ended it,
        with the state saved.

    Raises
    ------
    BadInput
        Too few volumes, shapes that do not fit, a folder that holds another training, too little
        memory.
    JobFailed
        The loss is no longer finite, memory ran out, or the folder cannot be written.
    """
    fitting = yield from _prepare(
        part,
        arrays,
        settings,
        device=device,
        preprocessing=preprocessing,
        spacing=spacing,
        autoencoder=autoencoder,
        conditions=conditions,
        devices=devices,
        nodes=nodes,
        strategy=strategy,
        announce=announce,
    )
    from napari_memscan.training.loop import TrainingLoop

    with explain_out_of_memory(fitting.fabric.device, *BEFORE_FIRST_STEP):
        loop = TrainingLoop(part, arrays, Path(out), settings, fitting, preprocessing, conditions)
    try:
        return (yield from loop.steps(watch))
    finally:
        loop.close()


def measure_training(
    part: str, arrays: SplitArrays, settings: TrainingSettings, **how: Any
) -> Generator[Any, None, TrainingEstimate]:
    """Time a few steps of a training and forget them; nothing is written.

    Parameters
    ----------
    part, arrays, settings
        See `train`.
    **how
        All that `train` takes by name, but `watch`.
    """
    from napari_memscan.training.resources import time_steps

    fitting = yield from _prepare(part, arrays, settings, **how)
    with explain_out_of_memory(
        fitting.fabric.device, f"with batch {settings.batch}", "Take a smaller one."
    ):
        return time_steps(fitting, settings)


def _prepare(
    part: str,
    arrays: SplitArrays,
    settings: TrainingSettings,
    *,
    device: str = "auto",
    preprocessing: Preprocessing,
    spacing: tuple[float, float, float] | None = None,
    autoencoder: str | Path | None = None,
    conditions: Conditions | None = None,
    devices: int = 1,
    nodes: int = 1,
    strategy: str = "auto",
    announce: Callable[[str], Any] | None = None,
) -> Generator[Any, None, ModelTrainer]:
    import torch

    processes = devices * nodes
    check_training(part, arrays, settings, processes)
    fabric = make_fabric(device, settings, devices, nodes, strategy)
    if processes > 1:
        fabric.launch()
    if announce is not None and part == "denoiser":
        views = 1 + getattr(settings, "views", 0)
        n = len(arrays[Split.TRAINING]) * views + len(arrays[Split.VALIDATION])
        yield announce(f"encodes {n} volumes, once")
    with (
        explain_out_of_memory(fabric.device, *BEFORE_FIRST_STEP),
        torch.random.fork_rng(devices=[]),
    ):
        torch.manual_seed(settings.seed)
        task = make_task(
            part, arrays, settings, preprocessing, spacing, autoencoder, fabric.device, conditions
        )
    from napari_memscan.training.resources import check_memory
    from napari_memscan.training.trainer import ModelTrainer

    told = check_memory(task, settings, fabric)
    if announce is not None and told:
        yield announce(told)
    with explain_out_of_memory(fabric.device, *BEFORE_FIRST_STEP):
        return ModelTrainer(task, settings, fabric)
