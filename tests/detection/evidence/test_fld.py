"""FLD: variances and likelihoods by hand, direction, bad input."""

import numpy as np
import pytest

from napari_memscan.detection.evidence.fld import (
    LEAST_VARIANCE,
    compute_feature_likelihood,
    compute_nll,
    fit_variances,
)
from napari_memscan.errors import BadInput


def test_variances_by_hand():
    # Two centres so far apart that each explains its own points: mean squared distance a dimension.
    points = np.array([[1.0, 0.0], [0.0, 3.0], [1000.0, 4.0]])
    centres = np.array([[0.0, 0.0], [1000.0, 0.0]])
    assert fit_variances(points, centres) == pytest.approx([(1 + 9) / 4, 16 / 2])
    assert fit_variances(centres, centres) == pytest.approx([LEAST_VARIANCE] * 2)


def test_likelihood_by_hand():
    # One dimension, two centres, the point on the first: density 1/2 N(0; 0, 1) + 1/2 N(0; 2, 4).
    density = 0.5 / np.sqrt(2 * np.pi) + 0.5 * np.exp(-0.5) / np.sqrt(8 * np.pi)
    found = compute_nll(np.array([[0.0]]), np.array([[0.0], [2.0]]), np.array([1.0, 4.0]))
    assert found == pytest.approx([-np.log(density)])
    # Two dimensions, one centre, distance 5, variance 1: 25/2 + ln(2 pi), over 2.
    found = compute_nll(np.array([[3.0, 4.0]]), np.zeros((1, 2)), np.ones(1))
    assert found == pytest.approx([(12.5 + np.log(2 * np.pi)) / 2])


def test_fitting_only_improves():
    random = np.random.default_rng(0)
    points, centres = random.normal(size=(50, 4)), random.normal(size=(30, 4))
    fitted = fit_variances(points, centres)
    for other in (fitted * 1.2, fitted * 0.8, np.ones(30)):
        assert (
            compute_nll(points, centres, fitted).mean()
            <= compute_nll(points, centres, other).mean()
        )


def test_gap_and_divergence_tell_copies_from_novel_volumes():
    random = np.random.default_rng(0)
    training, held, made = (random.normal(size=(n, 8)) for n in (120, 80, 100))
    novel = compute_feature_likelihood(training, held, made)
    copied = compute_feature_likelihood(
        training, held, training[:100] + 0.02 * random.normal(size=(100, 8))
    )
    assert abs(novel.gap) < 15
    assert copied.gap < -100
    assert abs(novel.fld) < 15
    assert copied.fld > novel.fld + 15
    scaled = compute_feature_likelihood(100 * training + 7, 100 * held + 7, 100 * made + 7)
    assert scaled.gap == pytest.approx(novel.gap, rel=1e-3)
    again = compute_feature_likelihood(training, held, made)
    assert (again.fld, again.gap) == (novel.fld, novel.gap)


def test_a_dimension_without_any_spread_does_not_count():
    random = np.random.default_rng(0)
    sets = [random.normal(size=(20, 3)) for _ in range(3)]
    padded = [np.hstack([x, np.full((20, 1), 5.0)]) for x in sets]
    assert compute_feature_likelihood(*padded).gap == compute_feature_likelihood(*sets).gap


def test_bad_input_is_named():
    x = np.random.default_rng(0).normal(size=(9, 3))
    with pytest.raises(BadInput, match="3 training vectors; at least 4"):
        compute_feature_likelihood(x[:3], x, x)
    with pytest.raises(BadInput, match="1 validation vectors; at least 2"):
        compute_feature_likelihood(x, x[:1], x)
    with pytest.raises(BadInput, match="training vector 0 holds NaN"):
        compute_feature_likelihood(x * np.inf, x, x)
    with pytest.raises(BadInput, match="all 9 validation vectors are equal"):
        compute_feature_likelihood(x, x * 0, x)
