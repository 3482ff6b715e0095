"""AUC, rates and intervals against scikit-learn and values worked out by hand."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from napari_memscan.detection.statistics.roc import analyse_roc
from napari_memscan.errors import BadInput


def drawn(n, m, shift, ties=False, seed=0):
    random = np.random.default_rng(seed)
    scores = random.normal(shift, 1, n), random.normal(0, 1, m)
    return tuple(np.round(s, 1) if ties else s for s in scores)


@pytest.mark.parametrize("ties", [False, True])
def test_as_scikit_learn(ties):
    training, validation = drawn(150, 120, 1.0, ties)
    found = analyse_roc(training, validation, resamples=200)
    truth = np.r_[np.ones(150), np.zeros(120)]
    scores = np.r_[training, validation]
    fpr, tpr, _ = roc_curve(truth, scores, drop_intermediate=False)
    assert found.auc == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert found.success_rate == pytest.approx(0.5 + (tpr - fpr).max() / 2, abs=1e-12)
    at = found.rates[0]
    assert (at.fpr, at.least) == (0.01, 100)
    assert at.tpr == pytest.approx(tpr[fpr <= 0.01].max(), abs=1e-12)
    assert at.interval[0] <= at.tpr <= at.interval[1]
    assert found.interval[0] < found.auc < found.interval[1]


def test_by_hand():
    found = analyse_roc([4, 3, 1], [2, 1], resamples=50)
    # Of 6 pairs: 4 and 3 beat both, 1 loses one and ties one.
    assert found.auc == pytest.approx(4.5 / 6)
    # Above 2: 2 of 3 training, 0 of 2 validation.
    assert found.success_rate == pytest.approx(0.5 + (2 / 3) / 2)
    assert [at.tpr for at in found.rates] == [None, None]
    assert "n = 2" in found.rates[0].reason
    assert "at least 100 " in found.rates[0].reason
    assert "at least 1000 " in found.rates[1].reason


def test_no_power_is_decided_by_subjects_not_volumes():
    training, validation = drawn(200, 200, 1)
    alone = analyse_roc(training, validation, resamples=20)
    shared = analyse_roc(training, validation, None, np.arange(200) // 4, resamples=20)
    assert alone.rates[0].tpr is not None
    assert shared.rates[0].tpr is None
    assert "n = 50" in shared.rates[0].reason


def test_interval_is_wider_where_subjects_have_many_volumes():
    random = np.random.default_rng(3)
    subjects = np.repeat(np.arange(10), 12)
    offsets = random.normal(0, 1, (2, 10))[:, subjects] + random.normal(0, 0.1, (2, 120))
    alone = analyse_roc(*offsets, resamples=400)
    shared = analyse_roc(*offsets, subjects, subjects + 100, resamples=400)
    assert shared.auc == alone.auc
    assert np.diff(shared.interval) > 2 * np.diff(alone.interval)


def test_perfect_separation_keeps_a_width_and_its_mirror():
    found = analyse_roc([5, 6, 7, 8], [1, 2, 3], resamples=100)
    assert found.auc == 1
    assert found.interval[1] == 1
    assert 0.3 < found.interval[0] < 0.8
    mirror = analyse_roc([1, 2, 3], [5, 6, 7, 8], resamples=100)
    assert mirror.auc == 0
    assert mirror.interval == pytest.approx((0, 1 - found.interval[0]))
    assert mirror.success_rate == 0.5


def test_under_the_null_p_is_uniform_and_intervals_cover():
    found = [analyse_roc(*drawn(25, 20, 0, seed=s), seed=s, resamples=200) for s in range(60)]
    covered = sum(f.interval[0] <= 0.5 <= f.interval[1] for f in found)
    assert covered >= 54
    p = np.array([f.p_value for f in found])
    assert 0.3 < p.mean() < 0.7
    # The best of many thresholds is above a half by chance; shuffling says by how much.
    assert np.mean([f.success_rate for f in found]) == pytest.approx(
        np.mean([f.success_rate_by_chance for f in found]), abs=0.03
    )
    assert np.mean([f.success_rate_by_chance for f in found]) > 0.55


def test_a_strong_difference_is_significant_and_numbers_repeat():
    first = analyse_roc(*drawn(40, 40, 2), seed=5, resamples=500)
    assert first.p_value == pytest.approx(1 / 501)
    assert first == analyse_roc(*drawn(40, 40, 2), seed=5, resamples=500)
    assert first != analyse_roc(*drawn(40, 40, 2), seed=6, resamples=500)


def test_bad_input():
    with pytest.raises(BadInput, match="validation: 1 subjects"):
        analyse_roc([1, 2], [1])
    with pytest.raises(BadInput, match="training: 1 subjects"):
        analyse_roc([1, 2], [1, 2], ["a", "a"])
    with pytest.raises(BadInput, match=r"training\[1\].*not finite"):
        analyse_roc([1, np.nan], [1, 2])
    with pytest.raises(BadInput, match="2 scores, but 1 subjects"):
        analyse_roc([1, 2], [1, 2], ["a"])
