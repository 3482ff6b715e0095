"""C_T: the z-score by hand, cells, direction, bad input."""

import numpy as np
import pytest

from napari_memscan.detection.evidence.ct import compute_data_copying, compute_z_score
from napari_memscan.errors import BadInput


def test_z_score_by_hand():
    # Synthetic 1, 4 against validation 2, 3, 4: 1 is larger than none, 4 than two, and ties one:
    # U = 2.5. mn/2 = 3; sqrt(2 * 3 * 6 / 12) = sqrt(3). (2.5 - 3 + 0.5) / sqrt(3) = 0.
    assert compute_z_score([1, 4], [2, 3, 4]) == pytest.approx(0)
    # U = 0: (0 - 3 + 0.5) / sqrt(3).
    assert compute_z_score([0, 1], [2, 3, 4]) == pytest.approx(-2.5 / np.sqrt(3))


def test_cells_are_weighted_by_validation_by_hand():
    # Two cells far apart. In the first, distances to training are 0.1 (2 synthetic) and 0.3 (1
    # validation): U = 0, z = (0 - 1 + 0.5) / sqrt(2 * 4 / 12). In the second 0.3 and 0.1 (3
    # validation): U = 6, z = (6 - 3 + 0.5) / sqrt(2 * 3 * 6 / 12).
    training = np.array([[0.0], [1.0], [100.0], [101.0]])
    synthetic = np.array([[0.1], [1.1], [100.3], [101.3]])
    validation = np.array([[0.3], [100.1], [101.1], [99.9]])
    found = compute_data_copying(training, validation, synthetic, cells=2, least=1)
    first, second = -0.5 / np.sqrt(2 / 3), 3.5 / np.sqrt(3)
    assert sorted(found.z) == pytest.approx([first, second])
    assert found.c_t == pytest.approx((1 * first + 3 * second) / 4)
    # Only cells with enough synthetic volumes count.
    fewer = compute_data_copying(training, validation, synthetic[:3], cells=2, least=1)
    assert fewer.c_t == pytest.approx(first)


def test_near_zero_without_and_far_below_with_copies():
    random = np.random.default_rng(0)
    training, held, made = (random.normal(size=(n, 80)) for n in (200, 150, 150))
    copied = training[:150] + 0.1 * random.normal(size=(150, 80))
    assert abs(compute_data_copying(training, held, made).c_t) < 3
    assert compute_data_copying(training, held, copied).c_t < -6
    assert compute_data_copying(training, held, 3 * made).c_t > 3
    assert compute_data_copying(training, held, made, seed=1) == compute_data_copying(
        training, held, made, seed=1
    )


def test_bad_input_is_named():
    x = np.random.default_rng(0).normal(size=(30, 3))
    with pytest.raises(BadInput, match="none of 3 cells holds more than 20 synthetic"):
        compute_data_copying(x, x + 1, x[:15])
    with pytest.raises(BadInput, match="2 training vectors; at least 3"):
        compute_data_copying(x[:2], x, x)
    with pytest.raises(BadInput, match="validation vector 0 holds NaN"):
        compute_data_copying(x, x * np.nan, x)
    with pytest.raises(BadInput, match="all 30 training vectors are equal"):
        compute_data_copying(np.ones((30, 3)), x, x)
