"""All rules on the same volumes, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_memscan.detection.decision.conformal import BatchDecision, ConformalRule
from napari_memscan.detection.decision.thresholds import (
    PaperRule,
    SizeMatchedRule,
    compute_null_floor,
)
from napari_memscan.detection.results.calibration_record import RuleResult
from napari_memscan.detection.retrieval.neighbours import NeighbourIndex, standardise_vectors
from napari_memscan.detection.statistics.intervals import clopper_pearson

if TYPE_CHECKING:
    from napari_memscan.detection.decision.judgement import BatchVerdicts
    from napari_memscan.typing import Vectors

RuleName = Literal["conformal", "size-matched", "dar2024"]

MIN_VALIDATION = 20
"""With fewer volumes nothing above a tau is called, only ordered: a 95th percentile of the
similarity to fewer than twenty volumes says next to nothing about a new patient."""


def explain_too_few(n_validation: int) -> str:
    """Return why a rule with a tau calls nothing; empty where there are enough volumes."""
    if n_validation >= MIN_VALIDATION:
        return ""
    return (
        f"no power at this validation size: {n_validation} validation volumes, at least "
        f"{MIN_VALIDATION} are needed to call a copy"
    )


class EmbeddingSimilarities:
    """What all rules on embeddings need, computed once.

    Parameters
    ----------
    training, validation, synthetic : arrays (n, d)
        Vectors of one embedder.
    k : int
        Neighbours of each synthetic volume.

    Attributes
    ----------
    nearest, indices : arrays (n_synthetic, k)
        Similarity to and row of the nearest training volumes.
    null : array (n_validation,)
        Similarity of each validation volume to its nearest training volume.
    of_training : array (n_training,)
        Similarity of each training volume to its nearest synthetic volume.
    """

    def __init__(self, training: Vectors, validation: Vectors, synthetic: Vectors, k: int) -> None:
        self.training, self.validation, self.synthetic = training, validation, synthetic
        index = NeighbourIndex().fit(training)
        self.nearest, self.indices = index.kneighbors(synthetic, k)
        self.null = index.kneighbors(validation, 1)[0][:, 0]
        self.of_training = NeighbourIndex().fit(synthetic).kneighbors(training, 1)[0][:, 0]

    @cached_property
    def _unit(self) -> tuple[Vectors, Vectors]:
        return standardise_vectors(self.training), standardise_vectors(self.synthetic)

    def between(self, training: int, synthetic: int) -> float:
        """Return the similarity of one pair, as `NeighbourIndex` computes it."""
        one, other = self._unit[0][training], self._unit[1][synthetic]
        return float(np.float32(np.clip((one.astype(np.float64) * other).sum(), -1, 1)))


def apply_rules(
    similarities: EmbeddingSimilarities,
    *,
    decides: RuleName,
    quantile: float,
    q: float,
    subjects: Sequence[str] | None = None,
    training_subjects: Sequence[str] | None = None,
    judgement: BatchVerdicts | None = None,
    seed: int = 0,
) -> tuple[tuple[RuleResult, ...], PaperRule, BatchDecision]:
    """Apply every rule.

    Parameters
    ----------
    similarities : EmbeddingSimilarities
    decides : str
        Which rule verdicts are of.
    quantile : float
        Of the two rules with a tau.
    q : float
        Of the conformal rule.
    subjects : sequence of str, optional
        Of the validation volumes.
    training_subjects : sequence of str, optional
        Of the training volumes.
    judgement : BatchVerdicts, optional
        On scores after registration; without it the conformal rule compares similarities.
    seed : int
        Of bootstrap and subsets.

    Returns
    -------
    rules : tuple of RuleResult
    paper : PaperRule
        Fitted.
    decision : BatchDecision
        Of the conformal rule.
    """
    s = similarities
    paper = PaperRule(quantile).fit(s.training, s.validation)
    matched = SizeMatchedRule(quantile, seed=seed).fit(s.null, subjects)
    mem = matched.n_mem(s.training, s.validation, s.synthetic)
    if judgement is None:
        decision = ConformalRule(q).fit(s.null, subjects).decide(s.nearest[:, 0])
    else:
        decision = judgement.decision
    m, n, v = len(s.synthetic), len(s.training), len(s.validation)
    floor, floor_mem = compute_null_floor(n, v, quantile), compute_null_floor(m, v, quantile)
    powerless = explain_too_few(v)

    def called(k: int) -> tuple[int, tuple[float, float]]:
        return k, clopper_pearson(k, m)

    return (
        (
            RuleResult(
                decision.rule,
                "similarity" if judgement is None else "score",
                decides == decision.rule,
                decision.threshold,
                None,
                *called(int(decision.rejected.sum())),
                f"at most {q:.0%} of the called, on average",
                count_memorised(similarities, decision, judgement) / n,
                "training volumes that a called volume was found near",
                decision.power_note,
            ),
            RuleResult(
                matched.name,
                "similarity",
                decides == matched.name,
                matched.threshold_,
                matched.interval_,
                *called(int(matched.is_copy(s.nearest[:, 0]).sum())),
                f"about {1 - quantile:.0%} of {m}",
                mem.share,
                f"mean of {mem.n_subsets} subsets of {mem.size} synthetic volumes, seed {mem.seed}",
                powerless,
            ),
            RuleResult(
                paper.name,
                "similarity",
                decides == paper.name,
                paper.threshold_,
                paper.interval(training_subjects, seed=seed),
                *called(int(paper.is_copy(s.nearest[:, 0]).sum())),
                f"{floor:.0%} of {m} (null floor)",
                float(paper.is_copy(s.of_training).mean()),
                f"of {n} training volumes; {floor_mem:.0%} by chance",
                powerless,
            ),
        ),
        paper,
        decision,
    )


def count_memorised(
    similarities: EmbeddingSimilarities, decision: BatchDecision, judgement: BatchVerdicts | None
) -> int:
    """Return how many training volumes are as near to a called volume as the decision asks."""
    if decision.threshold is None:
        return 0
    if judgement is None:
        return int((similarities.of_training >= decision.threshold).sum())
    return len(
        {
            hit.index
            for found, called in zip(judgement.found, decision.rejected, strict=True)
            for hit in (found.hits if called else ())
            if hit.evidence.score >= decision.threshold
        }
    )
