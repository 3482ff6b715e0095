"""Copies are no reason to doubt the assumption; a shifted bulk is."""

from __future__ import annotations

import numpy as np
import pytest

from napari_memscan.detection.decision.exchangeability import run_exchangeability_test
from napari_memscan.errors import BadInput


def study(random, shift=0.0, copies=0.0, n=100, m=300, where=4.0):
    k = round(copies * m)
    novel = random.normal(shift, 1, size=m - k)
    return np.concatenate([novel, random.normal(where, 0.5, size=k)]), random.normal(size=n)


def share_shifted(studies=200, direction=None, **how):
    random = np.random.default_rng(11)
    found = [run_exchangeability_test(*study(random, **how)) for _ in range(studies)]
    return np.mean([t.shifted and direction in (None, t.direction) for t in found])


@pytest.mark.parametrize("copies", [0, 0.1, 0.3, 0.5])
@pytest.mark.parametrize("sizes", [{}, {"n": 25, "m": 60}])
def test_level_holds_whatever_the_share_of_copies(copies, sizes):
    # 200 studies at 5 %: more than 17 has probability 1 %.
    assert share_shifted(copies=copies, **sizes) <= 17 / 200


@pytest.mark.parametrize("copies", [0, 0.1, 0.3])
def test_a_shifted_bulk_is_found_beneath_copies(copies):
    assert share_shifted(40, "nearer", shift=1.0, copies=copies) > 0.9
    # So far that hardly anything is left in the lower part.
    assert share_shifted(40, "nearer", shift=4.0, copies=copies) > 0.9


def test_farther_is_found_too():
    assert share_shifted(40, "farther", shift=-0.8) > 0.9


def test_shift_text_says_what_it_means():
    random = np.random.default_rng(0)
    nearer = run_exchangeability_test(*study(random, shift=1.5, copies=0.1))
    assert nearer.statistic > 0.5
    assert "is nearer to the training volumes than new patients are" in nearer.text
    assert "error rate does not hold" in nearer.text
    farther = run_exchangeability_test(*study(random, shift=-1))
    assert "copies of poor quality can be missed" in farther.text
    fine = run_exchangeability_test(*study(random, copies=0.2))
    assert not fine.shifted
    assert fine.direction == ""
    assert "300 synthetic and 100 validation volumes" in fine.text


def test_nearly_everything_near_may_also_be_copies():
    random = np.random.default_rng(0)
    found = run_exchangeability_test(random.normal(9, 1, size=100), random.normal(size=50))
    assert found.shifted
    assert found.statistic is None
    assert found.n_lower_synthetic == 0
    assert "either more than half of them are copies" in found.text


@pytest.mark.parametrize(("n", "m"), [(19, 300), (100, 19), (0, 0)])
def test_too_little_data_is_said_and_not_tested(n, m):
    random = np.random.default_rng(0)
    found = run_exchangeability_test(random.normal(5, 1, size=m), random.normal(size=n))
    assert not found.tested
    assert not found.shifted
    assert found.p_value is None
    assert f"cannot be tested at n = {n} validation and {m} synthetic" in found.text


def test_blurred_volumes_are_named_as_the_reason():
    random = np.random.default_rng(0)
    scores, null = study(random, shift=1.2, copies=0.2)
    # Copies (the last 60) are sharp; the rest is blurred. Blurred patients are nearer.
    sharp_null = 1 - 0.1 * null + 0.02 * random.normal(size=100)
    sharp = np.full(300, 0.5) + 0.02 * random.normal(size=300)
    sharp[240:] += 0.6
    rejected = np.arange(300) >= 240
    found = run_exchangeability_test(
        scores, null, rejected=rejected, sharpness_synthetic=sharp, sharpness_null=sharp_null
    )
    assert found.sharpness.ratio == pytest.approx(0.5, abs=0.03)
    assert "blurring or averaging explains it at least in part" in found.text
    other = run_exchangeability_test(
        scores, null, rejected=rejected, sharpness_synthetic=sharp, sharpness_null=sharp_null[::-1]
    )
    assert other.sharpness.correlation > found.sharpness.correlation
    sharper = run_exchangeability_test(
        scores, null, sharpness_synthetic=sharp + 1, sharpness_null=sharp_null
    )
    assert "times as sharp" not in sharper.text


def test_ties_with_the_null_are_no_shift():
    # Coarse scores: everything ties.
    random = np.random.default_rng(0)
    shifted = [
        run_exchangeability_test(random.integers(0, 3, size=200), random.integers(0, 3, 80)).shifted
        for _ in range(200)
    ]
    assert np.mean(shifted) <= 17 / 200
    assert not run_exchangeability_test(np.ones(30), np.ones(30)).shifted


def test_bad_input_is_named():
    scores, null = study(np.random.default_rng(0))
    with pytest.raises(BadInput, match="synthetic score 0 is nan"):
        run_exchangeability_test([np.nan], null)
    with pytest.raises(BadInput, match="rejected flags have shape"):
        run_exchangeability_test(scores, null, rejected=[True])
    with pytest.raises(BadInput, match="or of none"):
        run_exchangeability_test(scores, null, sharpness_null=np.ones(100))
    with pytest.raises(BadInput, match="sharpness of 3 synthetic volumes"):
        run_exchangeability_test(
            scores, null, sharpness_synthetic=[1, 2, 3], sharpness_null=np.ones(100)
        )
