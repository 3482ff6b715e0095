"""Where networks run: chosen from what the machine has, never assumed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_memscan.errors import BadInput

if TYPE_CHECKING:
    import torch


def choose_device(name: str = "auto") -> torch.device:
    """Return the device to compute on.

    Parameters
    ----------
    name : str
        ``auto`` takes CUDA where there is one, else the CPU; or ``cpu``, ``cuda``, ``cuda:1``.

    Raises
    ------
    BadInput
        The device is not known or not there.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BadInput(f"device '{name}' is not known; use auto, cpu or cuda.") from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise BadInput(f"device '{name}' cannot be used here; use auto, cpu or cuda.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise BadInput("device 'mps': this machine has no such GPU; use auto or cpu.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BadInput(f"device '{name}': this machine has no such GPU; use auto or cpu.")
    return device
