#!/usr/bin/env bash
# napari sets the contrast of a large volume by three of its slices
#
# One would guess: the contrast limits of a new image layer span its data: the smallest and the
# largest value, or those of numbers drawn from all of it, in any case with what a whole slab holds.
# What happens: above ten million voxels only the first, the middle and the last slice are looked
# at. Here 20 of 300 slices hold a body of 1500 in nothing but zeros: as a volume of 256 x 256 x 300
# it is shown between 0 and 1, every voxel of the body plain white, while half of the same volume,
# which is below ten million, is shown between 0 and 1500. reset_contrast_limits, called for the
# whole volume, comes to the same limits.
# Version: napari 0.9.2, numpy 2.4.6; no window is opened.
# Source: calc_data_range of napari/layers/utils/layer_utils.py.
set -euo pipefail
. "$(dirname "$0")/_fresh.sh" napari==0.9.2 numpy==2.4.6

"${python[@]}" - <<'END'
import napari
import numpy as np
from napari.layers import Image

print(f"napari {napari.__version__}, numpy {np.__version__}")
volume = np.zeros((300, 256, 256), np.int16)
volume[40:60, 64:192, 64:192] = 1500
limits = {}
for name, data in {"whole": volume, "half": volume[:150]}.items():
    layer = Image(data)
    before = tuple(map(float, layer.contrast_limits))
    layer.reset_contrast_limits(mode="data")
    limits[name] = before, tuple(map(float, layer.contrast_limits))
    print(f"{name}: {data.size:,} voxels from {data.min()} to {data.max()}: limits {before}, "
          f"after a reset {limits[name][1]}")
if limits["half"] != ((0, 1500), (0, 1500)):
    raise SystemExit("CHANGED: a smaller volume is not spanned")
if limits["whole"] != ((0, 1), (0, 1)):
    raise SystemExit("CHANGED: a larger volume is spanned by other limits")
print("as described: above ten million voxels a body between three slices is missed")
END
