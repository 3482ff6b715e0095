"""AuthPct, d1/d2, nL2 and DCR: by hand, in the stated direction, and on bad input."""

import numpy as np
import pytest

from napari_memscan.detection.evidence.distances import (
    compare_closest_records,
    compute_carlini_ratio,
    compute_neighbour_ratio,
    find_authentic,
)
from napari_memscan.errors import BadInput

LINE = np.array([[0.0], [4.0], [10.0]])


def test_authentic_by_hand():
    # Nearest others of 0, 4, 10: 4, 4, 6. 1 is 1 from 0 (< 4): not; 17 is 7 from 10 (> 6): yes;
    # -4 is 4 from 0, as far as 4 is: not, since farther is asked.
    assert find_authentic(LINE, [[1], [17], [-4]]).tolist() == [False, True, False]


def test_ratio_by_hand():
    # 1: 1 from 0, 3 from 4. 4: a copy. 7: 3 from both.
    assert compute_neighbour_ratio(LINE, [[1], [4], [7]]) == pytest.approx([1 / 3, 0, 1])


def test_carlini_by_hand():
    # From 1: 1, 3, 9. k = 2: 1 / (0.5 * 2) = 1; k = 3, or all: 1 / (0.5 * 13 / 3) = 6 / 13.
    assert compute_carlini_ratio(LINE, [[1]], k=2) == pytest.approx([1.0])
    assert compute_carlini_ratio(LINE, [[1]]) == pytest.approx([6 / 13])
    assert compute_carlini_ratio(LINE, [[1]], k=2, alpha=1) == pytest.approx([0.5])


def test_closest_record_by_hand():
    # Distances to {0, 4, 10} and {1, 6, 20}: 0 -> 0, 1 closer; 5 -> 1, 1 tie; 19 -> 9, 1 farther.
    found = compare_closest_records(LINE, [[1], [6], [20]], [[0], [5], [19]])
    assert (found.closer, found.ties, found.n_synthetic, found.n_compared) == (1, 1, 3, 3)
    # S -> T 0, 1, 9: 5 % of the way over two steps is 0.1. V -> T 1, 2, 10: 1.1.
    assert (found.synthetic_p5, found.validation_p5) == pytest.approx((0.1, 1.1))


def test_closest_record_compares_equal_numbers():
    random = np.random.default_rng(0)
    training, held, made = (random.normal(size=(n, 4)) for n in (400, 50, 1000))
    found = compare_closest_records(training, held, made, seed=1)
    assert found.n_compared == 50
    assert 0.4 < found.closer / 1000 < 0.6  # Against all 400 it would be almost 9 of 10.
    assert found == compare_closest_records(training, held, made, seed=1)
    assert found != compare_closest_records(training, held, made, seed=2)


def test_planted_copies_move_all_in_the_stated_direction():
    random = np.random.default_rng(0)
    training, held, made = (random.normal(size=(n, 8)) for n in (100, 100, 60))
    copied = made.copy()
    copied[:30] = training[:30] + 0.01 * random.normal(size=(30, 8))
    assert find_authentic(training, copied).mean() < find_authentic(training, made).mean() - 0.1
    assert (
        compute_neighbour_ratio(training, copied).mean()
        < compute_neighbour_ratio(training, made).mean() - 0.3
    )
    assert (compute_neighbour_ratio(training, copied) < 1 / 3).sum() == 30
    assert (
        compute_carlini_ratio(training, copied).mean()
        < compute_carlini_ratio(training, made).mean() - 0.3
    )
    before, after = (compare_closest_records(training, held, s) for s in (made, copied))
    assert after.closer > before.closer + 5
    assert after.synthetic_p5 < 0.1 < after.validation_p5


@pytest.mark.parametrize("metric", [find_authentic, compute_neighbour_ratio, compute_carlini_ratio])
def test_bad_input_is_named(metric):
    with pytest.raises(BadInput, match="synthetic vector 1 holds NaN"):
        metric(LINE, [[1], [np.nan]])
    with pytest.raises(BadInput, match="1 training vectors; at least 2"):
        metric(LINE[:1], LINE)
    with pytest.raises(BadInput, match="all 3 synthetic vectors are equal"):
        metric(LINE, np.ones((3, 1)))
    with pytest.raises(BadInput, match="training 1, synthetic 2"):
        metric(LINE, np.eye(2))
    with pytest.raises(BadInput, match="synthetic vectors have shape"):
        metric(LINE, np.ones(3))


def test_duplicates_in_training_are_refused():
    twins = np.array([[0.0], [3.0], [3.0]])
    for metric in (find_authentic, compute_neighbour_ratio):
        with pytest.raises(BadInput, match=r"training vector 1 equals another \(2 such"):
            metric(twins, LINE)
    with pytest.raises(BadInput, match="synthetic vector 1 equals 2 training vectors"):
        compute_carlini_ratio(twins, [[1], [3]], k=2)
    with pytest.raises(BadInput, match="k 1"):
        compute_carlini_ratio(LINE, LINE, k=1)
