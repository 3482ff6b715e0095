"""From a batch's decision and the class limits to one verdict a volume, with its reason."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from napari_memscan.detection.decision.class_limits import ClassLimits
from napari_memscan.detection.decision.conformal import ROUNDING_SLACK, BatchDecision
from napari_memscan.detection.statistics.validation import check_scores
from napari_memscan.errors import BadInput
from napari_memscan.typing import Verdict

NOT_TOLD_APART = "copy and near-duplicate are not told apart"


def assign_verdicts(
    scores: ArrayLike,
    decision: BatchDecision,
    limits: ClassLimits | None = None,
    displacements: Sequence[float] | None = None,
) -> list[tuple[Verdict, str]]:
    """Return verdict and reason of each volume of a batch.

    Parameters
    ----------
    scores : array (m,)
        What `decision` was made of; larger is nearer.
    decision : BatchDecision
        Of a `ConformalRule`.
    limits : ClassLimits, optional
        Fitted to planted copies of this study; without them copies and near-duplicates are one.
    displacements : sequence of float, optional
        Of each volume from its partner, in mm; needed where the limits were learnt from such.

    Returns
    -------
    list of (Verdict, str)
        What each is; and why, or what it leaves open;
        empty where the verdict says it all.

    Raises
    ------
    BadInput
        Other scores than the decision was made of.

    Notes
    -----
    Of the rejected ones `ClassLimits.is_copy` tells copies from near-duplicates. Of the others,
    those up to `ClassLimits.novel_limit_` are novel. Without that limit novel are those that no
    number of volumes would have made a detection: at least the share `q` of the null is as near.
    All else is undecided: not rejected is not the same as novel.
    """
    checked = check_scores(scores, "synthetic")
    if len(checked) != len(decision.rejected):
        raise BadInput(
            f"{len(checked)} scores, but the decision is of {len(decision.rejected)}; "
            "give the scores that it was made of."
        )
    called = checked[decision.rejected]
    if len(called) and called.min() != decision.threshold:
        raise BadInput("the decision was made of other scores; give those.")
    moved = [None] * len(checked) if displacements is None else displacements
    return [
        _judge_called(score, far, limits)
        if rejected
        else _judge_not_called(score, i, decision, limits)
        for i, (score, far, rejected) in enumerate(
            zip(checked, moved, decision.rejected, strict=True)
        )
    ]


def _judge_called(
    score: float, displacement: float | None, limits: ClassLimits | None
) -> tuple[Verdict, str]:
    if limits is None:
        return Verdict.COPY, f"{NOT_TOLD_APART}: no copies were planted in this study"
    copy = limits.is_copy(score, displacement)
    if copy is None:
        return Verdict.COPY, "; ".join([NOT_TOLD_APART, *limits.reasons_])
    if copy:
        return Verdict.COPY, ""
    if limits.novel_limit_ is not None and score <= limits.novel_limit_:
        return Verdict.NEAR_DUPLICATE, (
            "nearer than unrelated validation volumes are, yet farther than "
            f"{1 - limits.miss:.0%} of planted near-duplicates and copies: look at the pair"
        )
    return Verdict.NEAR_DUPLICATE, ""


def _judge_not_called(
    score: float, i: int, decision: BatchDecision, limits: ClassLimits | None
) -> tuple[Verdict, str]:
    n, k, p = decision.n_null, int(decision.n_null_as_near[i]), float(decision.p_values[i])
    if limits is not None and decision.near_miss[i]:
        return Verdict.UNDECIDED, (
            f"nearer than new patients are (p = {p:.2g}), yet farther than "
            f"{1 - limits.miss:.0%} of planted near-duplicates and copies: look at the pair"
        )
    if limits is not None and limits.novel_limit_ is not None:
        if score <= limits.novel_limit_:
            return Verdict.NOVEL, ""
        if k == 0 and decision.power_note:
            return Verdict.UNDECIDED, decision.power_note
        share = float(np.mean(limits.near_ <= score))
        return (
            Verdict.UNDECIDED,
            (
                f"as near as {share:.0%} of planted near-duplicates, but so {_format_are(k)} of {n}"
                f" unrelated validation subjects (p = {p:.2g})"
            ),
        )
    if decision.q * (n + 1) < 1 - ROUNDING_SLACK:
        return Verdict.UNDECIDED, decision.power_note or (
            f"no power at this validation size: {n} validation subjects, at least "
            f"{int(np.ceil(1 / decision.q - ROUNDING_SLACK)) - 1} are needed to reject anything at "
            f"q = {decision.q:g}"
        )
    if p > decision.q * (1 + ROUNDING_SLACK):
        # Weak near-duplicates may hide here: benchmarks/calibration.py, verdicts without planted.
        return Verdict.NOVEL, (
            f"{k} of {n} unrelated validation subjects {'is' if k == 1 else 'are'} as near; how "
            "near a near-duplicate would lie is not known without planted ones"
        )
    if k == 0 and decision.power_note:
        return Verdict.UNDECIDED, decision.power_note
    return Verdict.UNDECIDED, (
        f"only {k} of {n} unrelated validation subjects {'is' if k == 1 else 'are'} as near "
        f"(p = {p:.2g}): too many for a detection, too few to call it novel"
    )


def _format_are(k: int) -> str:
    return f"is {k}" if k == 1 else f"are {k}"
