"""DICOM series to volumes."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from napari_memscan.errors import BadInput
from napari_memscan.volumes.volume import Volume

DICOM_SUFFIXES = (".dcm", ".ima")
SIZES = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
"""Elements of which one says how large a pixel is."""
FIRST_FILES = 4
"""So many files without an ending are looked into: others may lie beside the slices."""


def read_dicom_series(folder: str | Path) -> Volume:
    """Read the one image series in a folder, rescaled (CT: to HU) and brought to RAS.

    Parameters
    ----------
    folder : path
        Holds the slices of one series.

    Returns
    -------
    Volume
        float32; axes are those nearest to RAS, spacing from the header, None where it says none.

    Raises
    ------
    BadInput
        No series, more than one, slices that are missing or cannot be read, colour.
    """
    import SimpleITK as sitk  # noqa: N813

    folder = Path(folder)
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if not series:
        raise BadInput(f"{folder}: holds no DICOM series. Choose the folder of its slices.")
    if len(series) > 1:
        raise BadInput(
            f"{folder}: holds {len(series)} DICOM series ({', '.join(series)}); one is expected. "
            "Put each series into a folder of its own."
        )
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0])
    sized = _check_slices(folder, files)
    _check_unused(folder, files)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    # Else all slices take the type of the first: fractions of the others' slopes would be cut off.
    reader.SetOutputPixelType(sitk.sitkFloat32)
    try:
        image = reader.Execute()
        if image.GetNumberOfComponentsPerPixel() != 1 or image.GetDimension() != 3:
            raise BadInput(f"{folder}: a colour or multi-frame series; one grey value is expected.")
        if min(image.GetSize()) < 2:
            raise BadInput(f"{folder}: holds one slice; a 3D volume is expected. Export them all.")
        # RAS here is the direction in which an axis grows; SimpleITK calls that LPS reversed.
        image = sitk.DICOMOrient(image, "RAS")
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise BadInput(
            f"{folder}: the series cannot be read ({reason}). Export it again."
        ) from error
    data = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    x, y, z = image.GetSpacing()
    data = np.ascontiguousarray(data, dtype=np.float32)
    return Volume(data, (x, y, z) if sized else None, folder)


def _check_slices(folder: Path, files: tuple[str, ...]) -> bool:
    """Refuse holes and missing pixels: the reader would squeeze the one and fill the other.

    Return whether the slices say their size: the reader takes 1 mm where they do not.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    positions = []
    sized = True
    for file in files:
        try:
            # The pixels stay unread: the reader of the series reads them.
            header = pydicom.dcmread(file, defer_size="1 KB")
        except (InvalidDicomError, OSError, EOFError) as error:
            raise BadInput(f"{file}: not a readable DICOM file ({error}).") from error
        _check_pixels(file, header)
        sized = sized and any(name in header for name in SIZES)
        if "ImagePositionPatient" in header and "ImageOrientationPatient" in header:
            o = np.array(header.ImageOrientationPatient, float)
            p = np.array(header.ImagePositionPatient, float)
            if o.shape != (6,) or p.shape != (3,):
                raise BadInput(f"{file}: does not say where its slice lies. Export it again.")
            positions.append(float(np.cross(o[:3], o[3:]) @ p))
    gaps = np.abs(np.diff(np.sort(positions)))
    if len(gaps) and gaps.min() < 1e-3:
        raise BadInput(
            f"{folder}: two slices lie at the same place. One time point or echo is expected; "
            "put each into a folder of its own."
        )
    if len(gaps) and gaps.max() > 1.5 * gaps.min():
        raise BadInput(
            f"{folder}: slices are missing (gaps between {gaps.min():.2f} and {gaps.max():.2f} "
            "mm). Export the whole series."
        )
    return sized


def _check_unused(folder: Path, files: tuple[str, ...]) -> None:
    """Refuse slices that were passed over: a truncated one at either end leaves no gap."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    def kind(path: Path) -> Any:
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
        except (InvalidDicomError, OSError, EOFError):
            return None
        return header.file_meta.get("MediaStorageSOPClassUID")

    used = {Path(file).name for file in files}
    images = kind(Path(files[0]))
    for path in sorted(folder.iterdir()):
        if path.name in used or path.name.startswith(".") or not is_dicom(path):
            continue
        if kind(path) in (None, images):
            raise BadInput(
                f"{path}: a slice that cannot be used. It may be truncated: export the series "
                "again."
            )


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM by its name, or by its first bytes where that says nothing."""
    if path.suffix.lower() in DICOM_SUFFIXES:
        return path.is_file()
    if not _may_be_dicom(path) or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def holds_dicom(folder: Path) -> bool:
    """Return whether a folder holds slices, by names or by the first files that names leave open.

    Opening a file takes long on a network drive, and most folders hold none of them.
    """
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if any(path.suffix.lower() in DICOM_SUFFIXES and path.is_file() for path in files):
        return True
    unnamed = (path for path in files if _may_be_dicom(path) and path.is_file())
    return any(is_dicom(path) for path in islice(unnamed, FIRST_FILES))


def _may_be_dicom(path: Path) -> bool:
    """Whether a name has no ending, or a number as the last part of a UID or of a series."""
    return path.suffix[1:].isdigit() or not path.suffix


def _check_pixels(file: str, header: Any) -> None:
    element = header.get_item("PixelData", keep_deferred=True)
    wanted = header.get("Rows", 0) * header.get("Columns", 0) * header.get("BitsAllocated", 0) // 8
    syntax = header.file_meta.get("TransferSyntaxUID")
    raw = syntax is not None and not syntax.is_compressed
    if element is None:
        stored = 0
    elif element.value is not None:
        stored = len(element.value)
    elif syntax is not None and syntax.is_deflated:
        stored = element.length
    else:
        stored = min(element.length, Path(file).stat().st_size - element.value_tell)
    if stored <= 0 or (raw and stored < wanted):
        raise BadInput(
            f"{file}: holds {max(0, stored)} of {wanted} bytes of pixels. It may be "
            "truncated: export the series again."
        )
