"""N_copies, N_mem, the rarefaction curve and the unseen."""

from itertools import combinations

import numpy as np
import pytest

from napari_memscan.detection.evidence.counts import (
    compute_rarefaction,
    count_copies,
    count_copies_per_volume,
    estimate_unseen,
)
from napari_memscan.detection.retrieval.neighbours import NeighbourIndex
from napari_memscan.errors import BadInput

# Pearson correlations by hand: (1, 0, -1) with itself 1, with (2, -1, -1) 3 / sqrt(2 * 6) = 0.866,
# with (0, 1, -1) 1 / 2, with (1, -2, 1) 0.
TRAINING = np.array([[1, 0, -1], [1, -2, 1]])
SYNTHETIC = np.array([[5, 3, 1], [2, -1, -1], [0, 1, -1]])  # The first is 3 + 2 (1, 0, -1).


@pytest.mark.parametrize(
    ("tau", "n_copies", "each"),
    # (2, -1, -1) with (1, -2, 1): 3 / sqrt(6 * 6) = 0.5; (0, 1, -1) with it: -3 / sqrt(12).
    [(0.9, 1, [1, 0]), (0.8, 2, [2, 0]), (0.49, 3, [3, 1]), (1.0, 0, [0, 0])],
)
def test_counts_worked_out_by_hand(tau, n_copies, each):
    assert count_copies(TRAINING, SYNTHETIC, tau) == n_copies
    assert count_copies_per_volume(TRAINING, SYNTHETIC, tau).tolist() == each


def test_a_similarity_exactly_tau_is_no_copy_in_both_counts():
    random = np.random.default_rng(3)
    training, synthetic = random.normal(size=(300, 8)), random.normal(size=(40, 8))
    nearest, _ = NeighbourIndex().fit(synthetic).kneighbors(training, 1)
    for tau in np.sort(nearest[:, 0])[[3, 150, 290]].astype(float):
        expected = (nearest[:, 0].astype(float) > tau).sum()
        assert (count_copies_per_volume(training, synthetic, tau) > 0).sum() == expected


def test_rarefaction_by_hand_and_by_trying_all_subsets():
    # 4 synthetic volumes; one training volume has 1 copy, another 2, a third none.
    # One drawn: 1/4 + 2/4. Two drawn: 1 - C(3,2)/C(4,2) = 1/2 and 1 - C(2,2)/C(4,2) = 5/6.
    assert compute_rarefaction([1, 2, 0], 4, [0, 1, 2, 4]) == pytest.approx([0, 3 / 4, 4 / 3, 2])
    hits = np.random.default_rng(1).random((5, 7)) < 0.3
    for m in (1, 3, 6):
        every = [hits[:, list(s)].any(axis=1).sum() for s in combinations(range(7), m)]
        assert compute_rarefaction(hits.sum(axis=1), 7, [m])[0] == pytest.approx(np.mean(every))


def test_unseen_by_hand():
    # q1 = 3, q2 = 1, S = 10: 5 + 9/10 * 3 * 2 / (2 * 2) = 6.35 memorised, of 20.
    found = estimate_unseen([1, 1, 1, 2, 4] + [0] * 15, 10)
    assert (found.estimate, found.once, found.twice) == (pytest.approx(6.35), 3, 1)
    # Variance: 1.35 + .81 * 3 * 25 / 16 + .81 * 9 * 4 / 64 = 5.602; K = exp(1.96 *
    # sqrt(ln(1 + 5.602 / 1.35^2))) = exp(1.96 * 1.1843) = 10.19.
    assert found.interval == pytest.approx((5 + 1.35 / 10.19, 5 + 1.35 * 10.19), rel=2e-3)
    assert estimate_unseen([2, 3, 0], 10).interval is None
    assert estimate_unseen([2, 3, 0], 10).estimate == 2
    assert estimate_unseen([1] * 8, 10).estimate == 8  # Not more than there are.


def test_unseen_finds_about_what_was_planted():
    random = np.random.default_rng(0)
    hits = np.bincount(random.integers(0, 60, 80), minlength=200)
    found = estimate_unseen(hits, 80)
    assert (hits > 0).sum() < 50
    assert found.interval[0] < 60 < found.interval[1]


def test_bad_input_is_named():
    with pytest.raises(BadInput, match="training 3, synthetic 4"):
        count_copies_per_volume(TRAINING, np.eye(4), 0.5)
    with pytest.raises(BadInput, match="synthetic vector 1 holds NaN"):
        count_copies_per_volume(TRAINING, [[1, 2, 4], [1, np.nan, 2]], 0.5)
    with pytest.raises(BadInput, match="0 to 4 synthetic"):
        compute_rarefaction([1], 4, [5])
    with pytest.raises(BadInput, match="5 copies among 4"):
        estimate_unseen([5], 4)
