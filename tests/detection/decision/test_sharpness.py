"""Sharpness falls with blur and with averaging, and with nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_memscan.detection.decision.sharpness import compare_sharpness, compute_sharpness
from napari_memscan.errors import BadInput


def volume(seed=0, sigma=1.0):
    noise = np.random.default_rng(seed).normal(size=(20, 24, 16))
    return gaussian_filter(noise, sigma).astype(np.float32)


def test_white_noise_is_one_and_blur_lowers_it():
    assert compute_sharpness(volume(sigma=0)) == pytest.approx(1, abs=0.03)
    values = [compute_sharpness(volume(sigma=s)) for s in (0, 0.5, 1, 2)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.2


def test_brightness_contrast_and_axes_do_not_matter():
    one = compute_sharpness(volume())
    assert compute_sharpness(3 * volume() + 7) == pytest.approx(one, rel=1e-5)
    assert compute_sharpness(-volume()[::-1].transpose(2, 0, 1)) == pytest.approx(one, rel=1e-5)


def test_an_average_is_less_sharp_than_its_parts():
    # Parts that share a smooth shape, as bodies do.
    parts = [volume(sigma=4, seed=9) * 20 + volume(seed, sigma=0.5) for seed in range(6)]
    assert compute_sharpness(np.mean(parts, axis=0)) < 0.6 * min(map(compute_sharpness, parts))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((4, 4), np.float32), r"shape \(4, 4\)"),
        (np.zeros((4, 4, 1), np.float32), "each at least 2"),
        (np.full((4, 4, 4), 0.7, np.float32), "same value everywhere"),
        (np.full((4, 4, 4), np.nan, np.float32), "NaN"),
    ],
)
def test_bad_volumes_are_named(bad, message):
    with pytest.raises(BadInput, match=message):
        compute_sharpness(bad)


def test_comparison():
    random = np.random.default_rng(0)
    validation = random.uniform(0.8, 1.2, size=60)
    scores = -validation + 0.05 * random.normal(size=60)
    found = compare_sharpness(random.uniform(0.4, 0.6, size=30), validation, scores)
    assert found.ratio == pytest.approx(0.5, abs=0.05)
    assert found.p_value < 1e-6
    assert found.correlation < -0.8
    assert found.softer
    assert not compare_sharpness(validation + 0.5, validation, scores).softer
    assert not compare_sharpness(validation, validation, scores).softer
    assert compare_sharpness([], validation, scores).ratio is None
    assert compare_sharpness([0.5], validation[:5], scores[:5]).correlation is None
    with pytest.raises(BadInput, match="60 validation volumes but scores of 59"):
        compare_sharpness([0.5], validation, scores[:-1])
