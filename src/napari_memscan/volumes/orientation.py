"""Arrays turned from one orientation to another, by nibabel's axis codes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def reorient(data: NDArray[Any], have: str, want: str) -> NDArray[np.float32]:
    """Turn a 3D array whose axes point to `have` so that they point to `want`.

    Parameters
    ----------
    data : array (a, b, c)
        Any three axes.
    have, want : str
        Axis codes such as ``RAS`` or ``SRA`` (depth first).
    """
    from nibabel.orientations import apply_orientation, axcodes2ornt, ornt_transform

    transform = ornt_transform(axcodes2ornt(tuple(have)), axcodes2ornt(tuple(want)))
    return np.ascontiguousarray(apply_orientation(data, transform), dtype=np.float32)


def to_ras(data: NDArray[Any], axes: str) -> NDArray[np.float32]:
    """Turn a 3D array whose axes point to `axes` to X, Y, Z in RAS."""
    return reorient(data, axes, "RAS")


def from_ras(data: NDArray[Any], axes: str) -> NDArray[np.float32]:
    """Turn a 3D array in RAS so that its axes point to `axes`."""
    return reorient(data, "RAS", axes)
