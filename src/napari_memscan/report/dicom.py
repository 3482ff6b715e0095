"""Released volumes as DICOM series that say nothing but voxels, voxel size and "synthetic"."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from napari_memscan.files import write_atomically
from napari_memscan.volumes.reader import read_volume

if TYPE_CHECKING:
    from napari_memscan.volumes.volume import Volume

DICOM_FOLDER = "dicom"
"""Folder of the series in a release; one below it for each volume."""
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
MAX_STORED_VALUE = 2**16 - 1


def get_series_folder(file: str) -> str:
    """Return the folder of a volume's series, by the volume's file in the release."""
    return f"{DICOM_FOLDER}/{PurePosixPath(file).name.removesuffix('.nii.gz')}"


def write_series(folder: Path, file: str) -> None:
    """Write the series of a volume of a release beside it; the same volume gives the same bytes.

    Parameters
    ----------
    folder : Path
        Of the release.
    file : str
        The volume in it.
    """
    for name, data in encode_series(folder, file):
        with write_atomically(folder / name) as part:
            part.write_bytes(data)


def find_differing_slices(folder: Path, file: str, sums: dict[str, str]) -> Iterator[str]:
    """Yield files of a series that are not what `write_series` writes of the volume beside it.

    Parameters
    ----------
    folder, file
        As for `write_series`.
    sums : dict of str to str
        All files of the release with their SHA-256; those of the series are taken out.
    """
    for name, data in encode_series(folder, file):
        digest = sums.pop(name, None)
        if digest is None:
            yield f"{name}: missing"
        elif digest != hashlib.sha256(data).hexdigest():
            yield f"{name}: holds something else than {file} and its voxel size"


def encode_series(folder: Path, file: str) -> Iterator[tuple[str, bytes]]:
    """Yield the slices of a volume of a release: path in the release, and bytes.

    Voxels are whole numbers from 0 to 65535 with one slope and intercept a volume (the value is
    off by at most half a slope; CT in whole HU is exact). Rows run to posterior and columns to
    left. There are no dates; UIDs are made of the volume's own bytes (PS3.5 B.2). A volume of
    unknown voxel size has slices that say none, nor where they lie: their numbers are their order.
    """
    volume = read_volume(folder / file)
    key = hashlib.sha256((folder / file).read_bytes()).hexdigest()
    slope, intercept = _compute_rescale(volume)
    stored = np.rint((volume.data.astype(np.float64) - float(intercept)) / float(slope))
    pixels = stored.clip(0, MAX_STORED_VALUE).astype("<u2")[::-1, ::-1]
    name = get_series_folder(file)
    for z in range(pixels.shape[2]):
        data = _encode_slice(
            volume, pixels[:, :, z].T, z, key, name.split("/")[-1], slope, intercept
        )
        yield f"{name}/slice-{z + 1:04d}.dcm", data


def _compute_rescale(volume: Volume) -> tuple[str, str]:
    """Return slope and intercept as they are written: texts of at most 16 characters."""
    low, high = float(volume.data.min()), float(volume.data.max())
    whole = high - low <= MAX_STORED_VALUE and bool(np.all(volume.data == np.rint(volume.data)))
    if whole:
        return "1", f"{low:.0f}"
    # A little more than needed, so that rounding the text cuts nothing off.
    step = max((high - low) / (MAX_STORED_VALUE - 1), np.finfo(np.float32).tiny)
    return f"{step:.9e}", f"{low:.8e}"


def _encode_slice(
    volume: Volume, pixels: np.ndarray, z: int, key: str, name: str, slope: str, intercept: str
) -> bytes:
    from pydicom.dataset import FileDataset, FileMetaDataset

    def uid(*of: object) -> str:
        number = int(hashlib.sha256(repr((key, *of)).encode()).hexdigest()[:32], 16)
        return f"2.25.{number}"

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SECONDARY_CAPTURE
    meta.MediaStorageSOPInstanceUID = uid("slice", z)
    meta.TransferSyntaxUID = EXPLICIT_LITTLE_ENDIAN
    meta.ImplementationClassUID = "2.25.253270929733215129428246838253746125411"
    meta.ImplementationVersionName = "MEMSCAN"
    said = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    said.ImageType = ["DERIVED", "SECONDARY"]
    said.SOPClassUID, said.SOPInstanceUID = SECONDARY_CAPTURE, meta.MediaStorageSOPInstanceUID
    for empty in (
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "ReferringPhysicianName",
        "PatientBirthDate",
        "PatientSex",
        "StudyID",
    ):
        setattr(said, empty, "")
    said.Modality, said.ConversionType = "OT", "SYN"
    said.SeriesDescription = "Synthetic volume: no person"
    said.PatientName, said.PatientID = f"Synthetic^{name}", name
    said.PatientIdentityRemoved, said.BurnedInAnnotation = "YES", "NO"
    said.DeidentificationMethod = "made by a generative model, written anew by memscan"
    said.StudyInstanceUID, said.SeriesInstanceUID = uid("study"), uid("series")
    said.SeriesNumber, said.InstanceNumber = 1, z + 1
    if volume.spacing is not None:
        # The object class allows images of unknown size, and 1 mm would be made up.
        x, y, depth = (float(f"{size:.9g}") for size in volume.spacing)
        said.PixelSpacing, said.SliceThickness, said.SpacingBetweenSlices = [y, x], depth, depth
        said.FrameOfReferenceUID, said.PositionReferenceIndicator = uid("frame"), ""
        said.ImagePositionPatient = [0, 0, float(f"{z * depth:.9g}")]
        said.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    said.SamplesPerPixel, said.PhotometricInterpretation = 1, "MONOCHROME2"
    said.Rows, said.Columns = pixels.shape
    said.BitsAllocated = said.BitsStored = 16
    said.HighBit, said.PixelRepresentation = 15, 0
    said.RescaleSlope, said.RescaleIntercept, said.RescaleType = slope, intercept, "US"
    said.PixelData = np.ascontiguousarray(pixels).tobytes()
    written = BytesIO()
    said.save_as(written, enforce_file_format=True)
    return written.getvalue()
