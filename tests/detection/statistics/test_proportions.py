"""Confusion matrices against experts give the published rates."""

from __future__ import annotations

import numpy as np
import pytest

from napari_memscan.detection.statistics.proportions import (
    ConfusionMatrix,
    Proportion,
    compute_confusion,
)
from napari_memscan.errors import BadInput

# TP FN FP TN; sensitivity, specificity, precision, accuracy (research: labels of the authors'
# notebook, human label = truth).
SETTINGS = {
    "MRNet MedDiff": ((34, 2, 6, 58), (0.944, 0.906, 0.850, 0.92)),
    "MRNet MONAI": ((38, 0, 7, 55), (1.000, 0.887, 0.844, 0.93)),
    "PCCTA MedDiff": ((34, 4, 5, 43), (0.895, 0.896, 0.872, 0.895)),
    "PCCTA MONAI": ((34, 2, 1, 49), (0.944, 0.980, 0.971, 0.965)),
}


def annotated(tp, fn, fp, tn):
    """Labels and predictions with these counts, in a mixed order."""
    labels = np.repeat([True, True, False, False], [tp, fn, fp, tn])
    predictions = np.repeat([True, False, True, False], [tp, fn, fp, tn])
    order = np.random.default_rng(0).permutation(len(labels))
    return labels[order], predictions[order]


@pytest.mark.parametrize("setting", SETTINGS)
def test_published_rates(setting):
    counts, expected = SETTINGS[setting]
    rates = compute_confusion(*annotated(*counts))
    assert (rates.tp, rates.fn, rates.fp, rates.tn) == counts
    found = [r.value for r in (rates.sensitivity, rates.specificity, rates.precision)]
    assert [*found, rates.accuracy.value] == pytest.approx(list(expected), abs=6e-4)


@pytest.mark.parametrize(
    ("setting", "sensitivity", "specificity", "macro_f1"),
    [
        ("MRNet MedDiff", (0.813, 0.993), (0.807, 0.965), 0.92),
        ("MRNet MONAI", (0.907, 1.0), (0.781, 0.953), 0.93),
    ],
)
def test_published_intervals(setting, sensitivity, specificity, macro_f1):
    rates = ConfusionMatrix(*SETTINGS[setting][0])
    assert rates.sensitivity.interval == pytest.approx(sensitivity, abs=6e-4)
    assert rates.specificity.interval == pytest.approx(specificity, abs=6e-4)
    assert rates.macro_f1 == pytest.approx(macro_f1, abs=0.006)


def test_labels_and_predictions_must_not_be_swapped():
    labels, predictions = annotated(34, 2, 6, 58)
    right, swapped = compute_confusion(labels, predictions), compute_confusion(predictions, labels)
    assert swapped.sensitivity == right.precision
    assert swapped.precision == right.sensitivity


def test_a_rate_of_nothing_is_not_known():
    rates = compute_confusion([0, 0, 0], [0, 1, 0])
    assert rates.sensitivity == Proportion(0, 0)
    assert rates.sensitivity.value is None
    assert rates.sensitivity.interval == (0, 1)
    assert "not known" in str(rates.sensitivity)
    assert compute_confusion([0, 0], [0, 0]).macro_f1 is None
    assert str(ConfusionMatrix(34, 2, 6, 58).sensitivity) == "0.944 (0.813 to 0.993; 34 of 36)"


def test_what_cannot_be_counted_is_named():
    with pytest.raises(BadInput, match="no labels"):
        compute_confusion([], [])
    with pytest.raises(BadInput, match=r"predictions have shape \(1,\)"):
        compute_confusion([True, False], [True])
    with pytest.raises(BadInput, match="other values"):
        compute_confusion([0.5, 1], [0, 1])
    with pytest.raises(BadInput, match="below 0"):
        ConfusionMatrix(1, 2, -1, 0)
