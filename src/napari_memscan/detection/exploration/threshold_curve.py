"""What another threshold would call, and how often it would be wrong: explored, never decided."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from napari_memscan.detection.evidence.counts import (
    UnseenEstimate,
    compute_rarefaction,
    estimate_unseen,
)
from napari_memscan.detection.results.scan_result import ScanResult
from napari_memscan.detection.statistics.intervals import clopper_pearson

CURVE_POINTS = 100
NORMAL_QUANTILE = 1.96


@dataclass(frozen=True)
class ThresholdCounts:
    """What lies above a threshold.

    Attributes
    ----------
    threshold : float
        On the scan's measure, in [-1, 1].
    above, n : int
        Synthetic volumes above it, of how many.
    null_above, n_null : int
        Volumes known not to be copies above it, of how many.
    interval : (float, float)
        Clopper-Pearson 95 % of the share of the null.
    """

    threshold: float
    above: int
    n: int
    null_above: int
    n_null: int
    interval: tuple[float, float]

    @property
    def error_rate(self) -> float | None:
        """Share of volumes known not to be copies that it would call; None without a null."""
        return self.null_above / self.n_null if self.n_null else None


def count_above_threshold(
    values: ArrayLike, null: ArrayLike, threshold: float, *, reaching: bool = False
) -> ThresholdCounts:
    """Count what lies above a threshold.

    Parameters
    ----------
    values, null : arrays (n,), (m,)
        Similarities or scores of synthetic volumes, and of volumes known not to be copies.
    threshold : float
        On the same measure.
    reaching : bool
        Whether the threshold itself counts as above, as with the conformal rule.
    """

    def above(array: NDArray[np.float64]) -> int:
        return int((array >= threshold if reaching else array > threshold).sum())

    made, known = np.asarray(values, float), np.asarray(null, float)
    k = above(known)
    interval = clopper_pearson(k, known.size)
    return ThresholdCounts(threshold, above(made), made.size, k, known.size, interval)


def is_threshold_inclusive(result: ScanResult) -> bool:
    """Return whether a scan's rule calls what reaches its threshold, not only what exceeds it."""
    return result.rule == "conformal"


@dataclass(frozen=True, eq=False)
class RarefactionCurve:
    """N_mem over the number of synthetic volumes.

    Attributes
    ----------
    sizes : array (k,), int
        Numbers of synthetic volumes, from 0 to all.
    n_mem, low, high : arrays (k,)
        Training volumes with a copy, on average, and its 95 % interval.
    unseen : UnseenEstimate
        Those not yet seen included.
    n_synthetic, n_training : int
        Sizes.
    """

    sizes: NDArray[np.int64]
    n_mem: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    unseen: UnseenEstimate
    n_synthetic: int
    n_training: int


def count_scan_copies(result: ScanResult) -> NDArray[np.int64]:
    """Return how many synthetic volumes each training volume has above the threshold (n_training,).

    Among the neighbours that a scan keeps, as N_mem counts; most first.
    """
    counts: dict[str, int] = {}
    for near in (near for sample in result.samples for near in sample.neighbours):
        value = near.score if result.measure == "score" else near.similarity
        if value is None or result.threshold is None:
            continue
        if value > result.threshold or (
            is_threshold_inclusive(result) and value == result.threshold
        ):
            counts[near.name] = counts.get(near.name, 0) + 1
    each = np.zeros(result.n_training, np.int64)
    each[: len(counts)] = sorted(counts.values(), reverse=True)
    return each


def compute_rarefaction_curve(result: ScanResult) -> RarefactionCurve:
    """Return how N_mem of a scan grew with the number of synthetic volumes.

    The mean is exact (see `evidence.counts.compute_rarefaction`). Its interval is the
    unconditional one: other synthetic volumes of the same generator could have been drawn. Its
    variance is ``sum_i (1 - a_i)^2 - N_mem(m)^2 / S_est``, with a_i the probability that m volumes
    hold no copy of training volume i, and S_est Chao's estimate of all memorised ones (Colwell et
    al. 2012, equation 5).
    """
    each, n = count_scan_copies(result), result.n_synthetic
    sizes = np.unique(np.linspace(0, n, min(n, CURVE_POINTS) + 1).round().astype(np.int64))
    mean = compute_rarefaction(each, n, sizes)
    total = estimate_unseen(each, n)
    each = each[each > 0]
    left = n - each[None] - sizes[:, None]
    log_none = (
        gammaln(n - each[None] + 1)
        - gammaln(np.maximum(left, 0) + 1)
        + gammaln(n - sizes[:, None] + 1)
        - gammaln(n + 1)
    )
    held = 1 - np.where(left < 0, 0.0, np.exp(np.minimum(log_none, 0.0)))
    variance = (held**2).sum(axis=1) - mean**2 / max(total.estimate, 1.0)
    half = NORMAL_QUANTILE * np.sqrt(np.maximum(variance, 0))
    most = float(result.n_training)
    return RarefactionCurve(
        sizes,
        mean,
        np.maximum(mean - half, 0),
        np.minimum(mean + half, most),
        total,
        n,
        result.n_training,
    )
