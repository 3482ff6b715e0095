"""What every array must be that is taken for a volume."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_memscan.errors import BadInput
from napari_memscan.typing import Array


def check_volume(
    volume: Any,
    name: str,
    shape: tuple[int, ...] | None = None,
    *,
    smallest: int = 1,
    constant: bool = False,
) -> Array:
    """Return a volume as contiguous float32.

    Parameters
    ----------
    volume : array (X, Y, Z)
        Any intensities.
    name : str
        What messages begin with.
    shape : (int, int, int), optional
        What is expected.
    smallest : int
        Voxels that every axis has at least.
    constant : bool
        One value everywhere does as well.

    Raises
    ------
    BadInput
        Not three-dimensional, another shape, NaN or infinity, the same value everywhere.
    """
    array: Array = np.ascontiguousarray(volume, np.float32)
    if array.ndim != 3 or min(array.shape) < smallest:
        at_least = f", each at least {smallest}," if smallest > 1 else ""
        raise BadInput(f"{name} has shape {array.shape}; (X, Y, Z){at_least} is expected.")
    if shape is not None and array.shape != tuple(shape):
        raise BadInput(
            f"{name} has shape {array.shape}, expected (X, Y, Z) = {tuple(shape)}. Bring all "
            "volumes to one shape by the same preprocessing."
        )
    check_finite(array, name)
    if not constant and array.min() == array.max():
        raise BadInput(
            f"{name} has the same value everywhere; nothing can be compared with it. Remove it."
        )
    return array


def check_finite(array: Any, name: object) -> None:
    """Raise BadInput where an array holds NaN or infinity."""
    if not np.isfinite(array).all():
        raise BadInput(f"{name} holds NaN or infinity. Repair or remove this volume.")
