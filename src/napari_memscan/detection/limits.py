"""Where near-duplicates end and copies begin, learnt from copies planted in the study itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from napari_memscan.detection.intervals import auc, auc_interval
from napari_memscan.detection.scores import Scores, checked_scores
from napari_memscan.errors import BadInput

LEAST_MEMBERS = 10
"""Of a class; fewer say next to nothing about its tails."""

LARGEST = 0.9999
"""Score that counts as no larger: Fisher's z of 1 is infinite."""

LEAST_AUC = 0.8
"""Below it, two classes are not told apart: at best one in four or so is on the wrong side."""


@dataclass(frozen=True)
class Separability:
    """How well scores tell two classes apart.

    Attributes
    ----------
    auc : float
        Probability that one of the nearer class has the larger score; 0.5 by chance.
    interval : (float, float)
        95 %, Newcombe 2006.
    n_far, n_near : int
        Members of the farther and the nearer class.
    """

    auc: float
    interval: tuple[float, float]
    n_far: int
    n_near: int


class ClassLimits:
    """Limits between novel, near-duplicate and copy on one scale of scores.

    Planted copies are training volumes put through what a generator does to a copy (flips, small
    rotations and shifts, intensity), planted near-duplicates are deformed ones; both went through
    the same search as synthetic volumes. No limit is taken from another study: scores of another
    embedder or cohort lie elsewhere.

    Parameters
    ----------
    miss : float
        Largest share of planted copies, and of planted near-duplicates, at or below
        `novel_limit_`.
    n_draws : int
        Bootstrap draws behind the intervals.
    seed : int
        Of the draws.

    Attributes
    ----------
    copy_limit_ : float or None
        From here on a volume is a copy rather than a near-duplicate: where both are equally likely,
        taken for normal in Fisher's z. None where the classes are too small or not told apart.
    copy_limit_interval_ : (float, float) or None
        95 %, volumes of each class drawn anew.
    novel_limit_ : float or None
        Up to here a volume is novel. Where all planted ones lie above all of the null, at most the
        middle of that gap. None where a planted class is too small.
    novel_limit_interval_ : (float, float) or None
    separability_ : dict of str to Separability
        ``"copy/near-duplicate"`` and ``"near-duplicate/novel"``; without a class that is empty.
    near_, copy_ : arrays, float64
        Ascending, what it was fitted to.
    reasons_ : tuple of str
        Why a limit is None or must be doubted, in words for a reader of the report.
    """

    def __init__(self, miss: float = 0.05, n_draws: int = 1000, seed: int = 0) -> None:
        self.miss = miss
        self.n_draws = n_draws
        self.seed = seed

    def fit(self, novel: ArrayLike, near: ArrayLike, copy: ArrayLike) -> ClassLimits:
        """Learn the limits.

        Parameters
        ----------
        novel, near, copy : arrays (n,)
            Scores of the null (validation volumes), of planted near-duplicates and of planted
            copies. An empty one is allowed and said in `reasons_`.

        Raises
        ------
        BadInput
            A score that is not finite, or all three are empty.
        """
        if not 0 <= self.miss < 0.5:
            raise BadInput(f"miss {self.miss}: a share in [0, 0.5) is expected.")
        if self.n_draws < 1:
            raise BadInput(f"{self.n_draws} draws; at least 1 is needed, 1000 are usual.")
        classes = {
            "novel": np.sort(checked_scores(novel, "null")),
            "near-duplicate": np.sort(checked_scores(near, "planted near-duplicate")),
            "copy": np.sort(checked_scores(copy, "planted copy")),
        }
        if not any(map(len, classes.values())):
            raise BadInput("no null, no planted near-duplicates and no planted copies: no limits.")
        null, self.near_, self.copy_ = classes.values()
        reasons = [
            f"{len(scores)} {name} scores; at least {LEAST_MEMBERS} are needed"
            for name, scores in classes.items()
            if len(scores) < LEAST_MEMBERS
        ]
        self.separability_: dict[str, Separability] = {}
        for near_name, far_name in [("copy", "near-duplicate"), ("near-duplicate", "novel")]:
            close, far = classes[near_name], classes[far_name]
            if not len(close) or not len(far):
                continue
            area = auc(far, close)
            interval = auc_interval(area, len(far), len(close))
            found = Separability(area, interval, len(far), len(close))
            self.separability_[f"{near_name}/{far_name}"] = found
            if area < LEAST_AUC:
                reasons.append(
                    f"a {near_name} cannot be told from a {far_name} by its score: area under the "
                    f"ROC curve {area:.2f} ({interval[0]:.2f} to {interval[1]:.2f}), at least "
                    f"{LEAST_AUC} is needed"
                )
        self.reasons_ = tuple(reasons)
        random = np.random.default_rng(self.seed)
        self.copy_limit_: float | None = None
        self.copy_limit_interval_: tuple[float, float] | None = None
        self.novel_limit_: float | None = None
        self.novel_limit_interval_: tuple[float, float] | None = None
        if min(len(self.near_), len(self.copy_)) >= LEAST_MEMBERS:
            self.novel_limit_ = self._novel_limit(null, self.near_, self.copy_)
            self.novel_limit_interval_ = self._interval(
                self._novel_limit, random, null, self.near_, self.copy_
            )
            if self.separability_["copy/near-duplicate"].auc >= LEAST_AUC:
                self.copy_limit_ = _crossing(self.near_, self.copy_)
                self.copy_limit_interval_ = self._interval(
                    _crossing, random, self.near_, self.copy_
                )
        return self

    def _novel_limit(self, null: Scores, near: Scores, copy: Scores) -> float:
        # Of each class, not of both together: how many were planted of each is a matter of taste.
        # The largest number below the first that must stay above.
        limit = min(float(np.nextafter(s[int(self.miss * len(s))], -np.inf)) for s in (near, copy))
        lowest = min(near[0], copy[0])
        if len(null) and null[-1] < lowest:
            limit = min(limit, float((null[-1] + lowest) / 2))
        return limit

    def _interval(
        self, limit: Callable[..., float], random: np.random.Generator, *classes: Scores
    ) -> tuple[float, float]:
        drawn = [
            limit(*(np.sort(random.choice(s, len(s))) if len(s) else s for s in classes))
            for _ in range(self.n_draws)
        ]
        low, high = np.percentile(drawn, [2.5, 97.5])
        return float(low), float(high)


def _crossing(near: Scores, copy: Scores) -> float:
    """Return where copies become likelier than near-duplicates; both classes count equally.

    Normal densities of Fisher's z of both, equal between their means. Two means and two deviations
    are known better than the few scores that lie next to a limit: on the subjects that settings
    were chosen on, it was never worse than the limit of least error, and mostly better.
    """
    # Scores are correlations; what cannot be one is taken as it is.
    correlations = max(np.abs(near).max(), np.abs(copy).max()) <= 1
    below, above = (_fisher(s) if correlations else s for s in (near, copy))
    low, high = float(below.mean()), float(above.mean())
    if low < high:
        z = _between(low, high, float(below.std(ddof=1)), float(above.std(ddof=1)))
    else:
        z = (low + high) / 2
    return float(np.tanh(z)) if correlations else z


def _fisher(scores: Scores) -> Scores:
    z: Scores = np.arctanh(np.clip(scores, -LARGEST, LARGEST))
    return z


def _between(low: float, high: float, s: float, t: float) -> float:
    """Return where normal densities of means `low` < `high` and deviations s, t are equal."""
    # A class of equal scores has some width all the same.
    narrowest = 0.02 * (high - low)
    s, t = max(s, narrowest), max(t, narrowest)
    # log density: -(x - mean)^2 / (2 s^2) - log s; twice the difference is a parabola.
    a = 1 / t**2 - 1 / s**2
    b = 2 * (low / s**2 - high / t**2)
    c = high**2 / t**2 - low**2 / s**2 + 2 * np.log(t / s)
    roots = np.roots([a, b, c] if abs(a) > 1e-9 * (1 / s**2 + 1 / t**2) else [b, c])
    between = [float(r.real) for r in roots if abs(r.imag) < 1e-12 and low <= r.real <= high]
    # Where one is far wider, the densities may not cross between the means.
    return between[0] if between else (low * t + high * s) / (s + t)
