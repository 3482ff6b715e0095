"""A few volumes say how much a model copies; odd ones break nothing."""

from __future__ import annotations

import numpy as np
import pytest

from napari_memscan.detection.training_gauge import MemorisationMonitor
from napari_memscan.errors import BadInput

SHAPE = (10, 12, 14)


def volumes(n, seed):
    return np.random.default_rng(seed).random((n, *SHAPE)).astype(np.float32)


@pytest.fixture(scope="module")
def training():
    return volumes(12, 0)


@pytest.fixture(scope="module")
def gauge(training):
    return MemorisationMonitor().fit(training, volumes(6, 1))


def test_copies_are_counted_and_have_a_small_ratio(gauge, training):
    noise = 0.05 * volumes(4, 2)
    reading = gauge.measure(np.concatenate([training[:4] + noise, volumes(4, 3)]))
    assert (reading.copies.k, reading.copies.n) == (4, 8)
    assert (reading.memorised.k, reading.memorised.n) == (4, 8)
    new = gauge.measure(volumes(8, 4))
    assert new.copies.k < reading.copies.k  # by chance, a tenth of them
    assert new.median_ratio > 0.8 > reading.median_ratio
    assert gauge.floor_ == pytest.approx(1 - 0.95**2)


def test_a_volume_twice_in_training_and_constant_samples_break_nothing(training):
    gauge = MemorisationMonitor().fit(np.concatenate([training, training[:1]]), volumes(6, 1))
    reading = gauge.measure([np.zeros(SHAPE, np.float32), training[0]])
    assert (reading.copies.k, reading.copies.n) == (1, 2)
    assert reading.median_ratio == pytest.approx(0, abs=1e-6)
    # One volume again and again, as a model that has collapsed makes it.
    assert gauge.measure([training[3]] * 4).memorised.k == 4
    nothing = gauge.measure(np.zeros((2, *SHAPE), np.float32))
    assert (nothing.copies.k, nothing.median_ratio) == (0, None)


def test_an_own_embedder_is_used(training):
    def corners(batch):
        return batch[:, 0, :3, :3, 0].reshape(len(batch), -1)

    gauge = MemorisationMonitor(corners).fit(training, volumes(6, 1))
    other = volumes(1, 5)
    other[0, :3, :3, 0] = training[7][:3, :3, 0]
    assert gauge.measure(other).copies.k == 1
    assert MemorisationMonitor().fit(training, volumes(6, 1)).measure(other).copies.k == 0


def test_bad_volumes_are_named(gauge, training):
    with pytest.raises(BadInput, match="at least 2 and 1"):
        MemorisationMonitor().fit(training[:1], training)
    with pytest.raises(BadInput, match="returned none"):
        gauge.measure([])
    with pytest.raises(BadInput, match="generated volume 0 has shape"):
        gauge.measure([training[0][:5]])
    with pytest.raises(BadInput, match="NaN"):
        gauge.measure([np.full(SHAPE, np.nan, np.float32)])
