"""Limits between the three classes, learnt from planted volumes."""

from __future__ import annotations

import numpy as np
import pytest

from napari_memscan.detection.decision.class_limits import ClassLimits
from napari_memscan.errors import BadInput


def classes(n=60, novel=0.0, near=4.0, copy=8.0, seed=0):
    """Scores that are normal in Fisher's z, with a deviation of 0.1."""
    random = np.random.default_rng(seed)
    return [np.tanh(random.normal(where, 1, size=n) / 10) for where in (novel, near, copy)]


def test_separable_classes_part_in_the_gap():
    limits = ClassLimits().fit(
        np.linspace(0, 0.1, 20), np.linspace(0.2, 0.3, 20), np.linspace(0.5, 0.6, 20)
    )
    assert 0.35 < limits.copy_limit_ < 0.45
    assert limits.novel_limit_ == pytest.approx(0.15)
    assert limits.separability_["copy/near-duplicate"].auc == 1
    assert limits.separability_["copy/near-duplicate"].interval[0] < 0.95
    assert limits.reasons_ == ()


def test_overlapping_classes_part_where_both_are_equally_likely():
    novel, near, copy = classes(n=4000, near=4, copy=6)
    limits = ClassLimits(n_draws=50).fit(novel, near, copy)
    assert limits.copy_limit_ == pytest.approx(np.tanh(0.5), abs=0.01)
    low, high = limits.copy_interval_
    assert low <= limits.copy_limit_ <= high
    assert high - low < 0.02
    # Of a narrow and a wide class the limit is near the narrow one: as the densities say.
    random = np.random.default_rng(1)
    wide = np.tanh(random.normal(0.4, 0.3, 4000))
    narrow = np.tanh(random.normal(1.2, 0.1, 4000))
    limit = np.arctanh(ClassLimits(n_draws=1).fit(novel, wide, narrow).copy_limit_)
    by_hand = [-(((limit - m) / s) ** 2) / 2 - np.log(s) for m, s in ((0.4, 0.3), (1.2, 0.1))]
    assert by_hand[0] == pytest.approx(by_hand[1], abs=0.1)
    assert 0.9 < limit < 1.1


def test_scores_that_are_no_correlations_are_taken_as_they_are():
    random = np.random.default_rng(0)
    near, copy = random.normal(4, 1, 2000), random.normal(8, 1, 2000)
    limits = ClassLimits(n_draws=1).fit(near - 4, near, copy)
    assert limits.copy_limit_ == pytest.approx(6, abs=0.1)


def test_a_class_of_one_value_has_a_limit_all_the_same():
    same = np.full(12, 0.5)
    for near, copy in ((same, np.full(12, 0.9)), (np.linspace(0.2, 0.3, 12), np.full(12, 1.0))):
        limits = ClassLimits(n_draws=5).fit([0.1] * 20, near, copy)
        assert near.max() < limits.copy_limit_ < copy.min()


def test_classes_of_unequal_size_count_equally():
    random = np.random.default_rng(0)
    near = np.tanh(random.normal(0, 0.1, 4000))
    copy = np.tanh(random.normal(0.2, 0.1, 40))
    limits = ClassLimits(n_draws=1).fit(near - 0.5, near, copy)
    assert limits.copy_limit_ == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("miss", [0.0, 0.05, 0.2])
def test_at_most_the_stated_share_of_each_planted_class_is_called_novel(miss):
    novel, near, copy = classes(n=40, near=2, copy=4)
    limit = ClassLimits(miss, n_draws=1).fit(novel, near, copy).novel_limit_
    shares = [(s <= limit).mean() for s in (near, copy)]
    assert max(shares) == pytest.approx(miss)
    # The limit is as high as it may be.
    assert max((s <= np.nextafter(limit, 99)).mean() for s in (near, copy)) > miss


def test_a_class_too_small_or_missing_gives_no_limit_and_a_reason():
    novel, near, copy = classes()
    limits = ClassLimits(n_draws=1).fit(novel, near[:9], copy)
    assert limits.copy_limit_ is None
    assert limits.novel_limit_ is None
    assert limits.copy_interval_ is None
    assert any("9 near-duplicate scores; at least 10" in r for r in limits.reasons_)
    empty = ClassLimits(n_draws=1).fit(novel, [], [])
    assert empty.novel_limit_ is None
    assert empty.separability_ == {}
    assert len(empty.reasons_) == 2
    without_null = ClassLimits(n_draws=1).fit([], near, copy)
    assert without_null.copy_limit_ is not None
    assert "near-duplicate/novel" not in without_null.separability_


def test_classes_that_do_not_separate_are_said_to():
    novel, near, copy = classes(near=4, copy=4.3)
    limits = ClassLimits(n_draws=20).fit(novel, near, copy)
    assert limits.copy_limit_ is None
    assert limits.novel_limit_ is not None
    assert any("a copy cannot be told from a near-duplicate" in r for r in limits.reasons_)
    lost = ClassLimits(n_draws=20).fit(novel, *classes(near=0.2, copy=5)[1:])
    assert any("a near-duplicate cannot be told from a novel" in r for r in lost.reasons_)


def test_limits_are_seeded():
    data = classes(near=2, copy=3.5)
    first, again = (ClassLimits(seed=1, n_draws=50).fit(*data) for _ in range(2))
    other = ClassLimits(seed=2, n_draws=50).fit(*data)
    assert first.copy_interval_ == again.copy_interval_
    assert first.novel_limit_interval_ == again.novel_limit_interval_
    assert first.novel_limit_interval_ != other.novel_limit_interval_
    assert first.copy_limit_ == other.copy_limit_


def test_bad_input_is_named():
    novel, near, copy = classes()
    with pytest.raises(BadInput, match="planted copy score 0 is nan"):
        ClassLimits().fit(novel, near, [np.nan])
    with pytest.raises(BadInput, match="no limits"):
        ClassLimits().fit([], [], [])
    with pytest.raises(BadInput, match=r"miss 0\.5"):
        ClassLimits(0.5).fit(novel, near, copy)
    with pytest.raises(BadInput, match="0 draws"):
        ClassLimits(n_draws=0).fit(novel, near, copy)


def test_copies_are_limited_by_displacement_where_it_is_known():
    random = np.random.default_rng(5)
    novel, near, copy = (random.uniform(a, a + 0.1, 30) for a in (0.3, 0.8, 0.82))
    apart = random.normal(0.5, 0.05, 30), random.normal(0.1, 0.05, 25)
    limits = ClassLimits(n_draws=50).fit(novel, near, copy, apart)
    assert limits.copy_limit_ is None
    assert limits.displacement_limit_ == pytest.approx(0.3, abs=0.03)
    low, high = limits.copy_interval_
    assert low <= limits.displacement_limit_ <= high
    assert limits.separability_["copy/near-duplicate"].n_near == 25
    assert limits.is_copy(0.9, 0.2)
    assert limits.is_copy(0.9, 0.4) is False
    with pytest.raises(BadInput, match="displacement"):
        limits.is_copy(0.9)
    # Scores alone could not have said it.
    assert ClassLimits(n_draws=1).fit(novel, near, copy).is_copy(0.9) is None
    alike = ClassLimits(n_draws=1).fit(novel, near, copy, (apart[0], apart[0][:25]))
    assert alike.is_copy(0.9, 0.2) is None
    assert "by its displacement" in " ".join(alike.reasons_)
