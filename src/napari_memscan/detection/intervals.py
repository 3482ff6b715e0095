"""Intervals of shares."""

from __future__ import annotations


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a share (Clopper and Pearson 1934).

    Parameters
    ----------
    k, n : int
        `k` of `n`.
    confidence : float
        Coverage is at least this.

    Returns
    -------
    (float, float)
        Lower and upper limit in [0, 1]; (0, 1) for ``n = 0``.
    """
    from scipy.stats import beta

    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is no share")
    alpha = 1 - confidence
    low = float(beta.ppf(alpha / 2, k, n - k + 1)) if k > 0 else 0.0
    high = float(beta.ppf(1 - alpha / 2, k + 1, n - k)) if k < n else 1.0
    return low, high
