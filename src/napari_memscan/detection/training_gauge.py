"""How much a model that is still training copies, from a few of its volumes; quick and coarse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_memscan.detection.decision.thresholds import PaperRule, compute_null_floor
from napari_memscan.detection.evidence.distances import RATIO_LIMIT, compute_neighbour_ratio
from napari_memscan.detection.retrieval.neighbours import NeighbourIndex
from napari_memscan.detection.statistics.proportions import Proportion
from napari_memscan.errors import BadInput
from napari_memscan.typing import Vectors
from napari_memscan.volumes.volume import VolumeSequence

Embed = Callable[[NDArray[np.float32]], Vectors]

MAX_CELLS = 12
"""Cells along an axis that volumes are averaged to, at most."""


@dataclass(frozen=True)
class MemorisationMeasurement:
    """What a few generated volumes say of a model.

    Attributes
    ----------
    copies : Proportion
        N_copies by the paper's rule.
    median_ratio : float or None
        Median d1/d2, the distance to the nearest training volume over that to the second; smaller
        is more copying. None where there is no volume to measure.
    memorised : Proportion
        Volumes with d1/d2 below 1/3.
    """

    copies: Proportion
    median_ratio: float | None
    memorised: Proportion


class MemorisationMonitor:
    """Compares generated volumes with training volumes, as they lie and at low resolution.

    For watching a training, not for an audit: copies that are flipped, turned or shifted are
    missed unless `embed` sees them, and so few volumes are a rough estimate.

    Parameters
    ----------
    embed : callable, optional
        Maps volumes (N, 1, X, Y, Z) to vectors (N, d); by default the volumes themselves,
        averaged to at most 12 cells an axis, zero mean and unit variance.
    quantile : float
        Of the paper's rule.

    Attributes
    ----------
    threshold_ : float
        tau; a volume whose similarity to a training volume is larger counts as a copy.
    floor_ : float
        Share that the rule flags where nothing is memorised.
    """

    def __init__(self, embed: Embed | None = None, quantile: float = 0.95) -> None:
        self.embed = embed
        self.quantile = quantile

    def fit(self, training: VolumeSequence, validation: VolumeSequence) -> MemorisationMonitor:
        """Learn training volumes and tau; volumes (X, Y, Z) of one shape, preprocessed alike.

        Raises
        ------
        BadInput
            Fewer than 2 training volumes or no validation volume, or one that does not do.
        """
        if len(training) < 2 or not len(validation):
            raise BadInput(
                f"{len(training)} training and {len(validation)} validation volumes; at least 2 "
                "and 1 are needed to watch for copies."
            )
        self.shape_ = tuple(np.shape(training[0]))
        self._embed = self.embed or _make_low_resolution_embed(self.shape_)
        real, unseen = self._vectors(training), self._vectors(validation)
        rule = PaperRule(self.quantile).fit(real, unseen)
        self.threshold_ = rule.threshold_
        self.floor_ = compute_null_floor(len(real), len(unseen), self.quantile)
        self._index = NeighbourIndex().fit(real)
        # A volume that is twice in training would make every ratio 1 or undefined.
        self._distinct = np.unique(real, axis=0)
        return self

    def measure(self, volumes: VolumeSequence) -> MemorisationMeasurement:
        """Return how near generated volumes are; a constant one is near to nobody.

        Raises
        ------
        BadInput
            No volumes, another shape, or values that are not finite.
        """
        if not len(volumes):
            raise BadInput("there are no volumes to measure: the sampler returned none.")
        for i in range(len(volumes)):
            if np.shape(volumes[i]) != self.shape_:
                raise BadInput(
                    f"generated volume {i} has shape {np.shape(volumes[i])}, the training volumes "
                    f"{self.shape_}. Return volumes (X, Y, Z) as the training volumes are."
                )
        vectors = self._vectors(volumes)
        # An untrained model may decode to one value everywhere.
        vectors = vectors[vectors.std(axis=1) > 1e-6 * np.abs(vectors).max(initial=1e-6)]
        n, n_copies, ratios = len(volumes), 0, np.empty(0)
        if len(vectors):
            nearest, _ = self._index.kneighbors(vectors, 1)
            n_copies = int((nearest[:, 0].astype(np.float64) > self.threshold_).sum())
            if len(self._distinct) > 1:
                # A model that makes one volume only is measured by that one.
                made, which = np.unique(vectors, axis=0, return_inverse=True)
                ratios = compute_neighbour_ratio(self._distinct, made)[which.ravel()]
        return MemorisationMeasurement(
            Proportion(n_copies, n),
            float(np.median(ratios)) if len(ratios) else None,
            Proportion(int((ratios < RATIO_LIMIT).sum()), n),
        )

    def _vectors(self, volumes: VolumeSequence) -> Vectors:
        rows = [
            self._embed(np.asarray(volumes[i], np.float32)[None, None])[0]
            for i in range(len(volumes))
        ]
        return np.stack(rows).astype(np.float32)


def _make_low_resolution_embed(shape: tuple[int, ...]) -> Embed:
    from napari_memscan.embedders.low_resolution import LowResolutionEmbedder

    if len(shape) != 3:
        raise BadInput(f"volumes of shape {shape}; (X, Y, Z) is expected.")
    x, y, z = (min(MAX_CELLS, n) for n in shape)
    return LowResolutionEmbedder((x, y, z)).embed
