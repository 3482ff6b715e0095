"""One verdict a volume, and why."""

from __future__ import annotations

import numpy as np
import pytest

from napari_memscan.detection.decision.class_limits import ClassLimits
from napari_memscan.detection.decision.conformal import ConformalRule
from napari_memscan.detection.decision.verdicts import assign_verdicts
from napari_memscan.errors import BadInput

NULL = np.linspace(0, 1, 100)
NEAR, COPY = np.linspace(0.95, 3, 40), np.linspace(4, 5, 40)


def judged(scores, limits=None, null=NULL, q=0.1):
    return assign_verdicts(scores, ConformalRule(q).fit(null).decide(scores), limits)


@pytest.fixture(scope="module")
def limits():
    fitted = ClassLimits(n_draws=1).fit(NULL, NEAR, COPY)
    assert 3 < fitted.copy_limit_ < 4
    assert 0.99 < fitted.novel_limit_ < 1.06
    return fitted


def test_with_planted_copies(limits):
    scores = [4.5, limits.copy_limit_, limits.copy_limit_ - 0.01, 2.0, 0.5, 0.0]
    found = judged(scores, limits)
    assert [v for v, _ in found] == ["copy", "copy", *["near-duplicate"] * 2, "novel", "novel"]
    assert all(not reason for _, reason in found)


def test_detections_below_all_that_was_planted_are_pointed_out(limits):
    verdict, reason = judged([1.01] * 3, limits)[0]
    assert limits.novel_limit_ > 1.01
    assert verdict == "near-duplicate"
    assert "farther than 95% of planted" in reason


def test_as_near_as_planted_ones_and_as_unrelated_ones_is_undecided():
    # Near-duplicates reach far into the null: not rejected does not mean novel.
    limits = ClassLimits(n_draws=1).fit(NULL, np.linspace(0.3, 3, 40), COPY)
    found = judged([0.8, 0.2], limits)
    assert found[1] == ("novel", "")
    assert found[0][0] == "undecided"
    assert "as near as 20% of planted near-duplicates" in found[0][1]
    assert "so are 20 of 100 unrelated validation subjects (p = 0.21)" in found[0][1]


def test_too_few_detections_are_undecided_for_want_of_power(limits):
    scores = [4.5] + [0.1] * 99  # one of a hundred needs p <= 0.001
    for given in (limits, None):
        found = judged(scores, given)
        assert found[0][0] == "undecided"
        assert "no power at this validation size" in found[0][1]
        assert [v for v, _ in found[1:]] == ["novel"] * 99


def test_without_planted_copies_the_classes_are_not_told_apart():
    found = judged([4.5, 0.5])
    assert found[0][0] == "copy"
    assert "copy and near-duplicate are not told apart" in found[0][1]
    assert found[1][0] == "novel"
    assert "50 of 100 unrelated validation subjects are as near" in found[1][1]
    assert "not known without planted ones" in found[1][1]


def test_limits_that_do_not_separate_are_passed_on():
    mixed = ClassLimits(n_draws=1).fit(NULL, COPY, COPY)
    verdict, reason = judged([4.5, 0.5], mixed)[0]
    assert verdict == "copy"
    assert "not told apart" in reason
    assert "area under the ROC curve 0.50" in reason


def test_without_limits_what_hardly_any_patient_reaches_is_undecided():
    # p = 3/101 is no detection among 40, and no sign of being novel either.
    found = judged([0.985] + [0.1] * 39)
    assert found[0][0] == "undecided"
    assert "only 2 of 100 unrelated validation subjects are as near" in found[0][1]


def test_so_few_patients_that_nothing_can_be_rejected():
    for verdict, reason in judged([4.5, 0.1], null=NULL[:8]):
        assert verdict == "undecided"
        assert "no power at this validation size" in reason
        assert "validation" in reason
    for verdict, reason in judged([0.05, 0.01], null=[0.1] * 8):
        assert verdict == "undecided"
        assert "8 validation subjects, at least 9 are needed" in reason


def test_every_volume_gets_exactly_one_verdict(limits):
    scores = np.random.default_rng(0).normal(1, 2, size=300)
    for given in (limits, None):
        found = judged(scores, given)
        assert len(found) == 300
        for verdict, reason in found:
            assert verdict in {"copy", "near-duplicate", "novel", "undecided"}
            assert reason or verdict != "undecided"


def test_scores_of_another_batch_are_refused(limits):
    decision = ConformalRule().fit(NULL).decide([4.5, 0.5])
    with pytest.raises(BadInput, match="3 scores, but the decision is of 2"):
        assign_verdicts([1, 2, 3], decision, limits)
    with pytest.raises(BadInput, match="other scores"):
        assign_verdicts([4.4, 0.5], decision, limits)
    with pytest.raises(BadInput, match="score 0 is nan"):
        assign_verdicts([np.nan, 0.5], decision, limits)
