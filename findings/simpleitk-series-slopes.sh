#!/usr/bin/env bash
# SimpleITK cuts off fractions of a DICOM series whose first slice has a whole slope
#
# One would guess: every slice has a RescaleSlope of its own, as PET series do; SimpleITK applies
# each and gives a type that holds the results, as it does for a single slice and as pydicom does.
# What happens: the type of the whole volume is that of the first slice in space. If its slope is 1,
# the volume is of whole numbers, and what the slopes of other slices make is cut off towards 0: up
# to a unit off, without a warning; with slopes far below 1 nothing would be left. The same slices
# with another slope first are exact; so is the series when SetOutputPixelType(sitkFloat32) was
# asked for.
# Version: SimpleITK 2.5.7, pydicom 3.0.2, numpy 2.4.6.
# Source: the class documentation of ImageSeriesReader has the type come from the first image; what
# that does to slopes is seen here.
set -euo pipefail
. "$(dirname "$0")/_fresh.sh" SimpleITK==2.5.7 pydicom==3.0.2 numpy==2.4.6

"${python[@]}" - <<'END'
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.pixels import apply_rescale
from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid


def write(folder, slopes):
    """Write a PET series, a slope a slice, and return what pydicom reads of it."""
    folder.mkdir()
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    random = np.random.default_rng(0)
    for z, slope in enumerate(slopes):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = PositronEmissionTomographyImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        file.SOPClassUID = meta.MediaStorageSOPClassUID
        file.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        file.SeriesInstanceUID, file.StudyInstanceUID = series, study
        file.FrameOfReferenceUID = frame
        file.Modality, file.PatientID, file.InstanceNumber = "PT", "P", z + 1
        file.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        file.ImagePositionPatient = [0, 0, z]
        file.PixelSpacing, file.SliceThickness = [1, 1], 1
        file.Rows = file.Columns = 16
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        file.BitsAllocated = file.BitsStored = 16
        file.HighBit, file.PixelRepresentation = 15, 0
        file.RescaleSlope, file.RescaleIntercept = slope, 0
        file.PixelData = random.integers(0, 1000, (16, 16)).astype(np.uint16).tobytes()
        file.save_as(folder / f"{z}.dcm", enforce_file_format=True)
    slices = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    return np.stack([apply_rescale(slice_.pixel_array, slice_) for slice_ in slices])


def read(folder, type_=None):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    if type_ is not None:
        reader.SetOutputPixelType(type_)
    image = reader.Execute()
    return image.GetPixelIDTypeAsString(), sitk.GetArrayFromImage(image)


print(f"SimpleITK {sitk.Version.VersionString()}, pydicom {pydicom.__version__}")
off = {}
for name, slopes in {"whole": (1.0, 0.37, 0.41), "broken": (0.37, 1.0, 0.41)}.items():
    expected = write(Path(name), slopes)
    for asked, type_ in {"": None, ", as float32": sitk.sitkFloat32}.items():
        kind, volume = read(Path(name), type_)
        off[name + asked] = [float(np.abs(a - b).max()) for a, b in zip(volume, expected)]
        each = ", ".join(f"{value:.4f}" for value in off[name + asked])
        print(f"slopes {slopes}{asked}: {kind}, largest error of each slice {each}")
if not (off["whole"][0] == 0 and min(off["whole"][1:]) > 0.9):
    raise SystemExit("CHANGED: slices after a first one of slope 1 keep their fractions")
if max(max(off[name]) for name in off if name != "whole") > 1e-3:
    raise SystemExit("CHANGED: what was exact is no more")
print("as described: fractions are kept or cut by what the first slice's slope is")
END
