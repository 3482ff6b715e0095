#!/usr/bin/env bash
# dcm2niix: whether a missing slice is filled in depends on how many bits the pixels have
#
# One would guess: a gap in a series is a matter of positions. dcm2niix either refuses it, or writes
# a volume with the true distances, whatever type the pixels have.
# What happens: under the name that was asked for it always writes the slices pushed together, at
# the distance of the first two, so that all anatomy behind the gap lies one slice too near. Beside
# it there is a second file with _Eq in its name, resampled to equal distances, and the exit status
# is 0. Not so for unsigned pixels of 16 bits: dcm2niix then says that it can do this for 16-bit
# data only and ends with 1, and the squeezed volume stays there as the only one. What differs
# between the series here is BitsStored and PixelRepresentation; the numbers are the same.
# Version: dcm2niix 1.0.20260724 (the package of that name), pydicom 3.0.2, nibabel 5.4.2.
# Source: seen in what it writes and says, in its log and exit status.
set -euo pipefail
. "$(dirname "$0")/_fresh.sh" dcm2niix==1.0.20260724 pydicom==3.0.2 nibabel==5.4.2 numpy==2.4.6

"${python[@]}" - <<'END'
import subprocess
from importlib.metadata import version
from pathlib import Path

import dcm2niix
import nibabel as nib
import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SLICES, MISSING = 20, 11


def write(folder, bits, signed):
    """Write a CT series of 20 slices at 1 mm without the twelfth."""
    folder.mkdir()
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    random = np.random.default_rng(0)
    for z in range(SLICES):
        raw = random.integers(0, 1000, (16, 16)).astype(np.uint16)
        if z == MISSING:
            continue
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        file.SOPClassUID = CTImageStorage
        file.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        file.SeriesInstanceUID, file.StudyInstanceUID = series, study
        file.FrameOfReferenceUID = frame
        file.Modality, file.PatientID, file.InstanceNumber = "CT", "P", z + 1
        file.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        file.ImagePositionPatient = [0, 0, z]
        file.PixelSpacing, file.SliceThickness = [1, 1], 1
        file.Rows = file.Columns = 16
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        file.BitsAllocated, file.BitsStored, file.HighBit = 16, bits, bits - 1
        file.PixelRepresentation = signed
        file.RescaleSlope, file.RescaleIntercept = 1, -1024
        file.PixelData = raw.tobytes()
        file.save_as(folder / f"{z:02d}.dcm", enforce_file_format=True)


print(f"dcm2niix {version('dcm2niix')}; {SLICES - 1} of {SLICES} slices at 1 mm")
for bits, signed in ((12, 0), (15, 0), (16, 0), (16, 1)):
    name = f"{bits} bits, {'signed' if signed else 'unsigned'}"
    write(Path(name), bits, signed)
    made = Path(f"{name}, made")
    made.mkdir()
    command = [dcm2niix.bin, "-o", made, "-f", "volume", "-z", "n", "-b", "n", name]
    run = subprocess.run(command, capture_output=True, text=True)
    files = {path.name: nib.load(path) for path in sorted(made.glob("*.nii"))}
    said = {
        file: (image.shape[2], float(image.header.get_zooms()[2])) for file, image in files.items()
    }
    print(f"{name}: exit status {run.returncode}; slices and their distance: {said}")
    expected = {"volume.nii": (SLICES - 1, 1.0), "volume_Eq_1.nii": (SLICES, 1.0)}
    unable = (bits, signed) == (16, 0)
    if unable:
        del expected["volume_Eq_1.nii"]
        print("   ", *(line for line in run.stdout.splitlines() if "equidistant" in line))
    if said != expected or run.returncode != unable:
        raise SystemExit(f"CHANGED: expected exit status {int(unable)} and {expected}")
print("as described: squeezed in all, filled in beside it but for unsigned 16 bits")
END
