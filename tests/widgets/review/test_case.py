"""Which windows a study is looked at with."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from napari_memscan.volumes.preprocessing import MinMax, Percentile, Window
from napari_memscan.widgets.review.case import infer_hounsfield_units, infer_modality


@pytest.mark.parametrize(
    ("rule", "modality", "units"),
    [
        (Window(low=-300, high=900), "CT", (-300, 900)),
        (Window(low=0, high=4095), "", None),  # MR as it comes from the scanner
        (Window(low=-4, high=4), "", None),  # standardised
        (Percentile(), "MR", None),
        (MinMax(), "", None),
    ],
)
def test_only_values_below_zero_are_hounsfield_units(rule, modality, units):
    study = SimpleNamespace(config=SimpleNamespace(preprocessing=SimpleNamespace(intensity=rule)))
    assert infer_modality(study) == modality
    assert infer_hounsfield_units(study) == units
