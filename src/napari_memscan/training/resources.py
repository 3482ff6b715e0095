"""What a training will take, said before and soon after it starts."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_memscan.errors import BadInput
from napari_memscan.generators.memory import get_free_bytes
from napari_memscan.typing import Split

if TYPE_CHECKING:
    import torch

    from napari_memscan.training.settings import TrainingSettings
    from napari_memscan.training.tasks import TrainingTask
    from napari_memscan.training.trainer import ModelTrainer

WARMUP_STEPS = 4
"""Steps before time and memory are said; the first of them is not counted."""

TIMED_STEPS = 2
"""Steps that an estimate times, after one that it does not."""


def check_memory(task: TrainingTask, settings: TrainingSettings, fabric: Any) -> str:
    """Say what a training needs; refuse one that cannot fit the memory, before its first step.

    Returns
    -------
    str
        Words for people; none where it cannot be told.

    Raises
    ------
    BadInput
        With what it needs, what there is, and what to change.
    """
    processes, device = fabric.world_size, fabric.device
    needed = estimate_needed_bytes(task, settings, processes, half=_is_half_precision(fabric))
    free = get_free_bytes(device)
    if needed is None:
        return ""
    if needed <= free:
        return f"needs at least {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free"
    batch, more = settings.batch, settings.accumulate
    advice = "fewer channels or smaller volumes"
    if batch > processes:
        advice = (
            f"a smaller batch and more of them in a step (batch={max(batch // 2, 1)} and "
            f"accumulate={more * 2}), {advice}"
        )
    raise BadInput(
        f"{device}: with batch {batch} the training needs {needed / 1e9:.1f} GB of memory, and "
        f"{free / 1e9:.1f} GB are free. Take {advice}."
    )


def estimate_needed_bytes(
    task: TrainingTask, settings: TrainingSettings, processes: int = 1, *, half: bool = False
) -> int | None:
    """Return what one process needs at least; None where it cannot be told.

    Weights, gradients and Adam's two moments, the average where there is one, and all that a
    forward run keeps for the way back, counted on PyTorch's meta device: no arithmetic, no memory.
    That device knows no mixed precision: with `half` all that is kept counts half, which is the
    least, for some operations stay in float32.
    """
    from lightning.fabric.utilities import move_data_to_device
    from torch.utils.data import default_collate

    networks = [n for n in (task.network, task.discriminator) if n is not None]
    values = sum(p.numel() for network in networks for p in network.parameters())
    copies = 4 + (getattr(settings, "ema_decay", 0) > 0)
    n = -(-settings.batch // processes)
    batch = default_collate([move_data_to_device(task.data[Split.TRAINING][0], "meta")] * n)
    try:
        kept = _count_saved_bytes(task, batch) // (2 if half else 1)
    except (RuntimeError, NotImplementedError, TypeError, ValueError):
        return None  # An operation that the meta device does not have.
    read = sum(part.nbytes for part in (batch if isinstance(batch, list) else [batch]))
    return int(4 * values * copies + kept + read)


def _is_half_precision(fabric: Any) -> bool:
    return "mixed" in fabric.strategy.precision.precision


def _count_saved_bytes(task: TrainingTask, batch: Any) -> int:
    import torch

    # Data and network are not copied; all else is, for schedulers move to where they are used.
    memo = {id(kept): kept for kept in (task.data, task.network, vars(task).get("_codec"))}
    trial = copy.deepcopy(task, memo)
    with torch.device("meta"):
        network = copy.deepcopy(task.network).to("meta").train()
    if trial.discriminator is not None:
        trial.discriminator.to("meta")
    seen = {p.untyped_storage()._cdata for p in network.parameters()}
    total = 0

    def pack(value: torch.Tensor) -> torch.Tensor:
        nonlocal total
        storage = value.untyped_storage()
        if storage._cdata not in seen:
            seen.add(storage._cdata)
            alive.append(storage)  # Or its address is given to another one.
            total += storage.nbytes()
        return value

    alive: list[Any] = []
    with (
        torch.random.fork_rng(devices=[]),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value),
    ):
        loss = trial.loss(network, batch, torch.Generator().manual_seed(0))
        if trial.discriminator is not None:
            loss = loss + trial.generator_loss() + trial.discriminator_loss(trial.discriminator)
    return total


@dataclass(frozen=True)
class TrainingEstimate:
    """What a training will take on this machine, as busy as it is.

    Attributes
    ----------
    steps, validations : int
        That it does from its beginning to its end.
    step, validation : float
        Seconds of one.
    taken : int
        Bytes of memory that were taken while they were timed.
    free : int
        Bytes that were free before.
    """

    steps: int
    validations: int
    step: float
    validation: float
    taken: int
    free: int

    @property
    def seconds(self) -> float:
        """In all."""
        return self.steps * self.step + self.validations * self.validation

    def __str__(self) -> str:
        return (
            f"about {format_duration(self.seconds)}: {self.steps} steps of {self.step:.2g} s, "
            f"{self.validations} validations of {self.validation:.2g} s; "
            f"{self.taken / 1e9:.1f} GB of memory, {self.free / 1e9:.1f} GB were free"
        )


def time_steps(fitting: ModelTrainer, settings: TrainingSettings) -> TrainingEstimate:
    """Time the last steps, where all terms of the loss count, and a validation."""
    free = get_free_bytes(fitting.fabric.device)
    last = settings.steps - 1
    fitting.step(last)
    started = time.monotonic()
    for _ in range(TIMED_STEPS):
        fitting.step(last)
    step = (time.monotonic() - started) / TIMED_STEPS
    started = time.monotonic()
    fitting.mean_loss(Split.VALIDATION)
    validation = time.monotonic() - started
    validations = -(-settings.steps // settings.validate_every)
    taken = _measure_used_bytes(fitting.fabric.device)
    return TrainingEstimate(settings.steps, validations, step, validation, taken, free)


class StepTimer:
    """Measures the first steps of a run and says what is to come.

    Parameters
    ----------
    left : int
        Steps still to do when the run begins.
    device : torch.device
    """

    def __init__(self, left: int, device: torch.device) -> None:
        self.left, self.device = left, device
        self._times: list[float] = []
        self._began = 0.0

    def begin(self) -> None:
        """Note that a step begins."""
        self._began = time.monotonic()

    def end(self) -> str:
        """Note that it is done; return words for people, once, and else nothing."""
        self._times.append(time.monotonic() - self._began)
        if len(self._times) != WARMUP_STEPS or self.left <= WARMUP_STEPS:
            return ""
        seconds = sum(self._times[1:]) / (WARMUP_STEPS - 1) * (self.left - WARMUP_STEPS)
        taken = _measure_used_bytes(self.device)
        return f"about {format_duration(seconds)} to go, {taken / 1e9:.1f} GB of memory"


def _measure_used_bytes(device: torch.device) -> int:
    import torch

    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    import psutil

    return int(psutil.Process().memory_info().rss)


def format_duration(seconds: float) -> str:
    """Return a time as people say it.

    >>> duration(40), duration(700), duration(8000)
    ('40 s', '12 min', '2 h 13 min')
    """
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
