"""A released series says what is known of its volume, and claims no size that nobody knows."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from napari_memscan.report.dicom import find_differing_slices, write_series
from napari_memscan.volumes.reader import read_volume, write_nifti
from napari_memscan.volumes.volume import Volume


@pytest.mark.parametrize("spacing", [None, (0.5, 0.75, 2.0)])
def test_a_series_comes_back_as_its_volume_whether_its_size_is_known_or_not(spacing, tmp_path):
    data = np.random.default_rng(0).integers(-1000, 1000, (5, 6, 12)).astype(np.float32)
    write_nifti(Volume(data, spacing), tmp_path / "s1.nii.gz")
    write_series(tmp_path, "s1.nii.gz")
    folder = tmp_path / "dicom" / "s1"
    again = read_volume(folder)
    np.testing.assert_array_equal(again.data, data)
    assert again.spacing == (None if spacing is None else pytest.approx(spacing))
    header = pydicom.dcmread(folder / "slice-0003.dcm")
    for name in ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices", "ImagePositionPatient"):
        assert (name in header) == (spacing is not None)
    assert header.InstanceNumber == 3
    sums = {f"dicom/s1/{p.name}": "0" for p in folder.iterdir()}
    assert len(list(find_differing_slices(tmp_path, "s1.nii.gz", sums))) == 12
