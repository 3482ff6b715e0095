"""From scores of a search to verdicts: what unrelated volumes score, limits, and the decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_memscan.detection.decision.class_limits import ClassLimits
from napari_memscan.detection.decision.conformal import BatchDecision, ConformalRule
from napari_memscan.detection.decision.exchangeability import (
    ExchangeabilityTest,
    run_exchangeability_test,
)
from napari_memscan.detection.decision.verdicts import assign_verdicts
from napari_memscan.detection.statistics.validation import number_subjects
from napari_memscan.typing import Verdict

if TYPE_CHECKING:
    from napari_memscan.detection.planting.plants import PlantedVolume
    from napari_memscan.detection.retrieval.search import SearchResult


@dataclass(frozen=True, eq=False)
class BatchVerdicts:
    """What the chain says of a batch of synthetic volumes.

    Attributes
    ----------
    scores : array (m,)
        After registration, larger is nearer.
    decision : BatchDecision
        Which of them are nearer than new patients are.
    verdicts : list of (Verdict, str)
        ``copy``, ``near-duplicate``, ``novel`` or ``undecided``, and why.
    limits : ClassLimits
        Where near-duplicates and copies begin.
    assumption : ExchangeabilityTest
        Whether what all this rests on is seen to fail.
    found : tuple of SearchResult
        The search behind each score; empty where only scores were given.
    """

    scores: NDArray[np.float64]
    decision: BatchDecision
    verdicts: list[tuple[Verdict, str]]
    limits: ClassLimits
    assumption: ExchangeabilityTest
    found: tuple[SearchResult, ...] = field(default=())


@dataclass(frozen=True, eq=False)
class NullDistribution:
    """Validation volumes that went through the search: what unrelated volumes score.

    Attributes
    ----------
    scores : array (n,)
        Larger is nearer.
    subjects : sequence of str or None
        Whose volume each is; '' where nobody said it.
    sharpness : array (n,) or None
        See `sharpness.compute_sharpness`.
    """

    scores: NDArray[np.float64]
    subjects: Sequence[str] | None = None
    sharpness: NDArray[np.float64] | None = None

    def nearest_per_subject(self) -> NullDistribution:
        """Return only the nearest volume of each subject: two scans are not two new patients."""
        numbers = number_subjects(self.subjects, len(self.scores))
        order = np.lexsort((-self.scores, numbers))
        first = order[np.unique(numbers[order], return_index=True)[1]]
        sharp = None if self.sharpness is None else self.sharpness[first]
        return NullDistribution(self.scores[first], None, sharp)


def fit_class_limits(
    null: NullDistribution,
    plants: Sequence[PlantedVolume],
    found: Sequence[SearchResult],
    seed: int = 0,
) -> ClassLimits:
    """Learn class limits from planted volumes.

    Parameters
    ----------
    null : NullDistribution
        Of validation volumes.
    plants, found : sequences
        What was planted, and what the search made of it. A plant whose source was not found says
        nothing about how far copies lie from their sources.
    seed : int
        Of the bootstrap.
    """
    both = list(zip(plants, found, strict=True))

    def scores(label: Verdict) -> list[float]:
        return [what.score for one, what in both if one.label == label]

    def displacements(label: Verdict) -> list[float]:
        return [
            what.displacement
            for one, what in both
            if one.label == label and what.index == one.source
        ]

    near, copy = Verdict.NEAR_DUPLICATE, Verdict.COPY
    return ClassLimits(seed=seed).fit(
        null.nearest_per_subject().scores,
        scores(near),
        scores(copy),
        (displacements(near), displacements(copy)),
    )


def decide(
    scores: NDArray[np.float64],
    null: NullDistribution,
    limits: ClassLimits,
    *,
    q: float = 0.1,
    sharpness: NDArray[np.float64] | None = None,
    found: Sequence[SearchResult] = (),
) -> BatchVerdicts:
    """Decide on a batch of scores.

    Parameters
    ----------
    scores : array (m,)
        Of synthetic volumes, from the same search as those of the null.
    null : NullDistribution
        Of validation volumes.
    limits : ClassLimits
        Fitted.
    q : float
        Largest expected share of novel ones among those called.
    sharpness : array (m,), optional
        Of the synthetic volumes; used where the null has it too.
    found : sequence of SearchResult, optional
        Where each score comes from; needed where limits were learnt from displacements.

    Raises
    ------
    BadInput
        No scores, or one that is not finite.
    """
    each = null.nearest_per_subject()
    decision = ConformalRule(q).fit(each.scores).decide(scores, limits.novel_limit_)
    displacements = [what.displacement for what in found] if len(found) else None
    both = sharpness is not None and each.sharpness is not None
    return BatchVerdicts(
        scores,
        decision,
        assign_verdicts(scores, decision, limits, displacements),
        limits,
        run_exchangeability_test(
            scores,
            each.scores,
            rejected=decision.rejected,
            sharpness_synthetic=sharpness if both else None,
            sharpness_null=each.sharpness if both else None,
        ),
        tuple(found),
    )
