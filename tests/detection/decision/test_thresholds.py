"""The paper's arithmetic comes out of our functions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from napari_memscan.detection.decision.thresholds import (
    PaperRule,
    SizeMatchedRule,
    compute_null_floor,
)
from napari_memscan.detection.retrieval.neighbours import NeighbourIndex
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
    ("compared", "validation", "share"), [(904, 226, 0.185), (242, 58, 0.193), (10_000, 200, 0.923)]
)
def test_null_floors_of_the_published_sizes(compared, validation, share):
    assert compute_null_floor(compared, validation) == pytest.approx(share, abs=5e-4)


def test_null_floor_is_what_a_pure_null_shows():
    random = np.random.default_rng(5)
    shares = []
    for _ in range(30):
        draw = [random.normal(size=(n, 16)).astype(np.float32) for n in (200, 50, 200)]
        rule = PaperRule().fit(draw[0], draw[1])
        nearest = 1 - cdist(draw[2], draw[0], "correlation").min(axis=1)
        shares.append(rule.is_copy(nearest).mean())
    assert np.mean(shares) == pytest.approx(compute_null_floor(200, 50), abs=0.03)


@pytest.mark.parametrize("quantile", [0, 1, -0.5, 2])
def test_an_impossible_quantile_is_named(quantile):
    with pytest.raises(BadInput, match="between 0 and 1"):
        PaperRule(quantile).fit(np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32))


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


def null_study(n_training, n_validation, n_synthetic, dim, random):
    """Vectors in 32-d that vary in `dim` directions; nothing is memorised."""
    directions = random.normal(size=(dim, 32))
    return [
        (random.normal(size=(n, dim)) @ directions).astype(np.float32)
        for n in (n_training, n_validation, n_synthetic)
    ]


def nearest(queries, references):
    return NeighbourIndex().fit(references).kneighbors(queries, 1)[0][:, 0]


@pytest.mark.parametrize(
    ("sizes", "floor", "matched_copies", "matched_mem"),
    [
        ((904, 226, 904), (0.16, 0.21), (0.040, 0.065), (0.040, 0.062)),
        ((242, 58, 242), (0.17, 0.25), (0.045, 0.100), (0.040, 0.080)),
    ],
)
def test_what_is_flagged_in_a_pure_null(sizes, floor, matched_copies, matched_mem):
    # Means over few studies: wider than the published 17-20, 20-22, 4.6-5.7, 5.6-8.6, 4.7-5.4
    # and 5.4-6.2 %; benchmarks/calibration.py has the long run.
    flagged = []
    for seed in range(10):
        random = np.random.default_rng(seed)
        training, validation, synthetic = null_study(*sizes, (4, 32)[seed % 2], random)
        paper = PaperRule().fit(training, validation)
        to_training = nearest(synthetic, training)
        matched = SizeMatchedRule(n_draws=1, n_subsets=10).fit(nearest(validation, training))
        mem = matched.n_mem(training, validation, synthetic)
        assert mem.threshold == pytest.approx(paper.threshold_, abs=1e-6)
        assert mem.size == sizes[1]
        flagged.append(
            [
                paper.is_copy(to_training).mean(),
                paper.is_copy(nearest(training, synthetic)).mean(),
                matched.is_copy(to_training).mean(),
                mem.share,
            ]
        )
    copies, mem, copies_matched, mem_matched = np.mean(flagged, axis=0)
    assert floor[0] < copies < floor[1]
    assert floor[0] < mem < floor[1]
    assert matched_copies[0] < copies_matched < matched_copies[1]
    assert matched_mem[0] < mem_matched < matched_mem[1]


def test_size_matched_threshold_and_its_interval():
    scores = np.random.default_rng(0).normal(size=200)
    rule = SizeMatchedRule(seed=3).fit(scores)
    assert rule.threshold_ == np.percentile(scores, 95)
    low, high = rule.interval_
    assert low < rule.threshold_ < high
    assert rule.n_subjects_ == 200
    assert rule.is_copy([rule.threshold_, np.nextafter(rule.threshold_, 9)]).tolist() == [0, 1]
    assert rule.interval_ == SizeMatchedRule(seed=3).fit(scores).interval_
    subjects = [f"s{i // 10}" for i in range(200)]
    clustered = SizeMatchedRule(seed=3).fit(np.sort(scores), subjects)
    assert clustered.n_subjects_ == 20
    assert np.ptp(clustered.interval_) > 1.5 * np.ptp(rule.interval_)


def test_n_mem_of_fewer_synthetic_than_validation_volumes_draws_validation_too():
    random = np.random.default_rng(0)
    shares = []
    for _ in range(15):
        training, validation, synthetic = null_study(120, 120, 30, 16, random)
        mem = SizeMatchedRule(n_subsets=20).n_mem(training, validation, synthetic)
        assert mem.size == 30
        shares.append(mem.share)
    assert np.mean(shares) == pytest.approx(0.06, abs=0.02)


def test_n_mem_counts_what_is_copied():
    random = np.random.default_rng(0)
    training, validation, synthetic = null_study(100, 40, 40, 16, random)
    synthetic[:20] = training[:20] * 2 + 1
    mem = SizeMatchedRule(n_subsets=5, seed=1).n_mem(training, validation, synthetic)
    assert 0.2 <= mem.share < 0.3
    assert mem.interval == pytest.approx((mem.share, mem.share))  # 40 of 40 are one subset
    more = np.concatenate([synthetic, null_study(1, 1, 40, 16, random)[2]])
    drawn = SizeMatchedRule(n_subsets=50, seed=1).n_mem(training, validation, more)
    assert drawn.interval[0] < drawn.share < drawn.interval[1]
    assert drawn == SizeMatchedRule(n_subsets=50, seed=1).n_mem(training, validation, more)
    assert drawn != SizeMatchedRule(n_subsets=50, seed=2).n_mem(training, validation, more)


def test_size_matched_refuses_what_it_cannot_use():
    good = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    with pytest.raises(BadInput, match="between 0 and 1"):
        SizeMatchedRule(1.0).fit([0.1, 0.2])
    with pytest.raises(BadInput, match="validation score 1 is nan"):
        SizeMatchedRule().fit([0.1, np.nan])
    with pytest.raises(BadInput, match="0 validation scores"):
        SizeMatchedRule().fit([])
    with pytest.raises(BadInput, match="one length d"):
        SizeMatchedRule().n_mem(good, good[:, :3], good)
    with pytest.raises(BadInput, match="at least one vector"):
        SizeMatchedRule().n_mem(good, good, good[:0])
    with pytest.raises(BadInput, match="0 subsets"):
        SizeMatchedRule(n_subsets=0).n_mem(good, good, good)
