"""How alike two aligned volumes are, place by place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.typing import Array

Mask = NDArray[np.bool_]
Pose = NDArray[np.float64]

TOLERANCE = 0.1
"""So many voxels outside a grid are still inside: rounding, and no more than that."""
BORDER = 2
"""Voxels along the border of the overlap that do not count."""


def resample_volume(
    volume: Array,
    pose: Pose,
    spacing: Sequence[float],
    shape: tuple[int, ...] | None = None,
    margin: float = 0.0,
    own: Sequence[float] | None = None,
) -> tuple[Array, Mask]:
    """Return a training volume on the query's grid, and where it covers that grid.

    Parameters
    ----------
    volume : array (X, Y, Z)
    pose : array (4, 4)
        From points of the query to points of the volume, in mm about their centres.
    spacing : (float, float, float)
        Voxel size of the query in mm.
    shape : (int, int, int), optional
        Of the query; else that of the volume.
    margin : float
        Voxels along the volume's border that do not count as covering.
    own : (float, float, float), optional
        Voxel size of the volume, where it is not the query's.

    Returns
    -------
    values : array (X, Y, Z), float32
        Linear interpolation; outside, the nearest voxel's.
    covered : array (X, Y, Z) of bool
    """
    from scipy.ndimage import affine_transform

    shape = volume.shape if shape is None else shape
    mm = np.asarray(spacing if own is None else own, np.float64)
    matrix = pose[:3, :3] * np.asarray(spacing, np.float64)[None, :] / mm[:, None]
    offset = pose[:3, 3] / mm + (np.array(volume.shape) - 1) / 2
    offset = offset - matrix @ ((np.array(shape) - 1) / 2)
    values: Array = affine_transform(
        volume, matrix, offset, output_shape=shape, order=1, mode="nearest", output=np.float32
    )
    covered = np.ones(shape, np.bool_)
    steps = np.ogrid[tuple(slice(n) for n in shape)]
    for row, start, n in zip(matrix, offset, volume.shape, strict=True):
        index = start + sum(m * step for m, step in zip(row, steps, strict=True))
        covered &= (index >= margin - TOLERANCE) & (index <= n - 1 - margin + TOLERANCE)
    return values, covered


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

        def smooth(values: Array) -> Array:
            result: Array = gaussian_filter(values, sigma, mode="constant", truncate=2.5)
            return result

        inside = mask.astype(np.float32)
        self._smooth, self._inside = smooth, inside
        # In single precision a variance is exact only about a mean that is small.
        base = [np.float32(v[mask].mean()) if mask.any() else np.float32(0) for v in (one, other)]
        a, b = (one - base[0]) * inside, (other - base[1]) * inside
        weight: Array = np.maximum(smooth(inside), np.float32(1e-6))
        self._weight = weight
        mean_a, mean_b = smooth(a) / weight, smooth(b) / weight
        self.var_one = np.maximum(smooth(a * a) / weight - mean_a**2, 0)
        self.var_other = np.maximum(smooth(b * b) / weight - mean_b**2, 0)
        self.covariance = smooth(a * b) / weight - mean_a * mean_b
        self.mean_one, self.mean_other = mean_a + base[0], mean_b + base[1]

    def mean(self, values: NDArray[Any]) -> Array:
        """Return the mean of other values (X, Y, Z) in the same window, inside the mask."""
        result: Array = self._smooth(values * self._inside) / self._weight
        return result

    def contrast(self) -> Array:
        """Return the product of the two local standard deviations (X, Y, Z)."""
        result: Array = np.sqrt(self.var_one * self.var_other)
        return result

    def correlation(self, floor: float) -> Array:
        """Return the local correlation; variances below `floor` count as none and pull to 0."""
        both = np.sqrt((self.var_one + np.float32(floor)) * (self.var_other + np.float32(floor)))
        result: Array = np.clip(self.covariance / both, -1, 1)
        return result

    def structural_similarity(self, gain: float = 1.0, offset: float = 0.0) -> Array:
        """Return SSIM (Wang et al. 2004, eq. 13) for intensities of range 1, constants 0.01, 0.03.

        The other volume's intensities count as ``gain * value + offset``.
        https://doi.org/10.1109/TIP.2003.819861
        """
        c1, c2 = 0.01**2, 0.03**2
        other = gain * self.mean_other + offset
        luminance = (2 * self.mean_one * other + c1) / (self.mean_one**2 + other**2 + c1)
        variances = self.var_one + gain**2 * self.var_other
        structure = (2 * gain * self.covariance + c2) / (variances + c2)
        result: Array = (luminance * structure).astype(np.float32)
        return result


def fit_intensity_match(values: NDArray[Any], target: NDArray[Any]) -> tuple[float, float]:
    """Return the gain and the offset that bring intensities to those of a target, robustly.

    Least squares, repeated twice without the voxels that lie farther from the line than 2.5
    standard deviations as the median absolute deviation estimates them. Where that gives no
    positive gain, mean and standard deviation are matched.

    Parameters
    ----------
    values, target : arrays of one shape
        Where both count.
    """
    a, b = values.ravel().astype(np.float64), target.ravel().astype(np.float64)
    kept = np.ones(a.shape, np.bool_)
    gain, offset = 1.0, 0.0
    for _ in range(3):
        x, y = a[kept], b[kept]
        if x.size < 8 or x.std() <= 1e-9:
            break
        dx = x - x.mean()
        gain = float((dx * (y - y.mean())).sum() / (dx * dx).sum())
        offset = float(y.mean() - gain * x.mean())
        rest = np.abs(b - gain * a - offset)
        kept = rest <= max(2.5 * 1.4826 * float(np.median(rest)), 1e-6)
    if not gain > 0.1 and a.size and a.std() > 1e-9:
        gain = float(b.std() / a.std())
        offset = float(b.mean() - gain * a.mean())
    return gain, offset


@dataclass(frozen=True, eq=False)
class CroppedVolume:
    """What is left of a volume without slabs of one value at its borders.

    Attributes
    ----------
    data : array (X, Y, Z)
    place : array (4, 4)
        From mm about the centre of `data` to mm about the centre of the volume.
    """

    data: Array
    place: Pose

    @classmethod
    def of(cls, volume: Array, spacing: Sequence[float]) -> CroppedVolume:
        """Return the part of a volume (X, Y, Z) with spacing in mm that holds something."""
        place, box = np.eye(4), []
        for axis, (n, s) in enumerate(zip(volume.shape, spacing, strict=True)):
            others = tuple(i for i in range(3) if i != axis)
            varies = np.flatnonzero(volume.max(axis=others) > volume.min(axis=others))
            # One axis of one voxel has slices that are lines: they count where any differ.
            low, high = (int(varies[0]), int(varies[-1]) + 1) if len(varies) else (0, n)
            box.append(slice(low, high))
            place[axis, 3] = ((low + high - 1) / 2 - (n - 1) / 2) * s
        return cls(np.ascontiguousarray(volume[tuple(box)]), place)


def compute_margin(shape: tuple[int, ...]) -> float:
    """Return how many voxels along a border do not count; fewer where a volume is thin."""
    return float(min(BORDER, (min(shape) - 1) // 4))


def make_interior_mask(shape: tuple[int, ...]) -> Mask:
    """Return which voxels of a grid are not along its border."""
    mask = np.zeros(shape, np.bool_)
    border = [min(BORDER, (n - 1) // 4) for n in shape]
    mask[tuple(slice(b, n - b) for b, n in zip(border, shape, strict=True))] = True
    return mask


def pearson(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the correlation of two arrays (n,), neither of one value."""
    a, b = a - a.mean(), b - b.mean()
    return float(np.clip((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()), -1, 1))
