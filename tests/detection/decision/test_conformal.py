"""The share of mistakes stays below q, ties count against a rejection, limits are stated."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_memscan.detection.decision.conformal import (
    ConformalRule,
    compute_least_discoveries,
    compute_least_validation,
)
from napari_memscan.errors import BadInput


def test_p_values_by_hand():
    rule = ConformalRule().fit([0.5, 0.1, 0.3])
    scores = [0.6, 0.5, 0.4, 0.1, 0.0]
    assert (rule.p_values(scores) * 4).tolist() == [1, 2, 2, 4, 4]  # ties count as near
    assert rule.decide(scores).n_null_as_near.tolist() == [0, 1, 1, 3, 3]


@settings(max_examples=200, deadline=None)
@given(
    null=st.lists(st.integers(0, 30), min_size=1, max_size=60),
    scores=st.lists(st.integers(0, 40), min_size=1, max_size=40),
    q=st.sampled_from(["0.01", "0.05", "0.1", "0.2", "0.3", "0.5"]),
)
def test_rejected_are_those_of_exact_arithmetic(null, scores, q):
    # Integers tie often, with each other and at the limit q k / m exactly.
    decision = ConformalRule(float(q)).fit(null).decide(scores)
    p = [Fraction(1 + sum(v >= s for v in null), len(null) + 1) for s in scores]
    m, limit = len(p), Fraction(0)
    for k, value in enumerate(sorted(p), 1):
        if value <= Fraction(q) * k / m:
            limit = value
    assert decision.rejected.tolist() == [value <= limit for value in p]
    assert decision.p_values.tolist() == pytest.approx([float(value) for value in p])
    called = [s for s, r in zip(scores, decision.rejected, strict=True) if r]
    assert decision.threshold == (min(called) if called else None)
    rule = ConformalRule(float(q)).fit(null)
    assert all(s > rule.threshold_ for s in called)
    # The note says exactly when something above all of the null is not rejected.
    above = [s > max(null) for s in scores]
    assert decision.n_above_all == sum(above)
    assert bool(decision.power_note) == (any(above) and not any(decision.rejected))
    # And least_discoveries is exact: so many such volumes are rejected, one fewer is not.
    least = decision.least_discoveries
    for k in {least - 1, least} - {0}:
        if k <= m:
            batch = [max(null) + 1] * k + [min(null)] * (m - k)
            found = ConformalRule(float(q)).fit(null).is_copy(batch).sum()
            assert found in ({0} if k < least else {k, m})


@pytest.mark.parametrize(
    ("m", "n", "q", "k"),
    [
        (904, 226, 0.1, 40),
        (242, 58, 0.1, 42),
        (3, 29, 0.1, 1),
        (904, 9039, 0.1, 1),
        (10, 99, 0.1, 1),
    ],
)
def test_resolution_limits(m, n, q, k):
    assert compute_least_discoveries(m, n, q) == k
    null = np.zeros(n)
    batch = np.zeros(m)
    batch[:k] = 1
    assert ConformalRule(q).fit(null).is_copy(batch).sum() == k
    if k > 1:
        batch[0] = 0
        decision = ConformalRule(q).fit(null).decide(batch)
        assert not decision.rejected.any()
        assert "no power at this validation size" in decision.power_note
        assert f"at least {k} detections" in decision.power_note


def test_the_validation_size_that_is_asked_for_is_enough_and_one_less_is_not():
    for m, q in [(40, 0.1), (33, 0.05), (7, 0.3), (1, 0.1)]:
        n = compute_least_validation(m, q)
        single = np.zeros(m)
        single[0] = 1
        assert ConformalRule(q).fit(np.zeros(n)).is_copy(single).sum() == 1
        if n > 1 and m > 1:
            assert ConformalRule(q).fit(np.zeros(n - 1)).is_copy(single).sum() == 0
    assert compute_least_validation(904, 0.1) == 9039
    # With several above all of the null the note asks for no more than these need.
    batch = np.zeros(904)
    batch[:5] = 1
    decision = ConformalRule().fit(np.zeros(226)).decide(batch)
    assert decision.least_validation == 9039
    assert "1807 validation volumes" in decision.power_note
    assert ConformalRule().fit(np.zeros(1807)).is_copy(batch).sum() == 5
    assert ConformalRule().fit(np.zeros(1806)).is_copy(batch).sum() == 0


def test_few_subjects_never_reject():
    rule = ConformalRule(0.1).fit(np.zeros(8))
    assert rule.threshold_ == np.inf
    assert not rule.is_copy([1.0] * 5).any()
    assert ConformalRule(0.1).fit(np.zeros(9)).threshold_ == 0
    assert ConformalRule(0.1).fit(np.zeros(9)).is_copy([1.0] * 5).all()


def test_mistakes_stay_below_q():
    # 150 studies; the mean false-discovery proportion of BH is q times the share of novel ones.
    random = np.random.default_rng(7)
    proportions, found = [], []
    for _ in range(150):
        novel, copies = random.normal(size=140), random.normal(4, 0.5, size=60)
        decision = ConformalRule(0.1).fit(random.normal(size=100)).decide([*novel, *copies])
        called = decision.rejected
        proportions.append(called[:140].sum() / max(called.sum(), 1))
        found.append(called[140:].mean())
    error = np.std(proportions) / np.sqrt(150)
    assert 0.07 - 3 * error < np.mean(proportions) < 0.07 + 3 * error
    assert np.mean(found) > 0.95


def test_volumes_of_one_subject_are_no_new_patients():
    # Each subject lies somewhere, and its ten volumes all lie there: one new subject in 21 lies
    # above all others. Pooled, its p-value is 1/201, ten times less often than it happens.
    random = np.random.default_rng(1)
    by_subject, pooled = [], []
    for _ in range(1500):
        where = random.normal(size=21)
        null = (where[:20, None] + 0.05 * random.normal(size=(20, 10))).ravel()
        subjects = [f"s{i // 10}" for i in range(200)]
        new = [where[20] + 0.05 * random.normal()]
        by_subject.append(ConformalRule().fit(null, subjects).p_values(new)[0])
        pooled.append(ConformalRule().fit(null).p_values(new)[0])
    for level in (0.01, 1 / 21, 0.1, 0.3):
        error = np.sqrt(level * (1 - level) / 1500)
        assert np.mean(np.array(by_subject) <= level + 1e-9) < level + 2.5 * error
    assert np.mean(np.array(pooled) <= 0.01) > 0.03
    rule = ConformalRule().fit(null, subjects)
    assert len(rule.null_) == 20
    assert rule.decide(new).n_null == 20


def test_order_and_scale_do_not_matter():
    random = np.random.default_rng(2)
    null, scores = random.normal(size=50), np.concatenate([random.normal(size=30), [5.0] * 20])
    first = ConformalRule().fit(null).decide(scores)
    order = random.permutation(50)
    second = ConformalRule().fit(np.exp(null[::-1])).decide(np.exp(scores[order]))
    np.testing.assert_array_equal(first.rejected[order], second.rejected)
    np.testing.assert_array_equal(first.adjusted[order], second.adjusted)
    assert (first.adjusted >= first.p_values).all()


def test_bad_input_is_named():
    with pytest.raises(BadInput, match=r"rule\.q 1"):
        ConformalRule(1.0).fit([0.1])
    with pytest.raises(BadInput, match="0 validation scores"):
        ConformalRule().fit([])
    with pytest.raises(BadInput, match="validation score 0 is nan"):
        ConformalRule().fit([np.nan])
    with pytest.raises(BadInput, match="1 subjects for 2 volumes"):
        ConformalRule().fit([0.1, 0.2], ["a"])
    with pytest.raises(BadInput, match="synthetic score 1 is nan"):
        ConformalRule().fit([0.1]).decide([0.1, np.nan])
    with pytest.raises(BadInput, match="0 synthetic scores"):
        ConformalRule().fit([0.1]).decide([])


def test_scores_up_to_the_floor_are_never_rejected_and_the_others_lose_nothing_by_it():
    null = np.linspace(0, 0.5, 99)
    scores = np.array([0.9, 0.8, 0.6, 0.55, 0.1])
    free = ConformalRule(0.1).fit(null).decide(scores)
    kept = ConformalRule(0.1).fit(null).decide(scores, floor=0.6)
    assert free.rejected.tolist() == [True, True, True, True, False]
    assert kept.rejected.tolist() == [True, True, False, False, False]
    assert kept.near_miss.tolist() == [False, False, True, True, False]
    assert not free.near_miss.any()
    # A p-value is what it is; only what enters the procedure is larger, so it stays valid.
    assert np.array_equal(kept.p_values, free.p_values)
    assert (kept.adjusted >= free.adjusted).all()
    assert kept.threshold == 0.8
    assert kept.n_above_all == 2


def test_what_lies_below_planted_near_duplicates_is_undecided_where_it_would_be_rejected():
    from napari_memscan.detection.decision.class_limits import ClassLimits
    from napari_memscan.detection.decision.verdicts import assign_verdicts

    null = np.linspace(0, 0.5, 99)
    limits = ClassLimits(n_draws=1).fit(null, np.linspace(0.7, 0.75, 20), np.linspace(0.9, 1, 20))
    scores = np.array([0.95, 0.72, 0.52, 0.2])
    decision = ConformalRule(0.1).fit(null).decide(scores, limits.novel_limit_)
    said = assign_verdicts(scores, decision, limits)
    assert [verdict for verdict, _ in said] == ["copy", "near-duplicate", "undecided", "novel"]
    assert "look at the pair" in said[2][1]
