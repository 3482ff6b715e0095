"""Voxel correlation: by hand, independent of blocks, direction, bad input."""

import numpy as np
import pytest

from napari_memscan.detection.evidence.pixels import compute_max_correlation
from napari_memscan.errors import BadInput


def volume(*values):
    return np.array(values, np.float32).reshape(1, 1, -1)


def test_by_hand():
    # (1, 0, -1) and (0, 1, -1): 1/2; (2, -1, -1) and (1, 0, -1): 3 / sqrt(12).
    training = [volume(0, 1, -1), volume(1, 0, -1)]
    found, which = compute_max_correlation(
        training, [volume(5, 3, 1), volume(2, -1, -1), volume(0, 0, 9)]
    )
    # (0, 0, 9) is (-3, -3, 6) after centring: -9 / sqrt(2 * 54) with both; the first of equals.
    assert found == pytest.approx([1, 3 / np.sqrt(12), -9 / np.sqrt(108)])
    assert which.tolist() == [1, 1, 0]


def test_blocks_do_not_matter_and_copies_stand_out():
    random = np.random.default_rng(0)
    training = random.random((11, 6, 5, 4)).astype(np.float32)
    made = random.random((7, 6, 5, 4)).astype(np.float32)
    made[2] = 0.5 * training[9] + 0.2
    done = []
    found, which = compute_max_correlation(training, made, block=3, progress=done.append)
    assert done == [3, 6, 7]
    whole, same = compute_max_correlation(list(training), list(made))
    assert found.tobytes() == whole.tobytes()
    assert which.tolist() == same.tolist()
    every = np.corrcoef(made.reshape(7, -1), training.reshape(11, -1))[:7, 7:]
    assert found == pytest.approx(every.max(axis=1), abs=1e-6)
    assert (found.argmax(), which[2]) == (2, 9)
    assert found[2] == pytest.approx(1, abs=1e-6)
    assert np.delete(found, 2).max() < 0.5


def test_bad_input_is_named():
    good = volume(1, 0, -1)
    with pytest.raises(BadInput, match="0 training and 1 synthetic"):
        compute_max_correlation([], [good])
    with pytest.raises(BadInput, match=r"synthetic volume 1 has shape \(1, 1, 4\)"):
        compute_max_correlation([good], [good, volume(1, 2, 3, 4)])
    with pytest.raises(BadInput, match="training volume 0 holds NaN"):
        compute_max_correlation([volume(1, np.nan, 2)], [good])
    with pytest.raises(BadInput, match="validation volume 0 has the same value"):
        compute_max_correlation([good], [volume(2, 2, 2)], what="validation")
