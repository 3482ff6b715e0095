"""DICOM series to volumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_memscan.errors import BadInput
from napari_memscan.volumes.volume import Volume


def read_dicom_series(folder: str | Path) -> Volume:
    """Read the one image series in a folder, rescaled (CT: to HU) and brought to RAS.

    Parameters
    ----------
    folder : path
        Holds the slices of one series.

    Returns
    -------
    Volume
        float32; axes are those nearest to RAS, spacing from the header.

    Raises
    ------
    BadInput
        No series, more than one, slices that are missing or cannot be read, colour.
    """
    import SimpleITK as sitk  # noqa: N813

    folder = Path(folder)
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        what = "no DICOM series" if not series else f"{len(series)} DICOM series"
        raise BadInput(f"{folder}: holds {what}; one is expected. Put each series into a folder.")
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0])
    _check_slices(folder, files)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    try:
        image = reader.Execute()
        if image.GetNumberOfComponentsPerPixel() != 1 or image.GetDimension() != 3:
            raise BadInput(f"{folder}: a colour or multi-frame series; one grey value is expected.")
        # RAS here is the direction in which an axis grows; SimpleITK calls that LPS reversed.
        image = sitk.DICOMOrient(image, "RAS")
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise BadInput(
            f"{folder}: the series cannot be read ({reason}). Export it again."
        ) from error
    data = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    x, y, z = image.GetSpacing()
    return Volume(np.ascontiguousarray(data, dtype=np.float32), (x, y, z), folder)


def _check_slices(folder: Path, files: tuple[str, ...]) -> None:
    """Refuse holes and missing pixels: the reader would squeeze the one and fill the other."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    positions = []
    for file in files:
        try:
            header = pydicom.dcmread(file)
        except (InvalidDicomError, OSError, EOFError) as error:
            raise BadInput(f"{file}: not a readable DICOM file ({error}).") from error
        _check_pixels(file, header)
        if "ImagePositionPatient" in header and "ImageOrientationPatient" in header:
            o = np.array(header.ImageOrientationPatient, float)
            normal = np.cross(o[:3], o[3:])
            positions.append(float(normal @ np.array(header.ImagePositionPatient, float)))
    gaps = np.abs(np.diff(np.sort(positions)))
    if len(gaps) and gaps.max() > 1.5 * max(float(gaps.min()), 1e-6):
        raise BadInput(
            f"{folder}: slices are missing (gaps between {gaps.min():.2f} and {gaps.max():.2f} "
            "mm). Export the whole series."
        )


def _check_pixels(file: str, header: Any) -> None:
    stored = header.get("PixelData")
    wanted = header.get("Rows", 0) * header.get("Columns", 0) * header.get("BitsAllocated", 0) // 8
    raw = not header.file_meta.TransferSyntaxUID.is_compressed
    if not stored or (raw and len(stored) < wanted):
        raise BadInput(
            f"{file}: holds {len(stored or b'')} of {wanted} bytes of pixels. It may be "
            "truncated: export the series again."
        )
