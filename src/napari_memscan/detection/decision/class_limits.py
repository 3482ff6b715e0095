"""Where near-duplicates end and copies begin, learnt from copies planted in the study itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from napari_memscan.detection.statistics.intervals import compute_auc, compute_auc_interval
from napari_memscan.detection.statistics.validation import Scores, check_scores
from napari_memscan.errors import BadInput
from napari_memscan.typing import Interval, Verdict

MIN_MEMBERS = 10
"""Of a class; fewer say next to nothing about its tails."""

MAX_CORRELATION = 0.9999
"""Score that counts as no larger: Fisher's z of 1 is infinite."""

MIN_AUC = 0.8
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

    Whether a volume is near is a question of its score. Whether it is a copy is one of how far its
    anatomy has moved, where that was measured: intensities lower a copy's score as deformation
    lowers a near-duplicate's, but they move nothing.

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
    displacement_limit_ : float or None
        In mm: up to here a volume is a copy rather than a near-duplicate; where both are equally
        likely, taken for normal. None where no displacements are known, or the classes are too
        small or not told apart.
    copy_limit_ : float or None
        Only where no displacements are known: the score from which on a volume is a copy, likewise,
        normal in Fisher's z.
    copy_interval_ : (float, float) or None
        95 % of whichever of the two is there, volumes of each class drawn anew.
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

    def fit(
        self,
        novel: ArrayLike,
        near: ArrayLike,
        copy: ArrayLike,
        displacements: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> ClassLimits:
        """Learn the limits.

        Parameters
        ----------
        novel, near, copy : arrays (n,)
            Scores of the null (validation volumes), of planted near-duplicates and of planted
            copies. An empty one is allowed and said in `reasons_`.
        displacements : (array (m,), array (m,)), optional
            In mm, of planted near-duplicates and of planted copies that were found.

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
            Verdict.NOVEL: np.sort(check_scores(novel, "null")),
            Verdict.NEAR_DUPLICATE: np.sort(check_scores(near, "planted near-duplicate")),
            Verdict.COPY: np.sort(check_scores(copy, "planted copy")),
        }
        if not any(map(len, classes.values())):
            raise BadInput("no null, no planted near-duplicates and no planted copies: no limits.")
        null, self.near_, self.copy_ = classes.values()
        self.by_displacement_ = displacements is not None
        told_by = [self.near_, self.copy_]
        if displacements is not None:
            # Larger is nearer, as everywhere.
            told_by = [
                np.sort(-check_scores(values, f"displacement of a planted {name}"))
                for name, values in zip(
                    (Verdict.NEAR_DUPLICATE, Verdict.COPY), displacements, strict=True
                )
            ]
        reasons = [
            f"{len(scores)} {name} scores; at least {MIN_MEMBERS} are needed"
            for name, scores in classes.items()
            if len(scores) < MIN_MEMBERS
        ]
        self.separability_: dict[str, Separability] = {}
        word = "displacement" if self.by_displacement_ else "score"
        for close_name, far_name, by, (far, close) in [
            (Verdict.COPY, Verdict.NEAR_DUPLICATE, word, told_by),
            (Verdict.NEAR_DUPLICATE, Verdict.NOVEL, "score", (null, self.near_)),
        ]:
            if not len(close) or not len(far):
                continue
            area = compute_auc(far, close)
            interval = compute_auc_interval(area, len(far), len(close))
            found = Separability(area, interval, len(far), len(close))
            self.separability_[f"{close_name}/{far_name}"] = found
            if area < MIN_AUC:
                reasons.append(
                    f"a {close_name} cannot be told from a {far_name} by its {by}: area under the "
                    f"ROC curve {area:.2f} ({interval[0]:.2f} to {interval[1]:.2f}), at least "
                    f"{MIN_AUC} is needed"
                )
        self.reasons_ = tuple(reasons)
        random = np.random.default_rng(self.seed)
        self.novel_limit_: float | None = None
        self.novel_limit_interval_: Interval | None = None
        if min(len(self.near_), len(self.copy_)) >= MIN_MEMBERS:
            self.novel_limit_ = self._novel_limit(null, self.near_, self.copy_)
            self.novel_limit_interval_ = self._interval(
                self._novel_limit, random, null, self.near_, self.copy_
            )
        self.copy_limit_: float | None = None
        self.displacement_limit_: float | None = None
        self.copy_interval_: Interval | None = None
        if min(map(len, told_by)) < MIN_MEMBERS:
            return self
        if self.separability_["copy/near-duplicate"].auc >= MIN_AUC:
            between = _find_crossing if self.by_displacement_ else _find_score_crossing
            limit, drawn = between(*told_by), self._interval(between, random, *told_by)
            if self.by_displacement_:
                self.displacement_limit_, self.copy_interval_ = -limit, (-drawn[1], -drawn[0])
            else:
                self.copy_limit_, self.copy_interval_ = limit, drawn
        return self

    def is_copy(self, score: float, displacement: float | None = None) -> bool | None:
        """Return whether a volume that was called is a copy; None where nobody can tell.

        Raises
        ------
        BadInput
            The limits were learnt from displacements, and the volume's is not given.
        """
        if self.by_displacement_:
            if displacement is None:
                raise BadInput(
                    "these limits were learnt from displacements; give the volume's, from its "
                    "registration."
                )
            limit = self.displacement_limit_
            return None if limit is None else displacement <= limit
        return None if self.copy_limit_ is None else score >= self.copy_limit_

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
    ) -> Interval:
        drawn = [
            limit(*(np.sort(random.choice(s, len(s))) if len(s) else s for s in classes))
            for _ in range(self.n_draws)
        ]
        low, high = np.percentile(drawn, [2.5, 97.5])
        return float(low), float(high)


def _find_crossing(near: Scores, copy: Scores) -> float:
    """Return where copies become likelier than near-duplicates; both classes count equally.

    Values are larger the nearer. Normal densities of both, equal between their means. Two means and
    two deviations are known better than the few values that lie next to a limit: on the subjects
    that settings were chosen on, it was never worse than the limit of least error, and mostly
    better.
    """
    low, high = float(near.mean()), float(copy.mean())
    if low >= high:
        return (low + high) / 2
    return _solve_equal_density(low, high, float(near.std(ddof=1)), float(copy.std(ddof=1)))


def _find_score_crossing(near: Scores, copy: Scores) -> float:
    """Return the crossing of scores: of Fisher's z, where they are correlations."""
    if max(np.abs(near).max(), np.abs(copy).max()) > 1:
        return _find_crossing(near, copy)
    return float(np.tanh(_find_crossing(_transform_fisher(near), _transform_fisher(copy))))


def _transform_fisher(scores: Scores) -> Scores:
    z: Scores = np.arctanh(np.clip(scores, -MAX_CORRELATION, MAX_CORRELATION))
    return z


def _solve_equal_density(low: float, high: float, s: float, t: float) -> float:
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
