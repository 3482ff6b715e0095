"""N_copies and N_mem, and N_mem as a curve over the number of synthetic volumes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_memscan.detection.retrieval.neighbours import NeighbourIndex, standardise_vectors
from napari_memscan.errors import BadInput

BLOCK = 256


@dataclass(frozen=True)
class UnseenEstimate:
    """Memorised training volumes in all, seen and unseen.

    Attributes
    ----------
    estimate : float
        Chao's lower bound of their number.
    interval : (float, float) or None
        Log-normal 95 % interval (Chao 1987); None where no volume was copied only once.
    once, twice : int
        Training volumes with exactly one, exactly two copies.
    """

    estimate: float
    interval: tuple[float, float] | None
    once: int
    twice: int


def count_copies(training: ArrayLike, synthetic: ArrayLike, threshold: float) -> int:
    """Return N_copies: synthetic volumes whose nearest training volume is above tau.

    ``N_copies = #{j : max_i corr(s_j, t_i) > tau}``; larger = more copying. Source: Dar et al.
    2023 (arXiv 2307.01148), section 2.3.

    Parameters
    ----------
    training, synthetic : arrays (n, d)
        Vectors of one embedder.
    threshold : float
        tau, a Pearson correlation.
    """
    found, _ = NeighbourIndex().fit(np.asarray(training)).kneighbors(np.asarray(synthetic), 1)
    return int((found[:, 0].astype(np.float64) > threshold).sum())


def count_copies_per_volume(
    training: ArrayLike, synthetic: ArrayLike, threshold: float
) -> NDArray[np.int64]:
    """Return how many synthetic volumes are above tau to each training volume (n_training,).

    N_mem is the number of entries that are not 0. Each similarity near tau is computed as a scan
    computes it, so that both count alike.
    """
    real = standardise_vectors(np.asarray(training), "training")
    made = standardise_vectors(np.asarray(synthetic), "synthetic")
    if real.shape[1] != made.shape[1]:
        raise BadInput(
            f"vectors differ in length (training {real.shape[1]}, synthetic {made.shape[1]}); "
            "embed all with the same embedder."
        )
    margin = 2 * real.shape[1] * np.finfo(np.float32).eps
    counts = np.zeros(len(real), np.int64)
    for start in range(0, len(real), BLOCK):
        rough = real[start : start + BLOCK] @ made.T
        counts[start : start + BLOCK] = (rough > threshold + margin).sum(axis=1)
        for i, j in np.argwhere(np.abs(rough - threshold) <= margin):
            exact = (real[start + i].astype(np.float64) * made[j]).sum()
            counts[start + i] += float(np.float32(min(max(exact, -1.0), 1.0))) > threshold
    return counts


def compute_rarefaction(
    copies_of_each: ArrayLike, n_synthetic: int, sizes: ArrayLike
) -> NDArray[np.float64]:
    """Return the N_mem that fewer synthetic volumes would have shown, on average.

    A subset of m of the S synthetic volumes holds none of the c_i copies of training volume i with
    the hypergeometric probability ``C(S - c_i, m) / C(S, m)``, so that::

        E[N_mem(m)] = sum_i (1 - C(S - c_i, m) / C(S, m))

    which is exact, needs no drawing, and is N_mem itself at m = S. Larger = more copying. Source:
    Hurlbert 1971; for hits of several training volumes by one synthetic one Colwell et al. 2012,
    equation 17.

    Parameters
    ----------
    copies_of_each : array (n_training,), int
        Of `count_copies_per_volume`.
    n_synthetic : int
        S.
    sizes : array (k,), int
        m, from 0 to S.

    Returns
    -------
    array (k,)

    Raises
    ------
    BadInput
        More copies than synthetic volumes, or a size outside 0 to S.
    """
    from scipy.special import gammaln

    c, m = _check_counts(copies_of_each, n_synthetic), np.asarray(sizes, np.int64)
    if (m < 0).any() or (m > n_synthetic).any():
        raise BadInput(f"sizes {m.min()} to {m.max()}: 0 to {n_synthetic} synthetic volumes exist.")
    c = c[c > 0]
    left = n_synthetic - c[None] - m[:, None]
    with np.errstate(invalid="ignore"):
        log_none = (
            gammaln(n_synthetic - c[None] + 1)
            - gammaln(np.maximum(left, 0) + 1)
            + gammaln(n_synthetic - m[:, None] + 1)
            - gammaln(n_synthetic + 1)
        )
    none = np.where(left < 0, 0.0, np.exp(np.minimum(log_none, 0.0)))
    result: NDArray[np.float64] = (1 - none).sum(axis=1)
    return result


def estimate_unseen(copies_of_each: ArrayLike, n_synthetic: int) -> UnseenEstimate:
    """Return Chao's lower bound of memorised training volumes, those not yet generated included.

    ``N_mem + (S - 1)/S * q1 (q1 - 1) / (2 (q2 + 1))`` with q1 and q2 the training volumes with
    one and two copies: the bias-corrected Chao1, in its form for samples that may hit several
    (Chao2). Larger = more copying. Source: Chao 1984 and 1987; Colwell et al. 2012, equation 9 f.
    It never exceeds the number of training volumes.

    Raises
    ------
    BadInput
        More copies than synthetic volumes.
    """
    c = _check_counts(copies_of_each, n_synthetic)
    seen, q1, q2 = int((c > 0).sum()), int((c == 1).sum()), int((c == 2).sum())
    a = (n_synthetic - 1) / n_synthetic
    more = a * q1 * (q1 - 1) / (2 * (q2 + 1))
    if more == 0:
        return UnseenEstimate(float(seen), None, q1, q2)
    if q2 > 0:
        variance = (
            more
            + a**2 * q1 * (2 * q1 - 1) ** 2 / (4 * (q2 + 1) ** 2)
            + a**2 * q1**2 * q2 * (q1 - 1) ** 2 / (4 * (q2 + 1) ** 4)
        )
    else:
        variance = more + a**2 * q1 * (2 * q1 - 1) ** 2 / 4 - a**2 * q1**4 / (4 * (seen + more))
    spread = np.exp(1.96 * np.sqrt(np.log1p(max(variance, 0.0) / more**2)))
    low, high = seen + more / spread, seen + more * spread
    most = float(len(c))
    return UnseenEstimate(
        min(seen + more, most), (min(float(low), most), min(float(high), most)), q1, q2
    )


def _check_counts(copies_of_each: ArrayLike, n_synthetic: int) -> NDArray[np.int64]:
    c = np.asarray(copies_of_each, np.int64)
    if n_synthetic < 1 or (c < 0).any() or (c > n_synthetic).any():
        raise BadInput(
            f"a training volume has {c.max(initial=0)} copies among {n_synthetic} synthetic "
            "volumes; 0 to that many are possible."
        )
    return c
