"""The paper's arithmetic comes out of our functions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from napari_memscan.detection.intervals import clopper_pearson
from napari_memscan.detection.thresholds import PaperRule, null_floor
from napari_memscan.errors import BadInput


def test_threshold_is_the_published_one():
    random = np.random.default_rng(0)
    training = random.normal(size=(90, 6)).astype(np.float32)
    validation = random.normal(size=(25, 6)).astype(np.float32)
    rule = PaperRule().fit(training, validation)
    nearest = cdist(training, validation, "correlation").min(axis=1)
    assert rule.threshold_ == pytest.approx(1 - np.percentile(nearest, 5), abs=1e-6)
    np.testing.assert_allclose(rule.null_, 1 - nearest, atol=1e-6)
    assert (rule.null_ > rule.threshold_).mean() == pytest.approx(0.05, abs=0.012)


def test_a_copy_lies_strictly_above():
    rule = PaperRule()
    rule.threshold_ = 0.9
    assert rule.is_copy(np.array([0.89, 0.9, 0.91])).tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("compared", "validation", "share"),
    [(904, 226, 0.185), (242, 58, 0.193), (10_000, 200, 0.923)],
)
def test_null_floors_of_the_published_sizes(compared, validation, share):
    assert null_floor(compared, validation) == pytest.approx(share, abs=5e-4)


def test_null_floor_is_what_a_pure_null_shows():
    random = np.random.default_rng(5)
    shares = []
    for _ in range(30):
        draw = [random.normal(size=(n, 16)).astype(np.float32) for n in (200, 50, 200)]
        rule = PaperRule().fit(draw[0], draw[1])
        nearest = 1 - cdist(draw[2], draw[0], "correlation").min(axis=1)
        shares.append(rule.is_copy(nearest).mean())
    assert np.mean(shares) == pytest.approx(null_floor(200, 50), abs=0.03)


@pytest.mark.parametrize("quantile", [0, 1, -0.5, 2])
def test_an_impossible_quantile_is_named(quantile):
    with pytest.raises(BadInput, match="between 0 and 1"):
        PaperRule(quantile).fit(np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32))


@pytest.mark.parametrize(
    ("k", "n", "interval"),
    [(363, 904, (0.369, 0.434)), (688, 904, (0.732, 0.789)), (430, 904, (0.443, 0.509))],
)
def test_intervals_of_the_published_counts(k, n, interval):
    assert clopper_pearson(k, n) == pytest.approx(interval, abs=6e-4)


def test_intervals_at_the_ends():
    assert clopper_pearson(0, 20) == (0.0, pytest.approx(1 - 0.025 ** (1 / 20)))
    assert clopper_pearson(20, 20) == (pytest.approx(0.025 ** (1 / 20)), 1.0)
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="no share"):
        clopper_pearson(3, 2)


def test_percentile_is_five_and_not_a_little_more():
    # 21 nulls: the 5th percentile of the distances is the second smallest, exactly.
    # The third lies far away, so that a little more than 5 would reach towards it.
    angles = np.array([0.05, 0.1, *np.linspace(1.4, 1.5, 19)])
    first, second = np.array([1, -1, 0]) / np.sqrt(2), np.array([1, 1, -2]) / np.sqrt(6)
    training = np.cos(angles)[:, None] * first + np.sin(angles)[:, None] * second
    rule = PaperRule().fit(training.astype(np.float32), first[None].astype(np.float32))
    assert rule.threshold_ == pytest.approx(np.cos(angles[1]), abs=1e-6)
    assert rule.is_copy(rule.null_).tolist() == [True] + [False] * 20


def test_what_has_no_correlation_is_named_by_its_split():
    good = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    flat = np.ones((3, 4), np.float32)
    with pytest.raises(BadInput, match="validation vector 0"):
        PaperRule().fit(good, flat)
    with pytest.raises(BadInput, match="training vector 0"):
        PaperRule().fit(flat, good)
