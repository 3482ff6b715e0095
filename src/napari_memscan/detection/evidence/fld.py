"""FLD: how well a mixture of Gaussians around synthetic volumes explains real ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from napari_memscan.detection.evidence.arrays import Float, check_vectors, draw_subset
from napari_memscan.errors import BadInput

LEAST_VARIANCE = 1e-6
MOST, STEPS, TOLERANCE = 4000, 200, 1e-6


@dataclass(frozen=True)
class FeatureLikelihoodDivergence:
    """The divergence and its gap.

    Attributes
    ----------
    fld : float
        ``100 (nll(V) - baseline)``; larger is worse.
    gap : float
        ``100 (nll(T) - nll(V))``; more negative = more overfit.
    training, validation : arrays (n,)
        Negative log-likelihood a dimension of each volume.
    used : dict of str to int
        Volumes and dimensions that went in.
    """

    fld: float
    gap: float
    training: Float
    validation: Float
    used: dict[str, int]


def compute_feature_likelihood(
    training: ArrayLike, validation: ArrayLike, synthetic: ArrayLike, seed: int = 0
) -> FeatureLikelihoodDivergence:
    """Return the feature likelihood divergence (FLD) and its generalisation gap.

    Vectors are scaled by mean and standard deviation of validation. A mixture of Gaussians of equal
    weight is centred on the synthetic vectors, and its variances fitted to training
    (`fit_variances`). With nll the mean negative log-likelihood a dimension: ``FLD = 100 (nll(V) -
    baseline)``, where the baseline centres the mixture on one half of training and fits it to the
    other; ``gap = 100 (nll(T) - nll(V))``. Source: Jiralerspong et al. 2023 (arXiv 2302.04440).
    Variances are fitted by expectation maximisation instead of gradient descent and have a floor,
    so that numbers are comparable among themselves, not with those of other programs.

    Parameters
    ----------
    training, validation, synthetic : arrays (n, d)
        At most `MOST` of each are used, drawn by `seed`.
    seed : int
        Of the two halves of training, too.

    Raises
    ------
    BadInput
        Fewer than 4 training, 2 validation or 2 synthetic vectors, no dimension in which
        validation differs, or unsound vectors.
    """
    real, held, made = check_vectors(
        {"training": 4, "validation": 2, "synthetic": 2},
        training=training,
        validation=validation,
        synthetic=synthetic,
    )
    real, held, made = (draw_subset(vectors, MOST, seed) for vectors in (real, held, made))
    mean, spread = held.mean(axis=0), held.std(axis=0, ddof=1)
    varies = spread > 1e-6 * spread.max()
    if not varies.any():
        raise BadInput("all validation vectors are equal; add validation volumes that differ.")
    real, held, made = (
        (vectors[:, varies] - mean[varies]) / spread[varies] for vectors in (real, held, made)
    )
    fitted = fit_variances(real, made)
    of_real, of_held = compute_nll(real, made, fitted), compute_nll(held, made, fitted)
    order = np.random.default_rng(seed).permutation(len(real))
    n = min(len(made), len(real) // 2)
    centres, rest = real[order[:n]], real[order[n:]]
    baseline = compute_nll(held, centres, fit_variances(rest, centres)).mean()
    return FeatureLikelihoodDivergence(
        fld=float(100 * (of_held.mean() - baseline)),
        gap=float(100 * (of_real.mean() - of_held.mean())),
        training=of_real,
        validation=of_held,
        used={
            "training": len(real),
            "validation": len(held),
            "synthetic": len(made),
            "dimensions": real.shape[1],
        },
    )


def fit_variances(points: Float, centres: Float) -> Float:
    """Return the variance (m,) of each isotropic Gaussian that explains the points best.

    Centres and weights stay. Expectation maximisation from the distance of each centre to its
    nearest point; with r_ij the share of centre j in explaining point i, each step sets
    ``s_j = sum_i r_ij |x_i - c_j|^2 / (d sum_i r_ij)``, at least `LEAST_VARIANCE`.

    Parameters
    ----------
    points, centres : arrays (n, d), (m, d)
    """
    from scipy.spatial.distance import cdist

    squared = cdist(points, centres, "sqeuclidean")
    d = points.shape[1]
    fitted: Float = np.maximum(squared.min(axis=0) / d, LEAST_VARIANCE)
    before = np.inf
    for _ in range(STEPS):
        logs = _compute_log_densities(squared, fitted, d)
        top = logs.max(axis=1, keepdims=True)
        shares = np.exp(logs - top)
        total = shares.sum(axis=1, keepdims=True)
        now = -float((top + np.log(total)).mean()) / d
        if before - now < TOLERANCE:
            break
        before = now
        shares /= total
        weight = shares.sum(axis=0)
        # A centre that explains next to nothing has nothing to learn from.
        learns = weight > 1e-12
        fitted[learns] = np.maximum(
            (shares * squared).sum(axis=0)[learns] / (d * weight[learns]), LEAST_VARIANCE
        )
    return fitted


def compute_nll(points: Float, centres: Float, variances: Float) -> Float:
    """Return the negative log-likelihood a dimension of each point (n,) under the mixture."""
    from scipy.spatial.distance import cdist
    from scipy.special import logsumexp

    d = points.shape[1]
    logs = _compute_log_densities(cdist(points, centres, "sqeuclidean"), variances, d)
    result: Float = -(logsumexp(logs, axis=1) - np.log(len(centres))) / d
    return result


def _compute_log_densities(squared: Float, variances: Float, d: int) -> Float:
    result: Float = -0.5 * squared / variances - 0.5 * d * np.log(2 * np.pi * variances)
    return result
