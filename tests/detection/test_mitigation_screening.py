"""What may have passed a detector, from what it called and how often it finds what is planted."""

import pytest

from napari_memscan.detection.mitigation_screening import MissedCopies
from napari_memscan.detection.statistics.proportions import Proportion
from napari_memscan.errors import BadInput


def test_missed_copies_follow_from_called_ones_and_sensitivity():
    found = MissedCopies(called=9, passed=91, sensitivity=Proportion(90, 100))
    assert found.expected == pytest.approx(1.0)
    # 9 of 100 called: up to 16.4; 90 of 100 found: from 82.4 %.
    assert found.most == pytest.approx(16.4 * 0.1765 / 0.8235, rel=0.01)
    assert "about 1.0 missed copies expected among 91 that passed" in str(found)


def test_none_called_does_not_mean_that_none_is_there():
    found = MissedCopies(0, 64, Proportion(60, 60))
    assert found.expected == 0
    assert 0 < found.most < 1


def test_a_blind_detector_excludes_nothing():
    found = MissedCopies(0, 10, Proportion(0, 20))
    assert found.expected is None
    assert found.most == 10
    assert "nothing is known" in str(found)
    assert MissedCopies(0, 0, Proportion(1, 1)).most == 0
    with pytest.raises(BadInput, match="below 0"):
        MissedCopies(-1, 0, Proportion(1, 1))
