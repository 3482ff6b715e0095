"""Registration of a pair of volumes from given poses: which pose makes them most alike.

A Gauss-Newton method for the correlation coefficient: Evangelidis and Psarakis 2008, "Parametric
image alignment using enhanced correlation coefficient maximization", section 4, in its inverse
compositional form (section 5; derivatives are those of the query and computed once),
https://doi.org/10.1109/TPAMI.2008.113. Volumes are first given equal local contrast, so that bias
fields and gamma hardly count. Own code, since SimpleITK's gradient descent on the same images tells
classes apart no better and takes nine times as long (``benchmarks/verification.py --simpleitk``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from napari_memscan.detection.registration.local_statistics import resample_volume
from napari_memscan.typing import Array, Triple

Pose = NDArray[np.float64]

GRID_LENGTHS = (32, 64)
"""Voxels along the longest axis of the coarse and of the fine level, at most."""
MIN_GRID_LENGTH = 12
"""An axis is not made coarser than this many voxels."""
STEPS = (12, 10)
"""Of the optimiser on each level, at most."""
SMOOTH, WINDOW, FLOOR = 0.85, 2.0, 0.1
"""Smoothing and the window of local contrast in voxels of a level; the contrast, of an intensity
range of 1, below which it is not made equal."""
CLOSE = 0.03
"""Voxels of a level; a step shorter than this is the last one."""
FARTHEST = 0.2
"""A refined pose may differ from its start by this share of the volume's extent. Without it a pose
can slide to where next to nothing overlaps, and that little is alike."""
LEAST_OVERLAP = 0.5
"""Share of the query below which a correlation is lowered in proportion."""


@dataclass(frozen=True, eq=False)
class PyramidLevel:
    """A volume at one resolution.

    Attributes
    ----------
    image : array (X, Y, Z), float32
        Of equal local contrast.
    spacing : (float, float, float)
        In mm; the centre is the volume's.
    """

    image: Array
    spacing: Triple


def coarsen_volume(
    volume: Array, spacing: Triple, longest: int, smooth: float | None = None
) -> tuple[Array, Triple]:
    """Return a volume on a coarser grid about the same centre, and its spacing.

    Parameters
    ----------
    volume : array (X, Y, Z)
    spacing : (float, float, float)
        In mm.
    longest : int
        Voxels along the axis of the largest extent, about; voxels become as cubic as they can be
        without making any axis finer, or shorter than `MIN_GRID_LENGTH` voxels.
    smooth : float, optional
        Sigma of a Gaussian before, in voxels of the result. Without it only what is made coarser
        is smoothed, by half a voxel.
    """
    from scipy.ndimage import affine_transform, gaussian_filter

    step = max(n * s for n, s in zip(volume.shape, spacing, strict=True)) / longest
    factors = [
        max(1.0, min(step / s, n / MIN_GRID_LENGTH))
        for n, s in zip(volume.shape, spacing, strict=True)
    ]
    width = 0.5 if smooth is None else smooth
    sigmas = [width * f if f > 1 or smooth is not None else 0.0 for f in factors]
    result: Array = volume
    if any(sigmas):
        result = gaussian_filter(volume, sigmas, mode="nearest", truncate=3)
    if max(factors) > 1:
        shape = [max(1, int(n / f + 1e-6)) for n, f in zip(volume.shape, factors, strict=True)]
        offset = [
            (n - 1) / 2 - f * (m - 1) / 2
            for n, m, f in zip(volume.shape, shape, factors, strict=True)
        ]
        result = affine_transform(
            result, factors, offset, output_shape=tuple(shape), order=1, mode="nearest"
        )
    x, y, z = (float(s * f) for s, f in zip(spacing, factors, strict=True))
    return result, (x, y, z)


def build_pyramid(volume: Array, spacing: Triple) -> list[PyramidLevel]:
    """Return a volume (X, Y, Z) in [0, 1] at the resolutions it is registered at, coarse first."""
    from scipy.ndimage import gaussian_filter

    made = []
    for longest in GRID_LENGTHS:
        image, size = coarsen_volume(volume, spacing, longest, SMOOTH)
        mean = gaussian_filter(image, WINDOW, mode="nearest", truncate=3)
        centred = image - mean
        contrast = np.sqrt(gaussian_filter(centred**2, WINDOW, mode="nearest", truncate=3))
        made.append(
            PyramidLevel((centred / (contrast + np.float32(FLOOR))).astype(np.float32), size)
        )
    return made


def register_pair(
    query: Sequence[PyramidLevel], training: Sequence[PyramidLevel], poses: Sequence[Pose]
) -> tuple[Pose, str]:
    """Refine poses and return the best with what it is: ``start``, ``rigid`` or ``similarity``.

    Each pose is refined as a rotation and shift on the coarse level; the best goes on as a
    similarity transform (also a zoom) on the fine one. A flip is part of where it starts. A step
    that fails or makes the correlation worse is not taken.

    Parameters
    ----------
    query, training : sequences of PyramidLevel
        From `build_pyramid`.
    poses : sequence of arrays (4, 4)
        Query to training, mm; at least one.
    """
    best, model, value = np.asarray(poses[0], np.float64), "start", -np.inf
    coarse = _Ascent(query[0], training[0], zoom=False)
    for start in poses:
        pose, reached, moved = coarse.climb(np.asarray(start, np.float64), STEPS[0])
        if reached > value:
            best, model, value = pose, "rigid" if moved else "start", reached
    pose, _, moved = _Ascent(query[1], training[1], zoom=True).climb(best, STEPS[1])
    return (pose, "similarity") if moved else (best, model)


class _Ascent:
    """Climbs the correlation of one query and one training volume at one level."""

    def __init__(self, query: PyramidLevel, training: PyramidLevel, zoom: bool) -> None:
        self.query, self.training = query, training
        shape = query.image.shape
        axes = [
            ((np.arange(n) - (n - 1) / 2) * s).astype(np.float32)
            for n, s in zip(shape, query.spacing, strict=True)
        ]
        x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
        self.extent = np.array([n * s for n, s in zip(shape, query.spacing, strict=True)])
        self.voxel = min(query.spacing)
        self.slopes: Array | None = None
        if min(shape) >= 4 and min(training.image.shape) >= 4:
            gx, gy, gz = np.gradient(query.image, *query.spacing)
            # Change of the query under a turn about X, Y, Z, a shift along them, and a zoom.
            parts = [y * gz - z * gy, z * gx - x * gz, x * gy - y * gx, gx, gy, gz]
            if zoom:
                parts.append(x * gx + y * gy + z * gz)
            self.slopes = np.stack(parts).reshape(len(parts), -1).astype(np.float32)

    def climb(self, start: Pose, steps: int) -> tuple[Pose, float, bool]:
        """Return the best pose, its value, and whether it is another than the start."""
        pose = best = start
        values, inside, top = self._seen(start)
        worse = 0
        for _ in range(steps):
            change = self._step(values, inside)
            if change is None:
                break
            size = self._size(change)
            # No step is longer than four voxels: farther away the slopes say nothing.
            change = change * min(1.0, 4 * self.voxel / max(size, 1e-12))
            pose = pose @ np.linalg.inv(build_motion_matrix(change))
            if self._moved(np.linalg.inv(start) @ pose) > FARTHEST:
                break
            values, inside, value = self._seen(pose)
            if value > top:
                best, top, worse = pose, value, 0
            else:
                worse += 1
            if worse > 1 or size < CLOSE * self.voxel:
                break
        return best, top, best is not start

    def _seen(self, pose: Pose) -> tuple[Array, NDArray[np.bool_], float]:
        """Return the training volume in the query's grid, where it is, and the correlation."""
        image = self.query.image
        values, covered = resample_volume(
            self.training.image, pose, self.query.spacing, image.shape, own=self.training.spacing
        )
        share = float(covered.mean())
        if share < 0.05:
            return values.ravel(), covered.ravel(), -1.0
        inside = covered.ravel()
        a, b = image.ravel()[inside], values.ravel()[inside]
        a, b = a - a.mean(), b - b.mean()
        norm = float(np.sqrt(_dot(a, a) * _dot(b, b)))
        value = _dot(a, b) / norm if norm > 1e-9 else 0.0
        return values.ravel(), inside, value * min(1.0, share / LEAST_OVERLAP)

    def _step(self, values: Array, inside: NDArray[np.bool_]) -> NDArray[np.float64] | None:
        """Return the parameters that a quadratic model of the correlation holds best."""
        if self.slopes is None or inside.sum() < 64:
            return None
        a = self.query.image.ravel()[inside]
        b = values[inside]
        J = self.slopes if inside.all() else self.slopes[:, inside]
        a, b, J = a - a.mean(), b - b.mean(), J - J.mean(axis=1, keepdims=True)
        # einsum, since the sums of a BLAS depend on how many threads it has.
        H = np.einsum("ik,jk->ij", J, J).astype(np.float64)
        Ja = np.einsum("ik,k->i", J, a).astype(np.float64)
        Jb = np.einsum("ik,k->i", J, b).astype(np.float64)
        # Parameters in units of their own effect: turns are radians, shifts are mm.
        scale = 1 / np.sqrt(np.maximum(np.diag(H), 1e-12))
        try:
            inverse = np.linalg.inv(H * np.outer(scale, scale) + 1e-6 * np.eye(len(H)))
        except np.linalg.LinAlgError:
            return None
        inverse = inverse * np.outer(scale, scale)
        aa, ab = float(Ja @ inverse @ Ja), float(Ja @ inverse @ Jb)
        bb = float(Jb @ inverse @ Jb)
        left = _dot(a, b) - ab
        if left > 0:
            gain = (_dot(a, a) - aa) / left
        elif bb > 0:
            # Far from the optimum: equations 20 to 22.
            gain = max(float(np.sqrt(max(aa, 0) / bb)), (ab - _dot(a, b)) / bb)
        else:
            return None
        change: NDArray[np.float64] = inverse @ (gain * Jb - Ja)
        return change if np.isfinite(change).all() else None

    def _size(self, change: NDArray[np.float64]) -> float:
        """Return about how far the parameters move a voxel, in mm."""
        radius = float(np.sqrt((self.extent**2).sum() / 12))
        turn = float(np.linalg.norm(change[:3])) + float(np.abs(change[6:]).sum())
        return float(np.linalg.norm(change[3:6])) + radius * turn

    def _moved(self, change: Pose) -> float:
        """Return the largest displacement of a corner, as a share of the longest axis."""
        corners = np.array(list(product((-0.5, 0.5), repeat=3))) * self.extent
        moved = corners @ change[:3, :3].T + change[:3, 3] - corners
        return float(np.linalg.norm(moved, axis=1).max() / self.extent.max())


def build_motion_matrix(parameters: NDArray[np.float64]) -> Pose:
    """Return the matrix (4, 4) of a rotation vector, a shift and, where there is a 7th, a zoom.

    The zoom is the logarithm of its factor.
    """
    from scipy.spatial.transform import Rotation

    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(parameters[:3]).as_matrix()
    if len(parameters) > 6:
        matrix[:3, :3] *= np.exp(parameters[6])
    matrix[:3, 3] = parameters[3:6]
    return matrix


def build_rotation_matrix(degrees: Sequence[float]) -> NDArray[np.float64]:
    """Return the matrix (3, 3) of rotations in degrees about X, then -Y, then Z."""
    result = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        a, b = [i for i in range(3) if i != axis]
        one = np.eye(3)
        one[a, a] = one[b, b] = np.cos(angle)
        one[a, b], one[b, a] = -np.sin(angle), np.sin(angle)
        result = one @ result
    return result


def _dot(a: Array, b: Array) -> float:
    return float(np.einsum("i,i->", a, b, dtype=np.float64, casting="safe"))
