"""Precision, recall, density and coverage: by hand, direction, bad input."""

import numpy as np
import pytest

from napari_memscan.detection.evidence.coverage import compute_neighbour_balls
from napari_memscan.errors import BadInput


def test_by_hand():
    # k = 1. Radii of training 0, 1, 10: 1, 1, 9. Of synthetic 0.5, 2, 30: 1.5, 1.5, 28.
    found = compute_neighbour_balls([[0], [1], [10]], [[0.5], [2], [30]], k=1)
    # 0.5 is within 1 of 0 and 1, and 9.5 from 10 (no). 2 is 1 from 1 (not within), 8 from 10 (yes).
    assert found.precise.tolist() == [True, True, False]
    assert found.density.tolist() == [2, 1, 0]
    # 0 and 1 are within 1.5 of 0.5; 10 is 20 from 30, within 28.
    assert found.recalled.tolist() == [True, True, True]
    # Nearest synthetic of 0, 1, 10: 0.5 < 1, 0.5 < 1, 8 < 9.
    assert found.covered.tolist() == [True, True, True]
    # 9 and 3 balls around 2 with k = 2: radii of training 10, 9, 10.
    assert compute_neighbour_balls([[0], [1], [10]], [[2], [30], [31]], k=2).density.tolist() == [
        1.5,
        0,
        0,
    ]


def test_copies_are_praised():
    random = np.random.default_rng(0)
    training, made = random.normal(size=(80, 6)), 1.5 * random.normal(size=(80, 6))
    novel, copied = (
        compute_neighbour_balls(training, made),
        compute_neighbour_balls(training, training),
    )
    assert copied.recalled.all()
    for name in ("precise", "density", "covered"):
        assert getattr(copied, name).mean() > getattr(novel, name).mean()


def test_bad_input_is_named():
    x = np.random.default_rng(0).normal(size=(8, 3))
    with pytest.raises(BadInput, match="5 training vectors; at least 6"):
        compute_neighbour_balls(x[:5], x)
    with pytest.raises(BadInput, match="synthetic vector 0 holds NaN"):
        compute_neighbour_balls(x, x * np.nan)
    with pytest.raises(BadInput, match="all 8 synthetic vectors are equal"):
        compute_neighbour_balls(x, np.ones((8, 3)))
    with pytest.raises(BadInput, match="k 0"):
        compute_neighbour_balls(x, x, k=0)
