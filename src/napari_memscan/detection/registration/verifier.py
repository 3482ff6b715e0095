"""Proof in image space: register a pair, then compare it place by place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from napari_memscan.detection.registration import local_statistics as places
from napari_memscan.detection.registration.displacement import compute_mean_displacement
from napari_memscan.detection.registration.local_statistics import (
    CroppedVolume,
    Mask,
    resample_volume,
)
from napari_memscan.detection.registration.register import (
    build_pyramid,
    coarsen_volume,
    register_pair,
)
from napari_memscan.errors import BadInput
from napari_memscan.files import hash_json
from napari_memscan.typing import Array, Triple
from napari_memscan.volumes.validation import check_volume

Pose = NDArray[np.float64]

VERSION = 3
"""Changes whenever the same pair would score differently; part of the hash."""

MOTION_MODELS = ("start", "rigid", "similarity")
MIN_VOXELS = 64
"""Voxels that a comparison needs."""
MAX_GRID_LENGTH = 96
"""Voxels along the longest axis of the grid that scores are taken on, at most."""


@dataclass(frozen=True, eq=False)
class PairEvidence:
    """What is alike in a pair after registration.

    Attributes
    ----------
    score : float
        Local correlation, averaged with the local contrast as weight, in [-1, 1]; larger is
        nearer. Verdicts rest on it.
    correlation : float
        Pearson's, of all voxels that overlap.
    ssim : float
        Mean structural similarity there, intensities matched.
    worst : float
        10th percentile of the local correlation over the half with more contrast: where the two
        differ most.
    overlap : float
        Share of the query that the training volume covers, in [0, 1]. Slabs at a border that hold
        one value, as padding and a part cut off do, are no part of a volume; the share is that of
        the larger of the two.
    displacement : float
        How far anatomy lies apart on average, in mm; smaller is nearer. Tells copies from
        near-duplicates, see `displacement.compute_mean_displacement`.
    transform : array (4, 4)
        The pose: from points of the query to points of the training volume, mm about the centres.
    model : str
        ``start``, ``rigid`` or ``similarity``: how far refining the pose went.
    """

    score: float
    correlation: float
    ssim: float
    worst: float
    overlap: float
    displacement: float
    transform: Pose
    model: str

    LENGTH: ClassVar[int]
    """Numbers of `to_array`."""

    def to_array(self) -> NDArray[np.float64]:
        """Return everything as one array (`LENGTH`,); see `from_array`."""
        numbers = [getattr(self, name) for name in NUMBER_FIELDS]
        return np.array([*numbers, MOTION_MODELS.index(self.model), *self.transform.ravel()])

    @classmethod
    def from_array(cls, values: NDArray[np.float64]) -> PairEvidence:
        """Read what `to_array` wrote."""
        n = len(NUMBER_FIELDS)
        numbers = {name: float(v) for name, v in zip(NUMBER_FIELDS, values[:n], strict=True)}
        pose = values[n + 1 : n + 17].reshape(4, 4).copy()
        return cls(**numbers, transform=pose, model=MOTION_MODELS[int(values[n])])


NUMBER_FIELDS = tuple(f.name for f in fields(PairEvidence))[:6]
PairEvidence.LENGTH = len(NUMBER_FIELDS) + 1 + 16


class Verifier:
    """Registers pairs of volumes and says how alike they are where they overlap.

    Parameters
    ----------
    spacing : (float, float, float)
        Voxel size of all volumes in mm.
    window : float
        Sigma of the local window, in units of the geometric mean voxel size.
    smooth : float
        Sigma, in the same units, that both volumes are smoothed with before they are compared: a
        generator's copies are softer than their sources, and noise is nobody's anatomy.
    floor : float
        Standard deviation, of an intensity range of 1, below which contrast counts as none.
    least_overlap : float
        Overlap below which the score is lowered in proportion: a small part of two volumes is
        alike by chance.

    Notes
    -----
    The score is the mean of the local correlation, weighted with the product of both local standard
    deviations; so it is the share of the contrast that both have and that varies alike. What is
    flat in one of the two has no weight.

    Volumes of more than 64 voxels along an axis are registered, and those of more than 96 scored,
    on a coarser grid; the window grows with it.
    """

    def __init__(
        self,
        spacing: Triple = (1.0, 1.0, 1.0),
        window: float = 2.0,
        smooth: float = 0.7,
        floor: float = 0.001,
        least_overlap: float = 0.5,
    ) -> None:
        self.spacing = spacing
        self.window = window
        self.smooth = smooth
        self.floor = floor
        self.least_overlap = least_overlap

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits that change whenever scores would."""
        return hash_json(
            {"version": VERSION, **vars(self), "spacing": [float(s) for s in self.spacing]}
        )

    def verify(self, query: Array, training: Array, poses: Sequence[Pose]) -> PairEvidence:
        """Register a pair and compare it.

        Parameters
        ----------
        query, training : arrays (X, Y, Z) in [0, 1]
            Of one shape.
        poses : sequence of arrays (4, 4)
            Where to start, best first; see `Correlator`.

        Raises
        ------
        BadInput
            Two shapes, NaN, one value everywhere, no pose or one that is none, or no overlap.
        """
        query, training = _check_pair(query, training)
        starts = [_check_pose(p) for p in poses]
        if not starts:
            raise BadInput("a pair cannot be registered without a pose to start from: give one.")
        one, other = CroppedVolume.of(query, self.spacing), CroppedVolume.of(training, self.spacing)
        between = [np.linalg.inv(other.place) @ pose @ one.place for pose in starts]
        pose, model = register_pair(
            build_pyramid(one.data, self.spacing), build_pyramid(other.data, self.spacing), between
        )
        result = self._compared(one, other, pose, model)
        if result is None:
            raise BadInput(
                "with the poses given the query and the training volume overlap in fewer than"
                f" {MIN_VOXELS} voxels. Poses are in mm about the centres, with spacing"
                f" {self.spacing}."
            )
        return result

    def align(self, query: Array, training: Array, transform: Pose) -> Array:
        """Return the training volume on the query's grid, NaN where it does not cover it.

        Its intensities are matched to the query's by one line over the whole overlap, robust to
        places that differ (see `local_statistics.fit_intensity_match`); bias fields stay to be
        seen.
        """
        query, training = _check_pair(query, training)
        moved, covered = resample_volume(training, _check_pose(transform), self.spacing)
        gain, offset = places.fit_intensity_match(moved[covered], query[covered])
        result: Array = np.where(covered, gain * moved + offset, np.nan).astype(np.float32)
        return result

    def difference(self, query: Array, training: Array, transform: Pose) -> Array:
        """Return query minus aligned training volume (X, Y, Z), NaN outside the overlap."""
        result: Array = np.asarray(query, np.float32) - self.align(query, training, transform)
        return result

    def similarity_map(self, query: Array, training: Array, transform: Pose) -> Array:
        """Return the local correlation (X, Y, Z) in [-1, 1], NaN outside the overlap."""
        from scipy.ndimage import zoom

        query, training = _check_pair(query, training)
        pose = _check_pose(transform)
        small, spacing = coarsen_volume(query, self.spacing, MAX_GRID_LENGTH)
        moved, inside = resample_volume(
            coarsen_volume(training, self.spacing, MAX_GRID_LENGTH)[0], pose, spacing
        )
        soft = self._softened(small, moved, spacing)
        values = self._local(*soft, inside, spacing).correlation(self.floor**2)
        if small.shape != query.shape:
            factors = [n / m for n, m in zip(query.shape, small.shape, strict=True)]
            values = zoom(values, factors, order=1, mode="nearest", grid_mode=True)
        _, covered = resample_volume(training, pose, self.spacing)
        result: Array = np.where(covered, values, np.nan).astype(np.float32)
        return result

    def _compared(
        self, query: CroppedVolume, training: CroppedVolume, pose: Pose, model: str
    ) -> PairEvidence | None:
        one, spacing = coarsen_volume(query.data, self.spacing, MAX_GRID_LENGTH)
        other, own = coarsen_volume(training.data, self.spacing, MAX_GRID_LENGTH)
        moved, covered = resample_volume(other, pose, spacing, one.shape, own=own)
        border = places.compute_margin(other.shape)
        _, counted = resample_volume(other, pose, spacing, one.shape, border, own)
        counted &= places.make_interior_mask(one.shape)
        if counted.sum() < MIN_VOXELS:
            return None
        zoom = abs(float(np.linalg.det(pose[:3, :3])))
        voxels = max(query.data.size, training.data.size / max(zoom, 1e-6))
        overlap = min(1.0, float(covered.mean()) * query.data.size / voxels)

        soft_one, soft_moved = self._softened(one, moved, spacing)
        near = self._local(soft_one, soft_moved, covered, spacing)
        values = near.correlation(self.floor**2)[counted].astype(np.float64)
        contrast = near.contrast()[counted].astype(np.float64)
        score = float((values * contrast).sum() / max(contrast.sum(), 1e-12))
        a, b = one[counted].astype(np.float64), moved[counted].astype(np.float64)
        flat = min(a.std(), b.std()) <= 1e-9
        similar = near.structural_similarity(*places.fit_intensity_match(b, a))[counted]
        lowered = min(1.0, overlap / self.least_overlap) if score > 0 else 1.0
        return PairEvidence(
            score=score * lowered,
            correlation=0.0 if flat else places.pearson(a, b),
            ssim=float(similar.mean(dtype=np.float64)),
            worst=float(np.percentile(values[contrast >= np.median(contrast)], 10)),
            overlap=overlap,
            displacement=compute_mean_displacement(
                soft_one, soft_moved, near, counted, spacing, self.floor
            ),
            transform=training.place @ pose @ np.linalg.inv(query.place),
            model=model,
        )

    def _softened(self, query: Array, moved: Array, spacing: Triple) -> tuple[Array, Array]:
        from scipy.ndimage import gaussian_filter

        if not self.smooth:
            return query, moved
        sigma = [self.smooth * float(np.prod(spacing)) ** (1 / 3) / s for s in spacing]
        one, other = (gaussian_filter(v, sigma, mode="nearest", truncate=3) for v in (query, moved))
        return one, other

    def _local(
        self, query: Array, moved: Array, mask: Mask, spacing: Triple
    ) -> places.LocalStatistics:
        mean = float(np.prod(spacing)) ** (1 / 3)
        return places.LocalStatistics(query, moved, mask, [self.window * mean / s for s in spacing])


def _check_pair(query: Any, training: Any) -> tuple[Array, Array]:
    one, other = np.asarray(query, np.float32), np.asarray(training, np.float32)
    if one.ndim != 3 or one.shape != other.shape:
        raise BadInput(
            f"a pair of shapes {one.shape} and {other.shape}; two volumes (X, Y, Z) of one shape "
            "are expected. Preprocess both alike."
        )
    return check_volume(one, "the query"), check_volume(other, "the training volume")


def _check_pose(pose: Any) -> Pose:
    matrix = np.asarray(pose, np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise BadInput(f"a pose is a matrix (4, 4) of finite numbers; this has {matrix.shape}.")
    if abs(np.linalg.det(matrix[:3, :3])) < 1e-3:
        raise BadInput("a pose flattens space to a plane; rotations, flips and zooms do not.")
    return matrix
