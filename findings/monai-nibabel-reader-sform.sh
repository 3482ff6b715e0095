#!/usr/bin/env bash
# MONAI's LoadImage drops an sform and turns left into right if pixdim disagrees with it
#
# One would guess: a NIfTI file with sform_code 3 and qform_code 0 lies where its sform says,
# whatever pixdim holds: so the standard has it, and so nibabel reads it.
# What happens: before it reads the affine, MONAI compares its voxel size with pixdim. Where they
# differ, it replaces the sform by the qform, although qform_code 0 says that there is none: what is
# left of it is pixdim on the diagonal and no origin. A volume that is stored from right to left, as
# many are, becomes one from left to right, Orientation then turns nothing, and there is no warning.
# A program that sets an sform and leaves pixdim alone writes such a file: nibabel's own
# header.set_sform does not touch pixdim.
# Version: monai 1.6.1, nibabel 5.4.2, numpy 2.4.6, torch 2.13.0.
# Source: rectify_header_sform_qform of monai/data/utils.py, called by NibabelReader.read.
set -euo pipefail
. "$(dirname "$0")/_fresh.sh" torch==2.13.0 monai==1.6.1 nibabel==5.4.2 numpy==2.4.6

"${python[@]}" - <<'END'
import monai
import nibabel as nib
import numpy as np
from monai.transforms import LoadImage

print(f"monai {monai.__version__}, nibabel {nib.__version__}")
affine = np.diag([-3.0, 3.0, 3.0, 1.0])
affine[:3, 3] = 60, -40, -30
said = {}
for pixdim in (3, 2):
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), None)
    image.header.set_zooms((pixdim,) * 3)
    image.header.set_sform(affine, code=3)
    image.header["qform_code"] = 0
    nib.save(image, "volume.nii")
    read = {"nibabel": nib.load("volume.nii").affine, "MONAI": LoadImage()("volume.nii").affine}
    for name, found in read.items():
        found = np.asarray(found, float)
        numbers = *found.diagonal()[:3].astype(int).tolist(), *found[:3, 3].astype(int).tolist()
        said[pixdim, name] = "".join(nib.aff2axcodes(found)), *numbers
        print(f"sform of 3 mm, pixdim {pixdim} mm, {name}: %s, diagonal %d %d %d, origin %d %d %d"
              % said[pixdim, name])
right = ("LAS", -3, 3, 3, 60, -40, -30)
if not said[3, "nibabel"] == said[2, "nibabel"] == said[3, "MONAI"] == right:
    raise SystemExit("CHANGED: the sform is not what was read")
if said[2, "MONAI"] != ("RAS", 2, 2, 2, 0, 0, 0):
    raise SystemExit("CHANGED: MONAI reads something else of the file whose pixdim disagrees")
print("as described: the same sform, another affine as soon as pixdim disagrees with it")
END
