"""Which synthetic volumes are nearer than new patients are, with a bounded share of mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_memscan.detection.statistics.validation import (
    Scores,
    check_scores,
    select_nearest_per_subject,
)
from napari_memscan.errors import BadInput

# Shares of small counts are told apart at far more than this, and rounding of a product or a
# quotient stays far below: a p-value that is exactly at the limit is at it.
ROUNDING_SLACK = 1e-9


@dataclass(frozen=True, eq=False)
class BatchDecision:
    """What a rule says of all synthetic volumes of a batch at once.

    Attributes
    ----------
    rule : str
        Its name.
    q : float
        Largest expected share of false ones among the rejected.
    n_null : int
        Subjects that the null holds.
    p_values : array (m,)
        In (0, 1]: how often a new patient's volume would be as near.
    adjusted : array (m,)
        q-values: the smallest `q` at which each would be rejected.
    rejected : array (m,) of bool
        Nearer than new patients are.
    threshold : float or None
        Smallest rejected score; None where nothing is rejected.
    n_above_all : int
        Volumes nearer than every one of the null.
    least_discoveries : int
        So many volumes must be nearer than every one of the null to be rejected.
    least_validation : int
        Validation subjects with which a single such volume would be rejected.
    power_note : str
        Why volumes nearer than every one of the null are not rejected; else empty.
    near_miss : array (m,) of bool
        Would be rejected, were they not below the floor; see `ConformalRule.decide`.
    """

    rule: str
    q: float
    n_null: int
    p_values: Scores
    adjusted: Scores
    rejected: NDArray[np.bool_]
    threshold: float | None
    n_above_all: int
    least_discoveries: int
    least_validation: int
    power_note: str
    near_miss: NDArray[np.bool_]

    @property
    def n_null_as_near(self) -> NDArray[np.int64]:
        """Of the null, how many are as near as each volume."""
        return np.rint(self.p_values * (self.n_null + 1)).astype(np.int64) - 1


class ConformalRule:
    """Conformal p-values and the procedure of Benjamini and Hochberg.

    The p-value of a synthetic volume is ``(1 + #{null >= score}) / (n + 1)``: under the assumption
    that a novel synthetic volume is no nearer to the training set than a new patient is, it is
    below any level with at most that probability, whatever the scores are. Of the volumes that the
    procedure rejects, a share of at most `q` is expected to be novel (Bates, Candes, Lei, Romano
    and Sesia 2021, arXiv 2104.08279, theorems 1 and 2). That holds on average over validation
    sets; with one small set the share can be larger.

    Parameters
    ----------
    q : float
        In (0, 1).

    Attributes
    ----------
    null_ : array (n_subjects,), float64
        Ascending; the largest score of each validation subject.
    threshold_ : float
        No score up to here is ever rejected, whatever the batch; infinite when there are so few
        subjects that nothing can be. `BatchDecision.threshold` is that of a batch.

    Notes
    -----
    Several volumes of one subject count as one: two scans of a patient are not two new patients,
    and counted as such they make p-values smaller than the evidence is. Scores of one volume a
    subject, picked at random, are exchangeable with that of a new subject. The largest of a subject
    is at least the picked one, so its p-values are at least as large: valid without a random pick,
    at the price of some power. Pooling all volumes is not valid.
    """

    name = "conformal"

    def __init__(self, q: float = 0.1) -> None:
        self.q = q

    def fit(self, null_scores: ArrayLike, subjects: Sequence[str] | None = None) -> ConformalRule:
        """Learn the null.

        Parameters
        ----------
        null_scores : array (n_validation,)
            Similarity of each validation volume to its nearest training volume, found by the same
            search as those of synthetic volumes; larger is nearer.
        subjects : sequence of str, optional
            One a validation volume; without them, or where one is empty, a volume is a subject of
            its own.
        """
        if not 0 < self.q < 1:
            raise BadInput(f"rule.q {self.q}: a number between 0 and 1 is expected.")
        scores = check_scores(null_scores, "validation", 1)
        self.null_ = np.sort(select_nearest_per_subject(scores, subjects))
        above = floor(self.q * (len(self.null_) + 1) + ROUNDING_SLACK)
        self.threshold_ = float(self.null_[-above]) if above else np.inf
        return self

    def p_values(self, scores: ArrayLike) -> Scores:
        """Return the p-value of each score (m,); ties with the null count against a rejection."""
        checked = check_scores(scores, "synthetic")
        n = len(self.null_)
        as_near = n - np.searchsorted(self.null_, checked, side="left")
        result: Scores = (1 + as_near) / (n + 1)
        return result

    def decide(self, scores: ArrayLike, floor: float | None = None) -> BatchDecision:
        """Judge a batch (m,) of scores together: each one's verdict depends on the others.

        Parameters
        ----------
        scores : array (m,)
            Larger is nearer.
        floor : float, optional
            Scores up to here are never rejected, such as those that planted near-duplicates hardly
            ever have. Their p-values enter as 1: no smaller than they are, so what the procedure
            promises stays.

        Raises
        ------
        BadInput
            No scores, or a score that is not finite.
        """
        from scipy.stats import false_discovery_control

        checked = check_scores(scores, "synthetic", 1)
        p_values = self.p_values(checked)
        low = np.zeros(len(checked), np.bool_) if floor is None else checked <= floor
        free = np.asarray(false_discovery_control(p_values, method="bh"), np.float64)
        entered = np.where(low, 1.0, p_values)
        adjusted = np.asarray(false_discovery_control(entered, method="bh"), np.float64)
        rejected = (adjusted <= self.q * (1 + ROUNDING_SLACK)) & ~low
        near_miss = (free <= self.q * (1 + ROUNDING_SLACK)) & low
        m, n = len(checked), len(self.null_)
        least = compute_least_discoveries(m, n, self.q)
        n_above_all = int(((checked > self.null_[-1]) & ~low).sum())
        note = ""
        if n_above_all and not rejected.any():
            enough = compute_least_validation(m, self.q, n_above_all)
            note = (
                "no power at this validation size: nearer than all "
                f"{n} validation subjects {'is' if n_above_all == 1 else 'are'} {n_above_all} of "
                f"{m} synthetic volumes, but at least {least} detections or {enough} validation "
                f"volumes are needed at q = {self.q:g}"
            )
        return BatchDecision(
            rule=self.name,
            q=self.q,
            n_null=n,
            p_values=p_values,
            adjusted=adjusted,
            rejected=rejected,
            threshold=float(checked[rejected].min()) if rejected.any() else None,
            n_above_all=n_above_all,
            least_discoveries=least,
            least_validation=compute_least_validation(m, self.q),
            power_note=note,
            near_miss=near_miss,
        )

    def is_copy(self, scores: ArrayLike) -> NDArray[np.bool_]:
        """Return which of a batch of scores are rejected; the same as `decide(scores).rejected`."""
        return self.decide(scores).rejected


def compute_least_discoveries(m: int, n_null: int, q: float) -> int:
    """Return how many of m volumes must be nearer than all n of the null to be rejected.

    The smallest p-value is ``1 / (n + 1)``, and k such volumes are rejected when it is at most
    ``q k / m``. A number above `m` says that nothing can ever be rejected.
    """
    return max(1, ceil(m / (q * (n_null + 1)) - ROUNDING_SLACK))


def compute_least_validation(m: int, q: float, k: int = 1) -> int:
    """Return with how many validation subjects k of m volumes above all of them are rejected."""
    return max(1, ceil(m / (q * k) - ROUNDING_SLACK) - 1)
