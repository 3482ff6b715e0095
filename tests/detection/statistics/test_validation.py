"""What is wrong with scores is said, and by which one."""

from __future__ import annotations

import numpy as np
import pytest

from napari_memscan.detection.statistics.validation import (
    check_flags,
    check_scores,
    number_subjects,
    select_nearest_per_subject,
)
from napari_memscan.errors import BadInput


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.1, np.nan, np.nan], r"planted score 1 is nan \(2 such"),
        ([0.1, np.inf], "planted score 1 is inf"),
        ([[0.1], [0.2]], r"shape \(2, 1\)"),
        (0.5, r"shape \(\)"),
        (["near"], "no list of numbers"),
        ([0.1], "1 planted scores; at least 2 are needed"),
    ],
)
def test_bad_scores_are_named(values, message):
    with pytest.raises(BadInput, match=message):
        check_scores(values, "planted", 2)


def test_flags_are_yes_or_no():
    assert check_flags([1, 0, 1], "labels").tolist() == [True, False, True]
    with pytest.raises(BadInput, match="labels hold other values"):
        check_flags([0, 2], "labels")
    with pytest.raises(BadInput, match=r"labels have shape \(2,\); \(3,\)"):
        check_flags([True, False], "labels", 3)


def test_volumes_without_a_subject_are_subjects_of_their_own():
    assert number_subjects(["b", "", "a", "b", ""], 5).tolist() == [0, 1, 2, 0, 3]
    assert number_subjects(None, 3).tolist() == [0, 1, 2]
    with pytest.raises(BadInput, match="2 subjects for 3 volumes"):
        number_subjects(["a", "b"], 3)


def test_the_nearest_volume_stands_for_its_subject():
    scores = np.array([0.2, 0.9, 0.4, 0.5])
    assert select_nearest_per_subject(scores, ["a", "b", "a", "b"]).tolist() == [0.4, 0.9]
    assert select_nearest_per_subject(scores, None).tolist() == scores.tolist()
