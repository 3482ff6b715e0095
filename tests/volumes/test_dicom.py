"""DICOM series come out in RAS and HU; mixed and broken ones are named."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import BasicTextSRStorage, CTImageStorage, ExplicitVRLittleEndian, generate_uid

from napari_memscan.errors import BadInput
from napari_memscan.volumes.reader import list_volumes, read_volume

SHAPE = (6, 5, 4)  # X, Y, Z


def write_series(folder, skip=(), series=None, slopes=(2, 2, 2, 2)):
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
        file.RescaleSlope, file.RescaleIntercept = slopes[z], -1024
        file.PixelData = np.ascontiguousarray(raw[:, :, z].T).tobytes()
        file.save_as(folder / f"{z:03d}.dcm", enforce_file_format=True)
    # DICOM x grows to the left and y to posterior; RAS grows to right and anterior.
    return (raw * np.array(slopes, float) - 1024)[::-1, ::-1]


def test_each_slice_has_its_own_slope(tmp_path):
    """As in PET, where fractions must not be cut off because the first slope is whole."""
    expected = write_series(tmp_path / "pet", slopes=(1, 0.5, 0.3, 0.7))
    np.testing.assert_allclose(read_volume(tmp_path / "pet").data, expected, rtol=1e-5, atol=1e-3)


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
    series = {str(pydicom.dcmread(p).SeriesInstanceUID) for p in (tmp_path / "two").iterdir()}
    with pytest.raises(BadInput, match="2 DICOM series") as caught:
        read_volume(tmp_path / "two")
    assert len(series) == 2
    assert all(uid in str(caught.value) for uid in series)
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


def change(path, **values):
    file = pydicom.dcmread(path)
    for name, value in values.items():
        setattr(file, name, value)
    file.save_as(path)


@pytest.mark.parametrize("size", [0, 200, 500, -10])
def test_a_truncated_last_slice_is_not_passed_over(size, tmp_path):
    write_series(tmp_path / "ct")
    path = tmp_path / "ct" / "003.dcm"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(BadInput, match=r"003\.dcm: a slice that cannot be used"):
        read_volume(tmp_path / "ct")


def test_what_is_not_an_image_lies_beside_a_series(tmp_path):
    expected = write_series(tmp_path / "ct")
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = BasicTextSRStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    report = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    report.SOPClassUID = BasicTextSRStorage
    report.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    report.save_as(tmp_path / "ct" / "report", enforce_file_format=True)
    (tmp_path / "ct" / "notes.txt").write_text("read me")
    np.testing.assert_allclose(read_volume(tmp_path / "ct").data, expected)


def test_slices_without_a_suffix_are_found(tmp_path):
    expected = write_series(tmp_path / "ct")
    for file in list((tmp_path / "ct").iterdir()):
        file.rename(file.with_suffix(""))
    assert list_volumes(tmp_path / "ct") == [tmp_path / "ct"]
    np.testing.assert_allclose(read_volume(tmp_path / "ct").data, expected)


def test_two_time_points_one_slice_and_lost_positions_are_named(tmp_path):
    write_series(tmp_path / "time")
    again = tmp_path / "time" / "again.dcm"
    again.write_bytes((tmp_path / "time" / "001.dcm").read_bytes())
    change(again, SOPInstanceUID=generate_uid())
    with pytest.raises(BadInput, match="same place"):
        read_volume(tmp_path / "time")
    write_series(tmp_path / "one", skip=(1, 2, 3))
    with pytest.raises(BadInput, match="holds one slice"):
        read_volume(tmp_path / "one")
    write_series(tmp_path / "lost")
    change(tmp_path / "lost" / "002.dcm", ImagePositionPatient=[])
    with pytest.raises(BadInput, match=r"002\.dcm: does not say where"):
        read_volume(tmp_path / "lost")


def test_slices_of_two_sizes_and_colour_are_named(tmp_path):
    write_series(tmp_path / "sizes")
    change(tmp_path / "sizes" / "002.dcm", Rows=5, Columns=4, PixelData=bytes(40))
    with pytest.raises(BadInput, match="cannot be read"):
        read_volume(tmp_path / "sizes")
    write_series(tmp_path / "colour")
    for file in (tmp_path / "colour").iterdir():
        change(
            file,
            SamplesPerPixel=3,
            PhotometricInterpretation="RGB",
            PlanarConfiguration=0,
            BitsAllocated=8,
            BitsStored=8,
            HighBit=7,
            PixelRepresentation=0,
            PixelData=bytes(90),
            RescaleSlope=1,
            RescaleIntercept=0,
        )
    with pytest.raises(BadInput, match="colour"):
        read_volume(tmp_path / "colour")


@pytest.mark.parametrize(
    ("orientation", "step"),
    [([0, 1, 0, 0, 0, -1], [2.5, 0, 0]), ([1, 0, 0, 0, 0, -1], [0, 2.5, 0])],
)
def test_sagittal_and_coronal_series_come_out_in_ras(orientation, step, tmp_path):
    write_series(tmp_path / "s")
    raw = np.random.default_rng(1).integers(0, 2000, SHAPE) * 2.0 - 1024
    for z in range(SHAPE[2]):
        change(
            tmp_path / "s" / f"{z:03d}.dcm",
            ImageOrientationPatient=orientation,
            ImagePositionPatient=[z * s for s in step],
        )
    # Columns run along the first direction, rows along the second, slices along the step.
    axes = [np.flatnonzero(d)[0] for d in (orientation[:3], orientation[3:], step)]
    signs = [d[a] for d, a in zip((orientation[:3], orientation[3:], step), axes, strict=True)]
    ras = [s if a == 2 else -s for s, a in zip(signs, axes, strict=True)]
    expected = np.flip(raw, [i for i in range(3) if ras[i] < 0]).transpose(np.argsort(axes))
    volume = read_volume(tmp_path / "s")
    np.testing.assert_allclose(volume.data, expected)
    assert volume.spacing == pytest.approx(np.array([0.6, 0.7, 2.5])[np.argsort(axes)])
