"""Registration of a pair of volumes with SimpleITK, from given poses."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import SimpleITK

Array = NDArray[np.float32]
Pose = NDArray[np.float64]
Triple = tuple[float, float, float]

POINTS = (4_000, 32_000)
"""Voxels of the coarse and of the fine level, about."""

STEPS = (40, 25)
"""Of the optimiser on each level, at most."""

SAMPLED = (4_000, 12_000)
"""Of these, so many are compared: more cost time and hardly change a pose."""

FARTHEST = 0.2
"""A refined pose may differ from its start by this share of the volume's extent. Without it the
optimiser can slide to where next to nothing overlaps, and that little is alike."""


def images(volume: Array, spacing: Triple) -> list[SimpleITK.Image]:
    """Return a volume (X, Y, Z) as SimpleITK images, coarse and fine, with mm about its centre."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(volume.T))
    image.SetSpacing([float(s) for s in spacing])
    image.SetOrigin([-(n - 1) / 2 * s for n, s in zip(volume.shape, spacing, strict=True)])
    levels = []
    for points in POINTS:
        # Voxels become as cubic as whole factors allow.
        step = (volume.size * float(np.prod(spacing)) / points) ** (1 / 3)
        shrink = [max(1, round(step / s)) for s in spacing]
        sigmas = [0.5 * f * s if f > 1 else 0.35 * s for f, s in zip(shrink, spacing, strict=True)]
        smooth = SimpleITK.SmoothingRecursiveGaussian(image, sigmas)
        levels.append(SimpleITK.Shrink(smooth, shrink) if max(shrink) > 1 else smooth)
    return levels


def registered(
    query: Sequence[SimpleITK.Image], training: Sequence[SimpleITK.Image], poses: Sequence[Pose]
) -> tuple[Pose, str]:
    """Refine poses and return the best with what it is: ``start``, ``rigid`` or ``similarity``.

    Each pose is refined as a rotation and shift on the coarse level; the best goes on as a
    similarity transform (also a zoom) on the fine one. A step that fails or makes the correlation
    worse is not taken.

    Parameters
    ----------
    query, training : sequences of Image
        From `images`.
    poses : sequence of arrays (4, 4)
        Query to training, mm; at least one.
    """
    import SimpleITK

    best, model, value = np.asarray(poses[0], np.float64), "start", np.inf
    for pose in poses:
        rigid = _refined(query[0], training[0], pose, SimpleITK.Euler3DTransform(), 0)
        for name, candidate in (("start", np.asarray(pose, np.float64)), ("rigid", rigid)):
            metric = _correlation(query[0], training[0], candidate, 0)
            if candidate is not None and metric < value:
                best, model, value = candidate, name, metric
    fine = _refined(query[1], training[1], best, SimpleITK.Similarity3DTransform(), 1)
    before = _correlation(query[1], training[1], best, 1)
    if fine is not None and _correlation(query[1], training[1], fine, 1) <= before:
        best, model = fine, "similarity"
    return best, model


def _method(query: SimpleITK.Image, level: int) -> Any:
    import SimpleITK

    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    share = SAMPLED[level] / query.GetNumberOfPixels()
    if share < 1:
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(share, 1)
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetInterpolator(SimpleITK.sitkLinear)
    # One thread: sums in another order would give other last digits.
    method.SetNumberOfThreads(1)
    return method


def _correlation(
    query: SimpleITK.Image, training: SimpleITK.Image, pose: Pose | None, level: int
) -> float:
    """Return minus the squared correlation where both overlap; infinite where they do not."""
    import SimpleITK

    if pose is None:
        return np.inf
    method = _method(query, level)
    method.SetMovingInitialTransform(_affine(pose))
    method.SetInitialTransform(SimpleITK.TranslationTransform(3))
    try:
        return float(method.MetricEvaluate(query, training))
    except RuntimeError:
        return np.inf


def _refined(
    query: SimpleITK.Image, training: SimpleITK.Image, pose: Pose, transform: Any, level: int
) -> Pose | None:
    """Return the pose after gradient descent; None where SimpleITK gives up."""
    method = _method(query, level)
    voxel = max(query.GetSpacing())
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=voxel, minStep=0.01 * voxel, numberOfIterations=STEPS[level],
        relaxationFactor=0.6, gradientMagnitudeTolerance=1e-7,
    )  # fmt: skip
    method.SetOptimizerScalesFromPhysicalShift()
    # Points of the query go through the transform first, then through the pose with its flips: so
    # what is optimised stays a rotation.
    method.SetMovingInitialTransform(_affine(pose))
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(query, training)
    except RuntimeError:
        return None
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
    matrix[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    if not np.isfinite(matrix).all() or _moved(matrix, query) > FARTHEST:
        return None
    result: Pose = np.asarray(pose, np.float64) @ matrix
    return result


def _moved(matrix: Pose, query: SimpleITK.Image) -> float:
    """Return the largest displacement of a corner, as a share of the longest axis."""
    extent = np.multiply(query.GetSize(), query.GetSpacing())
    corners = np.array(list(product((-0.5, 0.5), repeat=3))) * extent
    moved = corners @ matrix[:3, :3].T + matrix[:3, 3] - corners
    return float(np.linalg.norm(moved, axis=1).max() / extent.max())


def _affine(pose: Pose) -> Any:
    import SimpleITK

    transform = SimpleITK.AffineTransform(3)
    transform.SetMatrix([float(v) for v in pose[:3, :3].ravel()])
    transform.SetTranslation([float(v) for v in pose[:3, 3]])
    return transform
