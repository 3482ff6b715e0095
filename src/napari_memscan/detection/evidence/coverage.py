"""Precision, recall, density and coverage: balls around volumes, and who lies in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_memscan.detection.evidence.arrays import BLOCK, check_vectors, find_nearest
from napari_memscan.errors import BadInput

DEFAULT_NEAREST = 5


@dataclass(frozen=True, eq=False)
class NeighbourBalls:
    """Who lies in whose ball; the four metrics are means over these.

    Attributes
    ----------
    precise : array (m,), bool
        Synthetic volumes in the ball of a training volume.
    recalled : array (n,), bool
        Training volumes in the ball of a synthetic volume.
    density : array (m,)
        Balls of training volumes around each synthetic volume, over k.
    covered : array (n,), bool
        Training volumes with a synthetic volume in their ball.
    """

    precise: NDArray[np.bool_]
    recalled: NDArray[np.bool_]
    density: NDArray[np.float64]
    covered: NDArray[np.bool_]


def compute_neighbour_balls(
    training: ArrayLike, synthetic: ArrayLike, k: int = DEFAULT_NEAREST
) -> NeighbourBalls:
    """Return who lies in whose ball; r_k(x) is the distance to the k-th nearest of its own kind.

    ``precision = mean_s [exists t: d(s, t) < r_k(t)]``, ``recall = mean_t [exists s: d(s, t) <
    r_k(s)]``, ``density = mean_s #{t: d(s, t) < r_k(t)} / k``, ``coverage = mean_t [min_s d(s, t) <
    r_k(t)]``. All grow with copying, too. Source: Kynkaanniemi et al. 2019 (arXiv 1904.06991),
    Naeem et al. 2020 (arXiv 2002.09797); k = 5 as in dgm-eval.

    Raises
    ------
    BadInput
        Fewer than k + 1 training or synthetic vectors, or unsound ones.
    """
    if k < 1:
        raise BadInput(f"k {k}: at least 1 is expected.")
    real, made = check_vectors(
        {"training": k + 1, "synthetic": k + 1}, training=training, synthetic=synthetic
    )
    from scipy.spatial.distance import cdist

    of_real = find_nearest(real, real, k, skip_self=True)[0][:, -1]
    of_made = find_nearest(made, made, k, skip_self=True)[0][:, -1]
    inside = np.zeros(len(made), np.int64)
    recalled, covered = np.zeros(len(real), np.bool_), np.zeros(len(real), np.bool_)
    for start in range(0, len(real), BLOCK):
        rows = slice(start, start + BLOCK)
        distances = cdist(real[rows], made)
        within = distances < of_real[rows, None]
        inside += within.sum(axis=0)
        covered[rows] = within.any(axis=1)
        recalled[rows] = (distances < of_made).any(axis=1)
    return NeighbourBalls(inside > 0, recalled, inside / k, covered)
