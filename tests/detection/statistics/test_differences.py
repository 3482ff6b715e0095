"""A difference of two shares has its published interval, and small ones are not told."""

import pytest
from statsmodels.stats.proportion import proportion_confint

from napari_memscan.detection.statistics.differences import (
    DOES_NOT_HOLD,
    HOLDS,
    INCONCLUSIVE,
    ProportionDifference,
)
from napari_memscan.errors import BadInput


@pytest.mark.parametrize(
    "counts", [(3, 40, 12, 64), (0, 20, 0, 30), (20, 20, 1, 9), (5, 64, 5, 64)]
)
def test_the_interval_is_newcombes(counts):
    k1, n1, k2, n2 = counts
    p, q = k1 / n1, k2 / n2
    low_1, high_1 = proportion_confint(k1, n1, method="wilson")
    low_2, high_2 = proportion_confint(k2, n2, method="wilson")
    down = ((q - low_2) ** 2 + (high_1 - p) ** 2) ** 0.5
    up = ((high_2 - q) ** 2 + (p - low_1) ** 2) ** 0.5
    expected = (q - p - down, q - p + up)
    assert ProportionDifference(*counts).interval == pytest.approx(expected, abs=1e-12)


def test_the_published_example():
    # Newcombe 1998, table II, contrast (a): 56/70 - 48/80, method 10.
    assert ProportionDifference(48, 80, 56, 70).interval == pytest.approx(
        (0.0524, 0.3339), abs=5e-5
    )


@pytest.mark.parametrize(
    ("counts", "expected", "answer"),
    [
        ((2, 64, 40, 64), "raises", HOLDS),
        ((2, 64, 40, 64), "lowers", DOES_NOT_HOLD),
        ((40, 64, 2, 64), "lowers", HOLDS),
        ((40, 64, 2, 64), "raises", DOES_NOT_HOLD),
        ((2, 8, 4, 8), "raises", INCONCLUSIVE),
        ((0, 8, 0, 8), "lowers", INCONCLUSIVE),
    ],
)
def test_an_answer_needs_an_interval_without_zero(counts, expected, answer):
    assert ProportionDifference(*counts).answer(expected) == answer


def test_a_difference_that_chance_in_training_makes_is_none():
    found = ProportionDifference(2, 64, 40, 64)
    assert found.answer("raises", spread=0.5) == HOLDS
    assert found.answer("raises", spread=0.6) == INCONCLUSIVE


def test_what_is_no_share_is_refused():
    with pytest.raises(BadInput, match="from 0 to their number"):
        ProportionDifference(3, 2, 0, 1)
    with pytest.raises(BadInput, match="share of nothing"):
        ProportionDifference(0, 0, 0, 1)
    with pytest.raises(BadInput, match="raises or lowers"):
        ProportionDifference(0, 1, 0, 1).answer("changes")
