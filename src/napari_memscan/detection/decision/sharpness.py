"""How sharp volumes are: blurred and averaged ones are nearer to everybody."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_memscan.detection.statistics.validation import Scores, check_scores
from napari_memscan.errors import BadInput

VERSION = 1
"""Changes whenever the same volume would get another number; part of the key it is kept under."""

MIN_VOLUMES = 20
"""Validation volumes for a rank correlation."""

SIGNIFICANCE_LEVEL = 0.05


def compute_sharpness(volume: NDArray[np.float32]) -> float:
    """Return how much of a volume's contrast changes from one voxel to the next.

    Half the mean squared difference of neighbours by the variance (von Neumann's ratio), averaged
    over the axes: near 0 for a smooth volume, about 1 for white noise, at most 2. Brightness and
    contrast do not change it; blurring and averaging lower it. Only volumes of one shape and
    preprocessing compare.

    Parameters
    ----------
    volume : array (X, Y, Z)
        Any intensities, each axis at least 2 long.

    Raises
    ------
    BadInput
        Another number of axes, NaN, or the same value everywhere.
    """
    values = np.asarray(volume, np.float64)
    if values.ndim != 3 or min(values.shape) < 2:
        raise BadInput(f"a volume of shape {values.shape}; (X, Y, Z), each at least 2, is needed.")
    if not np.isfinite(values).all():
        raise BadInput("a volume holds NaN or infinity; its sharpness is not defined.")
    variance = values.var()
    if variance <= 1e-12 * max(float(np.abs(values).max()) ** 2, 1e-300):
        raise BadInput("a volume has the same value everywhere; its sharpness is not defined.")
    return float(np.mean([(np.diff(values, axis=i) ** 2).mean() for i in range(3)]) / variance / 2)


@dataclass(frozen=True)
class SharpnessComparison:
    """Sharpness of synthetic against validation volumes; all None where it is not known.

    Attributes
    ----------
    ratio : float or None
        Median of the synthetic ones by that of the validation volumes.
    p_value : float or None
        Mann-Whitney, two-sided.
    correlation : float or None
        Spearman's, of sharpness and score of validation volumes; negative: blurred ones are
        nearer. None with fewer than 20.
    """

    ratio: float | None = None
    p_value: float | None = None
    correlation: float | None = None

    @property
    def softer(self) -> bool:
        """Whether the synthetic ones are less sharp than chance explains."""
        return (
            self.ratio is not None
            and self.p_value is not None
            and self.ratio < 1
            and self.p_value <= SIGNIFICANCE_LEVEL
        )


def compare_sharpness(
    synthetic: ArrayLike, validation: ArrayLike, null_scores: ArrayLike
) -> SharpnessComparison:
    """Compare sharpness of synthetic (m,) and validation (n,) volumes, given the scores of these.

    Raises
    ------
    BadInput
        A value that is not finite, or another number of scores than of validation volumes.
    """
    from scipy.stats import mannwhitneyu, spearmanr

    ours = check_scores(synthetic, "synthetic sharpness")
    theirs = check_scores(validation, "validation sharpness")
    null: Scores = check_scores(null_scores, "validation")
    if len(theirs) != len(null):
        raise BadInput(
            f"sharpness of {len(theirs)} validation volumes but scores of {len(null)}; one of each "
            "a volume is expected."
        )
    if not len(ours) or not len(theirs) or np.median(theirs) <= 0:
        return SharpnessComparison()
    correlation = None
    if len(null) >= MIN_VOLUMES and np.ptp(null) > 0 and np.ptp(theirs) > 0:
        correlation = float(spearmanr(theirs, null).statistic)
    return SharpnessComparison(
        float(np.median(ours) / np.median(theirs)),
        float(mannwhitneyu(ours, theirs).pvalue),
        correlation,
    )
