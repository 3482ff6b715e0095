"""How to run networks on this machine: asked of the machine itself, never assumed.

A few milliseconds of a small convolution tell which precision and memory format are fast here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING, Any

from napari_memscan.errors import BadInput
from napari_memscan.generators.memory import (
    USABLE_SHARE,
    WORKSPACE_FACTOR,
    MemoryNeed,
    get_free_bytes,
)

if TYPE_CHECKING:
    import torch

MIN_SPEEDUP = {"precision": 2.5, "memory": 1.25}
"""A choice that changes bytes is made only for a gain that noise of timing does not feign.

Reduced precision changes the volumes themselves, by more than rounding. GPUs and AMX gain several
times by it; the 1.5 to 1.8 times of a processor with AVX512_BF16 are not worth other volumes."""

MAX_BATCH = 8

MEMORY_FORMATS = ("contiguous", "channels_last")
PRECISIONS = {
    "cpu": ("float32", "bfloat16"),
    "cuda": ("float32", "bfloat16", "float16"),
    "mps": ("float32",),
}


def choose_precision(device: torch.device, threads: int, wish: str = "auto") -> str:
    """Return what to compute in: another precision than float32 only where it is much faster.

    Parameters
    ----------
    device : torch.device
        Where networks run.
    threads : int
        Of the processor.
    wish : str
        ``auto``, or the answer.

    Raises
    ------
    BadInput
        The device does not have this precision.
    """
    known = PRECISIONS.get(device.type, ("float32",))
    if wish != "auto":
        if wish not in known:
            raise BadInput(
                f"precision '{wish}': on {device.type} choose auto, {' or '.join(known)}."
            )
        return wish
    times = time_convolutions(str(device), threads)
    reduced = next((p for p, _ in times if p != "float32"), None)
    if reduced is None:
        return "float32"
    gain = times["float32", "contiguous"] / times[reduced, "contiguous"]
    return reduced if gain > MIN_SPEEDUP["precision"] else "float32"


def choose_memory_format(
    device: torch.device, threads: int, precision: str, wish: str = "auto"
) -> str:
    """Return the memory format; ``channels_last`` only where it is clearly faster."""
    if wish != "auto":
        if wish not in MEMORY_FORMATS:
            raise BadInput(f"memory '{wish}': choose auto, {' or '.join(MEMORY_FORMATS)}.")
        return wish
    times = time_convolutions(str(device), threads)
    if (precision, "contiguous") not in times:
        return "contiguous"
    gain = times[precision, "contiguous"] / times[precision, "channels_last"]
    return "channels_last" if gain > MIN_SPEEDUP["memory"] else "contiguous"


@lru_cache
def time_convolutions(device: str, threads: int, rounds: int = 15) -> dict[tuple[str, str], float]:
    """Time a small convolution of two samples in each way that this machine has.

    The ways take turns and the fastest round of each counts, so that a busy moment meets all of
    them or none. Measured once a process.

    Returns
    -------
    dict
        (precision, memory) to seconds.
    """
    import torch

    where = torch.device(device)
    if where.type not in ("cpu", "cuda"):
        return {("float32", "contiguous"): 1.0, ("float32", "channels_last"): 1.0}
    channels, size = 64, 32 if where.type == "cuda" else 8
    ways: dict[tuple[str, str], Callable[[], Any]] = {}
    for kind in MEMORY_FORMATS:
        layer = to_memory_format(torch.nn.Conv3d(channels, channels, 3, padding=1).to(where), kind)
        data = torch.zeros((2, channels, size, size, size), device=where)
        data = data.contiguous(memory_format=_get_torch_format(kind))
        for name in ("float32", *_find_reduced_precisions(where)):
            ways[name, kind] = _make_timed_run(layer, data, name, where)
    times = dict.fromkeys(ways, float("inf"))
    with use_threads(threads), torch.inference_mode():
        for turn in range(rounds + 1):
            for way, run in ways.items():
                start = perf_counter()
                run()
                # The first turn sets up kernels.
                times[way] = min(times[way], perf_counter() - start) if turn else times[way]
    return times


def _make_timed_run(layer: Any, data: Any, name: str, device: torch.device) -> Callable[[], None]:
    import torch

    def run() -> None:
        with use_precision(name, device):
            layer(data)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return run


def _find_reduced_precisions(device: torch.device) -> tuple[str, ...]:
    """Return the reduced precision that this device computes itself, not by detours."""
    import torch

    if device.type == "cuda":
        own = torch.cuda.is_bf16_supported(including_emulation=False)
        return ("bfloat16",) if own else ("float16",)
    able: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return ("bfloat16",) if able.get("avx512_bf16") or able.get("amx_bf16") else ()


def use_precision(precision: str, device: torch.device) -> Any:
    """Return a context in which networks compute in this precision."""
    import torch

    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, getattr(torch, precision))


def _get_torch_format(memory: str) -> Any:
    import torch

    return torch.channels_last_3d if memory == "channels_last" else torch.contiguous_format


def to_memory_format(thing: Any, memory: str) -> Any:
    """Bring a network, in place, or a tensor (N, C, x, y, z) into a memory format."""
    import torch

    if isinstance(thing, torch.Tensor):
        return thing.contiguous(memory_format=_get_torch_format(memory))
    for parameter in thing.parameters():
        if parameter.dim() == 5:
            parameter.data = parameter.data.contiguous(memory_format=_get_torch_format(memory))
    return thing


@contextmanager
def use_threads(n: int) -> Iterator[None]:
    """Compute with `n` threads in this block; 0 leaves their number as it is."""
    if n == 0:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_batch_size(step: MemoryNeed, device: torch.device) -> int:
    """Return how many samples to denoise at once.

    On a GPU the largest power of two, at most 8, for which
    ``batch * step.bytes * WORKSPACE <= USABLE * free``. On a CPU 1, which needs least memory and
    stops soonest; but 2 where a single sample would mostly be computed by PyTorch's own slow
    convolution, which two are not.
    """
    if device.type != "cuda":
        return 2 if step.small > 0.5 else 1
    most = USABLE_SHARE * get_free_bytes(device) / (step.bytes * WORKSPACE_FACTOR)
    size = MAX_BATCH
    while size > 1 and size > most:
        size //= 2
    return size


def parse_number(what: str, value: int | str, most: int = 1024) -> int:
    """Return a wish as a number.

    Raises
    ------
    BadInput
        It is none, or not from 1 to `most`.
    """
    try:
        n = int(value)
    except ValueError:
        n = 0
    if not 1 <= n <= most:
        raise BadInput(f"{what} '{value}': choose auto, or a number from 1 to {most}.")
    return n
