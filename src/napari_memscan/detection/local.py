"""How alike two aligned volumes are, place by place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]


def resampled(
    volume: Array,
    pose: NDArray[np.float64],
    spacing: Sequence[float],
    shape: tuple[int, ...] | None = None,
) -> tuple[Array, Mask]:
    """Return a training volume on the query's grid, and where it covers that grid.

    Parameters
    ----------
    volume : array (X, Y, Z)
    pose : array (4, 4)
        From points of the query to points of the volume, in mm about their centres.
    spacing : (float, float, float)
        Voxel size of both in mm.
    shape : (int, int, int), optional
        Of the query; else that of the volume.

    Returns
    -------
    values : array (X, Y, Z), float32
        Linear interpolation; 0 outside.
    covered : array (X, Y, Z) of bool
    """
    from scipy.ndimage import affine_transform

    shape = volume.shape if shape is None else shape
    mm = np.asarray(spacing, np.float64)
    matrix = pose[:3, :3] * mm[None, :] / mm[:, None]
    offset = pose[:3, 3] / mm + (np.array(volume.shape) - 1) / 2
    offset = offset - matrix @ ((np.array(shape) - 1) / 2)
    values = affine_transform(
        volume, matrix, offset, output_shape=shape, order=1, mode="constant", cval=0.0
    )
    index = offset[:, None, None, None] + np.einsum(
        "ij,jxyz->ixyz", matrix, np.indices(shape, sparse=False, dtype=np.float64)
    )
    last = (np.array(volume.shape) - 1)[:, None, None, None]
    # A tenth of a voxel of rounding is inside.
    covered = ((index >= -0.1) & (index <= last + 0.1)).all(axis=0)
    return values.astype(np.float32), covered


class LocalStatistics:
    """Means, variances and covariance of two volumes in a Gaussian window, inside a mask.

    Parameters
    ----------
    one, other : arrays (X, Y, Z)
        On one grid.
    mask : array (X, Y, Z) of bool
        Only these voxels count.
    sigma : sequence of float
        Of the window, in voxels of each axis.
    """

    def __init__(self, one: Array, other: Array, mask: Mask, sigma: Sequence[float]) -> None:
        from scipy.ndimage import gaussian_filter

        def smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
            result: NDArray[np.float64] = gaussian_filter(
                values, sigma, mode="constant", truncate=2.5
            )
            return result

        inside = mask.astype(np.float64)
        a, b = one * inside, other * inside
        weight = np.maximum(smooth(inside), 1e-6)
        self.mean_one, self.mean_other = smooth(a) / weight, smooth(b) / weight
        self.var_one = np.maximum(smooth(a * a) / weight - self.mean_one**2, 0)
        self.var_other = np.maximum(smooth(b * b) / weight - self.mean_other**2, 0)
        self.covariance = smooth(a * b) / weight - self.mean_one * self.mean_other

    def correlation(self, floor: float) -> NDArray[np.float64]:
        """Return the local correlation; variances below `floor` count as noise and pull to 0."""
        both = np.sqrt((self.var_one + floor) * (self.var_other + floor))
        return np.clip(self.covariance / both, -1, 1)

    def structural_similarity(self) -> NDArray[np.float64]:
        """Return SSIM (Wang et al. 2004, eq. 13) for intensities of range 1, constants 0.01, 0.03.

        https://doi.org/10.1109/TIP.2003.819861
        """
        c1, c2 = 0.01**2, 0.03**2
        luminance = (2 * self.mean_one * self.mean_other + c1) / (
            self.mean_one**2 + self.mean_other**2 + c1
        )
        structure = (2 * self.covariance + c2) / (self.var_one + self.var_other + c2)
        result: NDArray[np.float64] = luminance * structure
        return result


def matched(volume: Array, target: Array, mask: Mask) -> Array:
    """Return a volume with the mean and standard deviation that `target` has inside the mask."""
    a, b = volume[mask].astype(np.float64), target[mask].astype(np.float64)
    if a.size < 2 or a.std() <= 1e-9:
        return volume
    gain = b.std() / a.std()
    result: Array = ((volume - a.mean()) * gain + b.mean()).astype(np.float32)
    return result
