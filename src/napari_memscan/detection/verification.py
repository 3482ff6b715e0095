"""Proof in image space: register a pair, then compare it place by place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.detection.local import LocalStatistics, Mask, matched, resampled
from napari_memscan.errors import BadInput
from napari_memscan.files import hash_of

Array = NDArray[np.float32]
Pose = NDArray[np.float64]
Triple = tuple[float, float, float]

VERSION = 1
"""Changes whenever the same pair would score differently; part of the hash."""

MODELS = ("start", "rigid", "similarity")


@dataclass(frozen=True, eq=False)
class Evidence:
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
        Share of the query that the training volume covers, in [0, 1].
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
    transform: Pose
    model: str

    def to_array(self) -> NDArray[np.float64]:
        """Return everything as one array (22,); see `from_array`."""
        numbers = [self.score, self.correlation, self.ssim, self.worst, self.overlap]
        return np.array([*numbers, MODELS.index(self.model), *self.transform.ravel()])

    @classmethod
    def from_array(cls, values: NDArray[np.float64]) -> Evidence:
        """Read what `to_array` wrote."""
        names = [f.name for f in fields(cls)][:5]
        numbers = {name: float(v) for name, v in zip(names, values[:5], strict=True)}
        return cls(
            **numbers, transform=values[6:22].reshape(4, 4).copy(), model=MODELS[int(values[5])]
        )


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
        Standard deviation, of an intensity range of 1, below which contrast counts as noise.
    least_overlap : float
        Share of the query below which the score is lowered in proportion: a small part of two
        volumes is alike by chance.

    Notes
    -----
    Large volumes are registered on a coarser grid (`registration.POINTS`); scores are taken at the
    volumes' own. Voxels within two of the border of the overlap, and those where both volumes are
    empty, do not count.
    """

    def __init__(
        self,
        spacing: Triple = (1.0, 1.0, 1.0),
        window: float = 2.0,
        smooth: float = 0.7,
        floor: float = 0.02,
        least_overlap: float = 0.6,
    ) -> None:
        self.spacing = spacing
        self.window = window
        self.smooth = smooth
        self.floor = floor
        self.least_overlap = least_overlap

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits that change whenever scores would."""
        return hash_of({"version": VERSION, **vars(self)})

    def verify(self, query: Array, training: Array, poses: Sequence[Pose]) -> Evidence:
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
            Two shapes, NaN, the same value everywhere, or no pose.
        """
        from napari_memscan.detection.registration import images, registered

        query, training = self._checked(query, training)
        if not len(poses):
            raise BadInput("a pair cannot be registered without a pose to start from.")
        pose, model = registered(images(query, self.spacing), images(training, self.spacing), poses)
        return self._compared(query, training, pose, model)

    def _compared(self, query: Array, training: Array, pose: Pose, model: str) -> Evidence:
        moved, covered = resampled(training, pose, self.spacing, query.shape)
        overlap = float(covered.mean())
        mask = self._inner(query, moved, covered)
        if mask.sum() < 64:
            return Evidence(-1.0, -1.0, -1.0, -1.0, overlap, pose, model)
        local = self._local(query, moved, mask)
        values = local.correlation(self.floor**2)[mask]
        contrast = np.sqrt(np.sqrt(local.var_one * local.var_other))[mask]
        score = float((values * contrast).sum() / max(contrast.sum(), 1e-12))
        structured = values[contrast >= np.median(contrast)]
        fitted = self._local(query, matched(moved, query, mask), mask)
        a, b = query[mask].astype(np.float64), moved[mask].astype(np.float64)
        flat = min(a.std(), b.std()) <= 1e-9
        return Evidence(
            score=score * min(1.0, overlap / self.least_overlap),
            correlation=0.0 if flat else float(np.corrcoef(a, b)[0, 1]),
            ssim=float(fitted.structural_similarity()[mask].mean()),
            worst=float(np.percentile(structured, 10)),
            overlap=overlap,
            transform=pose,
            model=model,
        )

    def aligned(self, query: Array, training: Array, transform: Pose) -> Array:
        """Return the training volume on the query's grid, NaN where it does not cover it.

        Its mean and standard deviation in the overlap are made those of the query.
        """
        query, training = self._checked(query, training)
        moved, covered = resampled(training, transform, self.spacing, query.shape)
        result = matched(moved, query, covered).copy()
        result[~covered] = np.nan
        return result

    def similarity_map(self, query: Array, training: Array, transform: Pose) -> Array:
        """Return the local correlation (X, Y, Z) in [-1, 1], NaN outside the overlap."""
        query, training = self._checked(query, training)
        moved, covered = resampled(training, transform, self.spacing, query.shape)
        values = self._local(query, moved, covered).correlation(self.floor**2)
        return np.where(covered, values, np.nan).astype(np.float32)

    def difference(self, query: Array, training: Array, transform: Pose) -> Array:
        """Return query minus aligned training volume (X, Y, Z), NaN outside the overlap."""
        result: Array = query - self.aligned(query, training, transform)
        return result

    def _checked(self, query: Any, training: Any) -> tuple[Array, Array]:
        volumes = [np.asarray(v, np.float32) for v in (query, training)]
        for name, volume in zip(("the query", "the training volume"), volumes, strict=True):
            if volume.ndim != 3 or volume.shape != volumes[0].shape:
                raise BadInput(
                    f"a pair of shapes {volumes[0].shape} and {volumes[1].shape}; two volumes "
                    "(X, Y, Z) of one shape are expected. Preprocess both alike."
                )
            if not np.isfinite(volume).all():
                raise BadInput(f"{name} holds NaN or infinity. Repair or remove this volume.")
            if volume.min() == volume.max():
                raise BadInput(
                    f"{name} has the same value everywhere; nothing can be compared with it."
                )
        return volumes[0], volumes[1]

    def _sigma(self, width: float) -> list[float]:
        mean = float(np.prod(self.spacing)) ** (1 / 3)
        return [width * mean / s for s in self.spacing]

    def _local(self, query: Array, moved: Array, mask: Mask) -> LocalStatistics:
        from scipy.ndimage import gaussian_filter

        if self.smooth:
            sigma = self._sigma(self.smooth)
            query, moved = (gaussian_filter(v, sigma, mode="nearest") for v in (query, moved))
        return LocalStatistics(query, moved, mask, self._sigma(self.window))

    def _inner(self, query: Array, moved: Array, covered: Mask) -> Mask:
        """Return the voxels that count: inside the overlap, and not empty in both."""
        from scipy.ndimage import binary_erosion

        empty = (query <= query.min()) & (moved <= 0)
        # What is exactly empty in one of them over a large part was cut off or padded.
        lost = _lost(query) | _lost(moved)
        result: Mask = binary_erosion(covered & ~lost, iterations=2) & ~empty
        return result


def _lost(volume: Array) -> Mask:
    """Return voxels of empty slabs at the border: cut off or padded, not anatomy."""
    lost = np.zeros(volume.shape, np.bool_)
    for axis in range(3):
        others = tuple(i for i in range(3) if i != axis)
        full = np.flatnonzero((volume > 0).any(axis=others))
        if not len(full):
            continue
        part: list[slice] = [slice(None)] * 3
        for outside in (slice(0, int(full[0])), slice(int(full[-1]) + 1, None)):
            part[axis] = outside
            lost[tuple(part)] = True
    return lost
