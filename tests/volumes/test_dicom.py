"""DICOM series come out in RAS and HU; mixed and broken ones are named."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from napari_memscan.errors import BadInput
from napari_memscan.volumes.reader import list_volumes, read_volume

SHAPE = (6, 5, 4)  # X, Y, Z


def write_series(folder, skip=(), series=None):
    """Write a CT series: rows run to posterior and columns to left, as scanners do."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = np.random.default_rng(1).integers(0, 2000, SHAPE).astype(np.int16)
    series = series or generate_uid()
    for z in range(SHAPE[2]):
        if z in skip:
            continue
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        file.SOPClassUID = CTImageStorage
        file.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        file.StudyInstanceUID = "1.2.3"
        file.SeriesInstanceUID = series
        file.Modality = "CT"
        file.PatientID = "P1"
        file.InstanceNumber = z + 1
        file.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        file.ImagePositionPatient = [-3.0, -4.0, 2.5 * z]
        file.PixelSpacing = [0.7, 0.6]
        file.SliceThickness = 2.5
        file.Rows, file.Columns = SHAPE[1], SHAPE[0]
        file.SamplesPerPixel = 1
        file.PhotometricInterpretation = "MONOCHROME2"
        file.BitsAllocated = file.BitsStored = 16
        file.HighBit = 15
        file.PixelRepresentation = 1
        file.RescaleSlope, file.RescaleIntercept = 2, -1024
        file.PixelData = np.ascontiguousarray(raw[:, :, z].T).tobytes()
        file.save_as(folder / f"{z:03d}.dcm", enforce_file_format=True)
    # DICOM x grows to the left and y to posterior; RAS grows to right and anterior.
    return (raw * 2.0 - 1024)[::-1, ::-1]


def test_a_series_is_read_in_hu_and_ras(tmp_path):
    expected = write_series(tmp_path / "ct")
    volume = read_volume(tmp_path / "ct")
    np.testing.assert_allclose(volume.data, expected)
    assert volume.spacing == pytest.approx((0.6, 0.7, 2.5))
    assert list_volumes(tmp_path) == [tmp_path / "ct"]


def test_mixed_incomplete_and_foreign_folders_are_named(tmp_path):
    write_series(tmp_path / "two")
    for file in list((tmp_path / "two").iterdir()):
        file.rename(file.with_name("a" + file.name))
    write_series(tmp_path / "two")
    with pytest.raises(BadInput, match="2 DICOM series"):
        read_volume(tmp_path / "two")
    write_series(tmp_path / "hole", skip=(1,))
    with pytest.raises(BadInput, match="slices are missing"):
        read_volume(tmp_path / "hole")
    (tmp_path / "none").mkdir()
    with pytest.raises(BadInput, match="no DICOM series"):
        read_volume(tmp_path / "none")


def test_slices_without_all_their_pixels_are_named(tmp_path):
    write_series(tmp_path / "ct")
    path = tmp_path / "ct" / "002.dcm"
    file = pydicom.dcmread(path)
    pixels = file.PixelData
    file.PixelData = pixels[:20]
    file.save_as(path)
    with pytest.raises(BadInput, match=r"002\.dcm: holds 20 of 60 bytes"):
        read_volume(tmp_path / "ct")
    del file.PixelData
    file.save_as(path)
    with pytest.raises(BadInput, match="slices are missing"):
        read_volume(tmp_path / "ct")
