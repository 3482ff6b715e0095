"""Whether novel synthetic volumes are as near to the training set as new patients are.

Every rule of this package assumes it. A generator breaks it without copying anyone: blurred or
averaged volumes resemble everybody, and lie nearer to the training set than any patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import ArrayLike

from napari_memscan.detection.decision.sharpness import SharpnessComparison, compare_sharpness
from napari_memscan.detection.statistics.validation import Scores, check_flags, check_scores
from napari_memscan.errors import BadInput

MIN_VOLUMES = 20
"""Volumes of either kind; the lower part of fewer is too short to compare."""

SIGNIFICANCE_LEVEL = 0.05
MAX_COPY_SHARE = 0.5
LOWER_PART = 0.75


@dataclass(frozen=True)
class ExchangeabilityTest:
    """What the bulk of the synthetic scores says of the assumption.

    Attributes
    ----------
    tested : bool
        False with too little data; then only the sizes and `text` hold.
    statistic : float or None
        Of the lower three quarters of the null and what lies among them: the probability that a
        synthetic volume is nearer than one of the null, ties half; 0.5 where the assumption holds.
        None where no synthetic volume lies there.
    p_value : float or None
        Two-sided; small where the bulk is shifted.
    shifted : bool
        The p-value is at most 0.05.
    direction : str
        ``nearer``, ``farther``, or empty when not shifted.
    n_synthetic, n_null : int
        Sizes.
    n_lower_synthetic, n_lower_null : int
        Of these in the lower part.
    sharpness : SharpnessComparison
        Of the synthetic volumes that were not rejected with validation volumes.
    text : str
        What was found and what it means for the verdicts.
    """

    tested: bool
    statistic: float | None
    p_value: float | None
    shifted: bool
    direction: str
    n_synthetic: int
    n_null: int
    n_lower_synthetic: int
    n_lower_null: int
    sharpness: SharpnessComparison
    text: str


def run_exchangeability_test(
    synthetic_scores: ArrayLike,
    null_scores: ArrayLike,
    *,
    rejected: ArrayLike | None = None,
    sharpness_synthetic: ArrayLike | None = None,
    sharpness_null: ArrayLike | None = None,
) -> ExchangeabilityTest:
    """Test whether the bulk of the synthetic scores is that of the null, whatever copies do.

    Parameters
    ----------
    synthetic_scores : array (m,)
        To the nearest training volume, larger is nearer. Copies may be among them.
    null_scores : array (n,)
        Of validation volumes, one a subject.
    rejected : array (m,) of bool, optional
        What a rule called; left out of the comparison of sharpness, since copies are as sharp as
        what they copy.
    sharpness_synthetic, sharpness_null : arrays (m,) and (n,), optional
        See `sharpness.compute_sharpness`; both or neither, in the order of the scores.

    Returns
    -------
    AssumptionTest

    Raises
    ------
    BadInput
        A value that is not finite, or lengths that do not fit.

    Notes
    -----
    Copies lie above, and nobody knows how many there are, so whole distributions must not be
    compared. Three one-sided tests are combined, with Bonferroni's correction:

    * nearer, by shape: scores below the third quartile of the null, Mann-Whitney. Given that
      quartile, the null's scores below it and those of novel synthetic volumes below it are
      exchangeable, however many copies lie above.
    * nearer, by share: so few below the median of the null that even with half the volumes being
      copies the beta-binomial (the exact law of such a count) is left. It finds the shift that
      leaves nothing below to compare.
    * farther: all scores, Mann-Whitney. Copies only make it less likely to reject.

    The level holds for up to half of the volumes being copies, as long as copies lie above the
    third quartile of the null.
    """
    scores = check_scores(synthetic_scores, "synthetic")
    null = check_scores(null_scores, "validation")
    m, n = len(scores), len(null)
    called = (
        np.zeros(m, np.bool_) if rejected is None else check_flags(rejected, "rejected flags", m)
    )
    blur = SharpnessComparison()
    if sharpness_synthetic is not None and sharpness_null is not None:
        ours = check_scores(sharpness_synthetic, "synthetic sharpness")
        if len(ours) != m:
            raise BadInput(f"sharpness of {len(ours)} synthetic volumes but scores of {m}.")
        blur = compare_sharpness(ours[~called], sharpness_null, null)
    elif sharpness_synthetic is not None or sharpness_null is not None:
        raise BadInput("sharpness of both synthetic and validation volumes is needed, or of none.")
    if min(m, n) < MIN_VOLUMES:
        text = (
            "whether novel synthetic volumes are as near as new patients cannot be tested at n ="
            f" {n} validation and {m} synthetic volumes; at least {MIN_VOLUMES} of either are"
            " needed. Every verdict rests on this assumption."
        )
        return ExchangeabilityTest(False, None, None, False, "", m, n, 0, 0, blur, text)
    nearer, farther, statistic, n_lower, n_lower_null = _measure_shift(scores, null)
    p_value = min(1.0, 2 * min(nearer, farther))
    shifted = p_value <= SIGNIFICANCE_LEVEL
    direction = ("nearer" if nearer < farther else "farther") if shifted else ""
    text = _describe_result(direction, p_value, statistic, m, n, float(called.mean()), blur)
    return ExchangeabilityTest(
        True, statistic, p_value, shifted, direction, m, n, n_lower, n_lower_null, blur, text
    )


def _measure_shift(scores: Scores, null: Scores) -> tuple[float, float, float | None, int, int]:
    """Return p-values of nearer and farther, the statistic, and the sizes of the lower part."""
    from scipy.stats import betabinom, mannwhitneyu

    m, n = len(scores), len(null)
    ordered = np.sort(null)
    rank = ceil(LOWER_PART * n)
    # Strictly below the score of that rank, on both sides: ties with it say nothing.
    lower = scores[scores < ordered[rank - 1]]
    lower_null = null[null < ordered[rank - 1]]
    shape, statistic = 1.0, None
    if len(lower) and len(lower_null):
        found = mannwhitneyu(lower, lower_null, alternative="greater")
        shape = float(found.pvalue)
        statistic = float(found.statistic / (len(lower) * len(lower_null)))
    rank = ceil(n / 2)
    # Ties with the median count as below: against a shift.
    below = int((scores <= ordered[rank - 1]).sum())
    at_least_novel = ceil((1 - MAX_COPY_SHARE) * m)
    share = float(betabinom.cdf(min(below, at_least_novel), at_least_novel, rank, n + 1 - rank))
    farther = float(mannwhitneyu(scores, null, alternative="less").pvalue)
    return min(1.0, 2 * min(shape, share)), farther, statistic, len(lower), len(lower_null)


def _describe_result(
    direction: str,
    p_value: float,
    statistic: float | None,
    m: int,
    n: int,
    share_called: float,
    blur: SharpnessComparison,
) -> str:
    sizes = f"p = {p_value:.2g}; {m} synthetic and {n} validation volumes"
    softer = f"{blur.ratio:.2f} times as sharp as validation volumes" if blur.softer else ""
    if not direction:
        text = (
            "no sign that novel synthetic volumes are nearer or farther than new patients are "
            f"({sizes}); a small shift would not be found"
        )
        if softer:
            text += f". They are {softer}, though: look at a few before trusting the verdicts"
        return text + "."
    if direction == "farther":
        text = (
            "synthetic volumes are farther from the training volumes than new patients are "
            f"({sizes}): what is rejected stays so, but copies of poor quality can be missed, and "
            "novel does not mean much"
        )
        return text + (f". They are {softer}" if softer else "") + "."
    if statistic is None or share_called > MAX_COPY_SHARE:
        text = (
            f"hardly any synthetic volume is as far as new patients are ({sizes}): either more "
            "than half of them are copies, or the generator's novel volumes are nearer than "
            "patients"
        )
    else:
        text = (
            "the bulk of the synthetic volumes, copies left aside, is nearer to the training "
            f"volumes than new patients are ({sizes})"
        )
    text += (
        ". The stated error rate does not hold: volumes called copies may be novel, and each must "
        "be looked at"
    )
    if softer:
        text += f". They are {softer}"
        if blur.correlation is not None and blur.correlation < 0:
            text += (
                ", and among validation volumes the blurred are the nearer ones "
                f"(rank correlation {blur.correlation:.2f}): blurring or averaging explains it "
                "at least in part"
            )
        else:
            text += ", which may be the reason"
    return text + "."
