"""Intervals of shares, of areas under a ROC curve, and of anything by resampling subjects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_memscan.detection.statistics.validation import check_scores, number_subjects
from napari_memscan.errors import BadInput


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a share (Clopper and Pearson 1934).

    Parameters
    ----------
    k, n : int
        `k` of `n`.
    confidence : float
        Coverage is at least this.

    Returns
    -------
    (float, float)
        Lower and upper limit in [0, 1]; (0, 1) for ``n = 0``.
    """
    from statsmodels.stats.proportion import proportion_confint

    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is no share")
    if not n:
        return 0.0, 1.0
    low, high = proportion_confint(k, n, 1 - confidence, method="beta")
    return float(low), float(high)


def compute_auc(lower: ArrayLike, higher: ArrayLike) -> float:
    """Return the probability that one of `higher` exceeds one of `lower`; ties count half."""
    from scipy.stats import mannwhitneyu

    low, high = check_scores(lower, "lower", 1), check_scores(higher, "higher", 1)
    return float(mannwhitneyu(high, low).statistic / (len(high) * len(low)))


def compute_auc_interval(
    area: float, n1: int, n2: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the score interval of an area under the ROC curve (Newcombe 2006, method 5).

    All areas A with ``|area - A| <= z sqrt(V(A))``, where ``V = A (1 - A) [1 + (N - 1)
    ((1 - A) / (2 - A) + A / (1 + A))] / (n1 n2)`` is Hanley and McNeil's variance and ``N = (n1 +
    n2) / 2``. Other than resampling it is not empty at an area of 1: ten against ten volumes that
    happen to separate do not prove that all will.

    Parameters
    ----------
    area : float
        In [0, 1].
    n1, n2 : int
        Sizes of the two classes, at least 1.
    confidence : float
        Coverage is about this.

    Returns
    -------
    (float, float)
        In [0, 1].
    """
    from scipy.optimize import brentq
    from scipy.stats import norm

    if not 0 <= area <= 1 or min(n1, n2) < 1:
        raise BadInput(f"area {area} of {n1} against {n2}: no area under a ROC curve.")
    z = float(norm.ppf((1 + confidence) / 2))
    half = (n1 + n2) / 2 - 1

    def beyond(true: float) -> float:
        spread = true * (1 - true) * (1 + half * (1 - true) / (2 - true) + half * true / (1 + true))
        return float(z * np.sqrt(spread / (n1 * n2)) - abs(area - true))

    # At the area itself it is positive unless the area is 0 or 1, at 0 and 1 it is negative.
    low = 0.0 if area == 0 else brentq(beyond, 0.0, area - 1e-9 if area == 1 else area)
    high = 1.0 if area == 1 else brentq(beyond, 1e-9 if area == 0 else area, 1.0)
    return float(low), float(high)


def bootstrap_over_subjects(
    values: ArrayLike,
    subjects: Sequence[str] | None,
    statistic: Callable[[NDArray[np.float64]], float],
    n: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Return the percentile interval of a statistic when subjects are drawn anew.

    Volumes of one subject resemble each other: drawn one by one they would pass for more evidence
    than they are, so a subject is drawn with all its volumes.

    Parameters
    ----------
    values : array (n_volumes,)
        One a volume.
    subjects : sequence of str, optional
        One a volume; without them, or where one is empty, a volume is a subject of its own.
    statistic : callable
        Of the drawn values, any number of them.
    n : int
        Draws.
    seed : int
        The same seed gives the same interval.
    confidence : float
        Share of the draws inside.

    Returns
    -------
    (float, float)
        Neither limit can lie outside what the drawn subjects showed: with few of them the interval
        of a high percentile is too short.
    """
    scores = check_scores(values, "resampled", 1)
    if n < 1:
        raise BadInput(f"{n} draws; at least 1 is needed, 1000 are usual.")
    draws = draw_subjects(subjects, len(scores), np.random.default_rng(seed))
    drawn = [float(statistic(scores[rows])) for rows in islice(draws, n)]
    tail = 50 * (1 - confidence)
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return float(low), float(high)


def draw_subjects(
    subjects: Sequence[str] | None, n: int, random: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of as many subjects as there are, drawn with replacement, without end."""
    numbers = number_subjects(subjects, n)
    n_subjects = int(numbers.max()) + 1
    order = np.argsort(numbers, kind="stable")
    sizes = np.bincount(numbers)
    starts = np.cumsum(sizes) - sizes
    while True:
        chosen = random.integers(n_subjects, size=n_subjects)
        size = sizes[chosen]
        within = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        yield order[np.repeat(starts[chosen], size) + within]
