"""Intervals cover, and published numbers come out."""

from __future__ import annotations

import numpy as np
import pytest

from napari_memscan.detection.statistics.intervals import (
    bootstrap_over_subjects,
    clopper_pearson,
    compute_auc,
    compute_auc_interval,
)
from napari_memscan.errors import BadInput


@pytest.mark.parametrize(
    ("k", "n", "interval"),
    [
        # Training volumes with a copy and copies among synthetic ones, MRNet and PCCTA.
        (363, 904, (0.369, 0.434)),
        (688, 904, (0.732, 0.789)),
        (430, 904, (0.443, 0.509)),
        (788, 904, (0.848, 0.893)),
        (106, 242, (0.375, 0.503)),
        (98, 242, (0.343, 0.470)),
        # False positives against experts.
        (6, 64, (0.035, 0.193)),
        (7, 62, (0.047, 0.219)),
    ],
)
def test_intervals_of_the_published_counts(k, n, interval):
    assert clopper_pearson(k, n) == pytest.approx(interval, abs=6e-4)


def test_intervals_at_the_ends():
    assert clopper_pearson(0, 20) == (0.0, pytest.approx(1 - 0.025 ** (1 / 20)))
    assert clopper_pearson(20, 20) == (pytest.approx(0.025 ** (1 / 20)), 1.0)
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="no share"):
        clopper_pearson(3, 2)


@pytest.mark.parametrize("n", [1, 2, 7, 40, 904, 20_000])
@pytest.mark.parametrize("confidence", [0.95, 0.99])
def test_limits_leave_the_tails_that_they_should(n, confidence):
    from scipy.stats import beta

    for k in {0, 1, n // 3, n - 1, n}:
        low, high = clopper_pearson(k, n, confidence)
        tail = (1 - confidence) / 2
        assert low == (pytest.approx(beta.ppf(tail, k, n - k + 1), abs=1e-12) if k else 0)
        assert high == (pytest.approx(beta.isf(tail, k + 1, n - k), abs=1e-12) if k < n else 1)


def test_auc_counts_pairs():
    assert compute_auc([1, 2, 3], [3, 4]) == pytest.approx((5 + 0.5) / 6)
    assert compute_auc([1, 2], [0.0]) == 0


def test_auc_interval_is_not_empty_where_classes_separate():
    low, high = compute_auc_interval(1.0, 10, 10)
    assert 0.7 < low < 0.9
    assert high == 1
    mirrored = compute_auc_interval(0.0, 10, 10)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-6)
    assert compute_auc_interval(1.0, 1000, 1000)[0] > 0.99


def test_auc_interval_covers():
    # Normal classes 1 apart: the true area is 0.760.
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        area = compute_auc(random.normal(size=15), random.normal(1, 1, size=25))
        low, high = compute_auc_interval(area, 15, 25)
        covered += low <= 0.7602 <= high
    assert covered / 400 > 0.92


@pytest.mark.parametrize("area", [-0.1, 1.1, float("nan")])
def test_an_impossible_area_is_named(area):
    with pytest.raises(BadInput, match="no area"):
        compute_auc_interval(area, 10, 10)


def test_bootstrap_draws_subjects_and_not_volumes():
    # Ten volumes of each subject are the same number ten times, not ten times the evidence.
    random = np.random.default_rng(0)
    one = random.normal(size=30)
    values, subjects = np.repeat(one, 10), [f"s{i}" for i in np.repeat(np.arange(30), 10)]

    def width(interval):
        return interval[1] - interval[0]

    by_subject = bootstrap_over_subjects(values, subjects, np.mean, seed=1)
    by_volume = bootstrap_over_subjects(values, None, np.mean, seed=1)
    once = bootstrap_over_subjects(one, None, np.mean, seed=1)
    assert by_subject == pytest.approx(once)
    assert width(by_volume) < 0.5 * width(by_subject)
    assert width(once) == pytest.approx(2 * 1.96 * one.std() / np.sqrt(30), rel=0.15)


def test_bootstrap_is_seeded_and_refuses_nothing_to_draw_from():
    values = np.random.default_rng(0).normal(size=40)
    first = bootstrap_over_subjects(values, None, np.mean, seed=4)
    assert first == bootstrap_over_subjects(values, None, np.mean, seed=4)
    assert first != bootstrap_over_subjects(values, None, np.mean, seed=5)
    with pytest.raises(BadInput, match="0 draws"):
        bootstrap_over_subjects(values, None, np.median, n=0)
    with pytest.raises(BadInput, match="at least 1 is needed"):
        bootstrap_over_subjects([], None, np.median)


@pytest.mark.parametrize("auc", [0.0, 0.3, 0.5, 0.81, 1.0])
def test_score_interval_solves_its_equation(auc):
    n, m, z = 12, 9, 1.959963984540054
    low, high = compute_auc_interval(auc, n, m)
    assert low <= auc <= high
    for theta in {low, high} - {auc}:
        shape = (1 - theta) / (2 - theta) + theta / (1 + theta)
        variance = theta * (1 - theta) * (1 + (10.5 - 1) * shape) / (n * m)
        assert abs(auc - theta) == pytest.approx(z * variance**0.5, rel=1e-6)
    assert compute_auc_interval(1 - auc, n, m) == pytest.approx((1 - high, 1 - low), abs=1e-6)
