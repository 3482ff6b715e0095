"""Training one part of a model; the loop itself is in `training.loop`."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.errors import BadInput
from napari_memscan.training.preparing import check, make_fabric, make_task
from napari_memscan.training.progress import TrainingProgress
from napari_memscan.training.state import STATE
from napari_memscan.training.watching import Watch
from napari_memscan.volumes.preprocessing import Preprocessing

if TYPE_CHECKING:
    from napari_memscan.training.conditions import Conditions
    from napari_memscan.training.settings import Settings

__all__ = ["STATE", "TrainingProgress", "train"]


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
    conditions: Conditions | None = None,
    watch: Watch | None = None,
    devices: int = 1,
    nodes: int = 1,
    strategy: str = "auto",
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
    conditions : dict of str to list of str, optional
        For a conditional denoiser: that of each volume in `arrays`, empty where it is unknown.
    watch : Watch, optional
        Looks at the training every so many steps, and may end it. Weights do not depend on it.
    devices, nodes : int
        GPUs (or processes of the CPU) on each host, and hosts. Lightning starts the other
        processes of this host by running this program again; on several hosts torchrun or SLURM
        starts them. All see the same `out`.
    strategy : str
        Of Lightning Fabric, such as ``ddp``.

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
    import torch

    processes = devices * nodes
    check(part, arrays, settings, processes)
    if watch is not None and processes > 1:
        raise BadInput("a training on several devices is not watched: leave --monitor out.")
    fabric = make_fabric(device, settings, devices, nodes, strategy)
    if processes > 1:
        fabric.launch()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        task = make_task(
            part, arrays, settings, preprocessing, spacing, autoencoder, fabric.device, conditions
        )
    from napari_memscan.training.fitting import Fitting
    from napari_memscan.training.loop import Loop
    from napari_memscan.training.planning import check_memory

    check_memory(task, settings, fabric.device, processes)
    fitting = Fitting(task, settings, fabric)
    loop = Loop(part, arrays, Path(out), settings, fitting, preprocessing, conditions)
    try:
        return (yield from loop.steps(watch))
    finally:
        loop.close()
