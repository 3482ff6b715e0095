"""How far anatomy has moved between two aligned volumes, whatever happened to their intensities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari_memscan.detection.registration.local_statistics import LocalStatistics, Mask
    from napari_memscan.typing import Array


DAMPING = 0.02
"""Of the median structure: where there is none, nothing is seen to move."""
STEP = 2
"""Every so many voxels along each axis a displacement is taken; the window makes it smooth."""


def compute_mean_displacement(
    one: Array,
    other: Array,
    near: LocalStatistics,
    counted: Mask,
    spacing: Sequence[float],
    floor: float,
) -> float:
    """Return how far the other volume's contrast lies from the one's, on average, in mm.

    Parameters
    ----------
    one, other : arrays (X, Y, Z)
        Aligned and smoothed.
    near : LocalStatistics
        Of these two.
    counted : array (X, Y, Z) of bool
        Where displacements count.
    spacing : (float, float, float)
        Voxel size in mm.
    floor : float
        Standard deviation below which contrast counts as none.

    Returns
    -------
    float
        Mean length of the displacements, weighted with the local contrast of both; 0 where nothing
        has any.

    Notes
    -----
    One step of least squares in a Gaussian window at each place (Lucas and Kanade 1981, section 4)
    on intensities that have local mean 0 and local variance 1: neither gamma nor a bias field nor
    blur moves anything, while what is deformed is elsewhere. It sees up to about the width of
    the window; what lies farther apart is only known to be far.
    """
    contrast = near.contrast()
    normal_one = (one - near.mean_one) / np.sqrt(near.var_one + np.float32(floor**2))
    normal_other = (other - near.mean_other) / np.sqrt(near.var_other + np.float32(floor**2))
    rest = normal_one - normal_other
    # The mean of both gradients: each alone is of one softness.
    gradients = [
        np.gradient((normal_one + normal_other) / 2, axis=axis) if n > 1 else np.zeros_like(one)
        for axis, n in enumerate(one.shape)
    ]
    places = (slice(None, None, STEP),) * 3
    kept, weight = counted[places], contrast[places][counted[places]].astype(np.float64)
    if not weight.sum() > 0:
        return 0.0

    def window(values: NDArray[Any]) -> NDArray[np.float64]:
        return near.mean(contrast * values)[places][kept].astype(np.float64)

    structure = np.empty((len(weight), 3, 3))
    force = np.empty((len(weight), 3))
    for i, first in enumerate(gradients):
        force[:, i] = window(first * rest)
        for j in range(i, 3):
            structure[:, i, j] = structure[:, j, i] = window(first * gradients[j])
    median = float(np.median(np.trace(structure, axis1=1, axis2=2)))
    damped: Any = structure + (DAMPING * median + 1e-12) * np.eye(3)
    # In voxels until here, so that coarse axes are damped no more than fine ones.
    moved = np.linalg.solve(damped, force[:, :, None])[:, :, 0] * np.asarray(spacing, np.float64)
    return float((weight * np.linalg.norm(moved, axis=1)).sum() / weight.sum())
