#!/usr/bin/env bash
# nibabel: get_zooms() after as_closest_canonical depends on how the file was stored
#
# One would guess: turning an image to RAS reorders its voxel sizes and changes none; and the
# header's voxel sizes are those of the affine that nibabel reports.
# What happens: get_zooms() is pixdim, which the affine does not come from where an sform is set. A
# volume that has to be turned gets a new header, whose pixdim is made from the affine; one that is
# RAS already is returned as it is. So of files that differ in nothing but their order on disk
# (sform 3 mm, pixdim 2 mm) those in RAS have voxels of 2 mm afterwards and all others of 3 mm. The
# affine says 3 mm for all: nibabel.affines.voxel_sizes(image.affine) is what to ask.
# Version: nibabel 5.4.2, numpy 2.4.6.
# Source: Nifti1Pair.as_reoriented (returns self where nothing is to be turned) and
# Nifti1Header.get_zooms of nibabel/nifti1.py.
set -euo pipefail
. "$(dirname "$0")/_fresh.sh" nibabel==5.4.2 numpy==2.4.6

"${python[@]}" - <<'END'
import nibabel as nib
import numpy as np

print(f"nibabel {nib.__version__}, numpy {np.__version__}")
found = {}
for axes in ("RAS", "LAS", "LPS", "PSR"):
    affine = np.eye(4)
    for column, letter in enumerate(axes):
        row = next(i for i, pair in enumerate(("LR", "PA", "IS")) if letter in pair)
        affine[:3, column] = 0
        affine[row, column] = 3 if letter in "RAS" else -3
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), None)
    image.header.set_zooms((2, 2, 2))
    image.header.set_sform(affine, code=3)
    image.header["qform_code"] = 0
    nib.save(image, "volume.nii")
    image = nib.load("volume.nii")
    turned = nib.as_closest_canonical(image)
    zooms = [tuple(map(float, i.header.get_zooms())) for i in (image, turned)]
    sizes = tuple(map(float, nib.affines.voxel_sizes(turned.affine)))
    found["".join(nib.aff2axcodes(image.affine))] = zooms[1]
    print(f"{axes}: zooms {zooms[0]}, turned {zooms[1]}, "
          f"of the affine {sizes}")
    if zooms[0] != (2, 2, 2) or not np.allclose(sizes, 3):
        raise SystemExit("CHANGED: pixdim or affine of the file are read otherwise")
if found != {"RAS": (2, 2, 2), "LAS": (3, 3, 3), "LPS": (3, 3, 3), "PSR": (3, 3, 3)}:
    raise SystemExit("CHANGED: voxel sizes after turning are not those described")
print("as described: 2 mm for the volume that was RAS, 3 mm for all others")
END
