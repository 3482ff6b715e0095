"""What a run of a network needs of memory, and what there is.

A run without memory or arithmetic, on PyTorch's meta device, tells what a step and a decode take.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

WORKSPACE_FACTOR = 1.5
"""Convolutions need room beside their activations; what was measured lies below this factor."""

USABLE_SHARE = 0.8
"""Share of the free memory that is planned with; other programs need some, too."""

MAX_SMALL_INPUT = 20_480
"""PyTorch convolves a single sample whose input has at most so many values, over all axes but the
last, with its own slower code instead of oneDNN's (`use_mkldnn` in ATen's Convolution.cpp)."""


def get_free_bytes(device: torch.device) -> int:
    """Return the memory that can be had: of the GPU, or of this process's share of the host.

    Limits of a container or a batch job (cgroup v2) count; processes on one host share evenly.
    """
    import torch

    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    import psutil

    left = [int(psutil.virtual_memory().available), *_read_cgroup_room()]
    names = ("LOCAL_WORLD_SIZE", "SLURM_NTASKS_PER_NODE")
    here = next((os.environ[n] for n in names if os.environ.get(n, "").isdecimal()), "1")
    return min(left) // max(int(here), 1)


def _read_cgroup_room(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> list[int]:
    """Return what is left below each limit that this process is under."""
    try:
        line = next(text for text in own.read_text().splitlines() if text.startswith("0::"))
    except (OSError, StopIteration):
        return []
    room = []
    folder = root / line[3:].lstrip("/")
    for place in (folder, *folder.parents):
        try:
            limit, used = ((place / f"memory.{k}").read_text() for k in ("max", "current"))
            room.append(max(int(limit) - int(used), 0))
        except (OSError, ValueError):  # No such file, or "max": no limit.
            continue
    return room


@dataclass(frozen=True)
class MemoryNeed:
    """What one run of a network takes.

    Attributes
    ----------
    bytes : int
        Most memory that its activations take at one time, inputs included.
    small : float
        Share of the convolutions' arithmetic that a single sample would do in PyTorch's own slow
        code, see `MAX_SMALL_INPUT`.
    """

    bytes: int
    small: float


def estimate_need(run: Callable[..., Any], *inputs: Any) -> MemoryNeed:
    """Run something on the meta device and count what it would take.

    Parameters
    ----------
    run : callable
        Of networks that are on the meta device.
    inputs : tensors
        On the meta device.
    """
    import weakref

    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    given = sum(x.untyped_storage().nbytes() for x in inputs)
    live = {"now": given, "peak": given}
    work = {True: 0, False: 0}

    class Count(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            result = func(*args, **(kwargs or {}))
            if "convolution" in func.__name__ and args[0].dim() == 5:
                data, weight = args[:2]
                few = (
                    data.numel() // data.shape[-1] <= MAX_SMALL_INPUT and max(weight.shape[2:]) <= 3
                )
                work[few] += result.numel() * weight[0].numel()
            for value in result if isinstance(result, tuple | list) else (result,):
                if isinstance(value, torch.Tensor):
                    storage = value.untyped_storage()
                    if storage._cdata not in known:
                        known.add(storage._cdata)
                        size = storage.nbytes()
                        live["now"] += size
                        live["peak"] = max(live["peak"], live["now"])
                        weakref.finalize(storage, forget, storage._cdata, size)
            return result

    known = {x.untyped_storage()._cdata for x in inputs}

    def forget(key: int, size: int) -> None:
        known.discard(key)
        live["now"] -= size

    with torch.no_grad(), Count():  # type: ignore[no-untyped-call]
        run(*inputs)
    return MemoryNeed(live["peak"], work[True] / max(work[True] + work[False], 1))
