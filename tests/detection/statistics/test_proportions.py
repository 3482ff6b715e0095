"""Shares have the published intervals."""

from __future__ import annotations

import pytest

from napari_memscan.detection.statistics.proportions import Proportion

# Against experts: sensitivity and specificity on MRNet, of MedDiff's and of MONAI's model.
PUBLISHED = {
    (34, 36): (0.944, 0.813, 0.993),
    (58, 64): (0.906, 0.807, 0.965),
    (38, 38): (1.0, 0.907, 1.0),
    (55, 62): (0.887, 0.781, 0.953),
}


@pytest.mark.parametrize("counts", PUBLISHED)
def test_published_rates(counts):
    found = Proportion(*counts)
    assert (found.value, *found.interval) == pytest.approx(PUBLISHED[counts], abs=6e-4)


def test_a_rate_of_nothing_is_not_known():
    nothing = Proportion(0, 0)
    assert nothing.value is None
    assert nothing.interval == (0, 1)
    assert "not known" in str(nothing)
    assert str(Proportion(34, 36)) == "0.944 (0.813 to 0.993; 34 of 36)"
