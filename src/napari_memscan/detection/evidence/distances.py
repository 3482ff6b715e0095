"""Metrics of how near synthetic volumes lie to training volumes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_memscan.detection.evidence.arrays import Float, check_vectors, draw_subset, find_nearest
from napari_memscan.errors import BadInput

RATIO_LIMIT = 1 / 3
CARLINI_K, CARLINI_ALPHA, CARLINI_LIMIT = 50, 0.5, 1.4


def find_authentic(training: ArrayLike, synthetic: ArrayLike) -> NDArray[np.bool_]:
    """Return which synthetic volumes are authentic; AuthPct is 100 times the mean.

    x is authentic when ``d(x, t*) > min_{t != t*} d(t*, t)`` with t* the training volume nearest
    to x: when it lies farther from t* than the next real one. Smaller AuthPct = more copying.
    Source: Alaa et al. 2022 (arXiv 2102.08921), authenticity, as dgm-eval computes it.

    Parameters
    ----------
    training, synthetic : arrays (n, d), (m, d)

    Returns
    -------
    array (m,), bool

    Raises
    ------
    BadInput
        Fewer than 2 training vectors, two equal ones (everything near them would be authentic), or
        unsound vectors.
    """
    real, made = check_vectors({"training": 2}, training=training, synthetic=synthetic)
    between, _ = find_nearest(real, real, skip_self=True)
    _refuse_twins(between[:, 0])
    to_real, which = find_nearest(made, real)
    result: NDArray[np.bool_] = to_real[:, 0] > between[which[:, 0], 0]
    return result


def compute_neighbour_ratio(training: ArrayLike, synthetic: ArrayLike) -> Float:
    """Return d1/d2 of each synthetic volume: distance to the nearest over that to the second.

    In [0, 1]; below 1/3 is memorised (`RATIO_LIMIT`). Smaller = more copying. Source: Yoon et al.
    2023 and Gu et al. 2023 (arXiv 2310.02664), who set 1/3.

    Raises
    ------
    BadInput
        Fewer than 2 training vectors, two equal ones (the ratio is then 1 or undefined), or
        unsound vectors.
    """
    real, made = check_vectors({"training": 2}, training=training, synthetic=synthetic)
    _refuse_twins(find_nearest(real, real, skip_self=True)[0][:, 0])
    two, _ = find_nearest(made, real, 2)
    return two[:, 0] / two[:, 1]


def compute_carlini_ratio(
    training: ArrayLike, synthetic: ArrayLike, k: int = CARLINI_K, alpha: float = CARLINI_ALPHA
) -> Float:
    """Return Carlini's normalised distance nL2 of each synthetic volume.

    ``d(x, t1) / (alpha * mean of d(x, t) over the k nearest t)``, in [0, 1/alpha]. Smaller = more
    copying. Source: Carlini et al. 2023 (arXiv 2301.13188); equation 8 of Chen et al. 2024 (AMG),
    with k = 50, alpha = 0.5, and pixel-level memorisation below 1.4 on CIFAR-10.

    Parameters
    ----------
    training, synthetic : arrays (n, d), (m, d)
    k : int
        All training volumes where there are fewer.
    alpha : float
        Larger than 0.

    Raises
    ------
    BadInput
        Fewer than 2 training vectors, k below 2, a synthetic volume equal to all of its k
        neighbours, or unsound vectors.
    """
    real, made = check_vectors({"training": 2}, training=training, synthetic=synthetic)
    if k < 2 or not alpha > 0:
        raise BadInput(f"k {k}, alpha {alpha}: k of at least 2 and alpha above 0 are expected.")
    near, _ = find_nearest(made, real, min(k, len(real)))
    mean = near.mean(axis=1)
    if not mean.all():
        raise BadInput(
            f"synthetic vector {int(np.argmin(mean))} equals {near.shape[1]} training vectors: "
            "training holds a volume many times. Take its duplicates out."
        )
    return near[:, 0] / (alpha * mean)


@dataclass(frozen=True)
class ClosestRecordComparison:
    """Distances to the closest record.

    Attributes
    ----------
    closer, ties, n_synthetic : int
        Synthetic volumes closer to training than to validation, as close to both, and in all.
    n_compared : int
        Training and validation volumes in that comparison, each.
    synthetic_p5, validation_p5 : float
        5th percentile of the distance to the nearest of all training volumes.
    """

    closer: int
    ties: int
    n_synthetic: int
    n_compared: int
    synthetic_p5: float
    validation_p5: float


def compare_closest_records(
    training: ArrayLike, validation: ArrayLike, synthetic: ArrayLike, seed: int = 0
) -> ClosestRecordComparison:
    """Compare distances to the closest record (DCR) of training and of validation.

    ``DCR(x) = min_t d(x, t)``. The share of synthetic volumes with a smaller DCR to training than
    to equally many validation volumes is 50 % when training is no nearer than any other patient;
    the larger of the two splits is thinned by `seed`. Larger share = more copying. Source:
    Platzer and Reutterer 2021 (holdout-based assessment); 5th percentiles as in common practice.

    Raises
    ------
    BadInput
        Unsound vectors.
    """
    real, held, made = check_vectors(
        {}, training=training, validation=validation, synthetic=synthetic
    )
    n = min(len(real), len(held))
    to_real = find_nearest(made, draw_subset(real, n, seed))[0][:, 0]
    to_held = find_nearest(made, draw_subset(held, n, seed))[0][:, 0]
    return ClosestRecordComparison(
        closer=int((to_real < to_held).sum()),
        ties=int((to_real == to_held).sum()),
        n_synthetic=len(made),
        n_compared=n,
        synthetic_p5=float(np.percentile(find_nearest(made, real)[0], 5)),
        validation_p5=float(np.percentile(find_nearest(held, real)[0], 5)),
    )


def _refuse_twins(to_nearest: Float) -> None:
    """Refuse training vectors that are equal, given the distance of each to the nearest other."""
    twins = np.flatnonzero(to_nearest == 0)
    if len(twins):
        raise BadInput(
            f"training vector {twins[0]} equals another ({len(twins)} such vectors), so the "
            "distance between neighbouring training volumes is 0. Take the duplicates out of "
            "training."
        )
