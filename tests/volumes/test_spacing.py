"""Volumes of another voxel size are named: at the first scan and at the next one."""

from __future__ import annotations

import numpy as np
import pytest

import napari_memscan
from napari_memscan.volumes.cache import ArrayCache
from napari_memscan.volumes.preprocessing import MinMax, Preprocessing
from napari_memscan.volumes.reader import write_nifti
from napari_memscan.volumes.spacing import list_spacing_warnings
from napari_memscan.volumes.volume import Volume

UNKNOWN = (np.nan,) * 3


def of(**splits):
    return list_spacing_warnings(
        {
            name: ([f"{name}[{i}]" for i in range(len(sizes))], [np.array(s) for s in sizes])
            for name, sizes in splits.items()
        }
    )


def test_one_that_is_off_is_named_and_unknown_ones_are_not():
    mm = [(1.0, 1.0, 1.0)] * 3
    assert of(training=mm, validation=mm, synthetic=[UNKNOWN]) == []
    assert of(training=[*mm, (1.004, 1, 1)], validation=mm, synthetic=mm) == []
    assert of(training=[UNKNOWN], validation=[(1, 1, 1)], synthetic=[]) == []
    (told,) = of(training=[*mm, (1, 1, 2.0), UNKNOWN], validation=mm, synthetic=mm)
    assert told.startswith("1 of 5 training volumes has another voxel size")
    assert "training[3] 1 x 1 x 2, not 1 x 1 x 1 mm" in told
    (told,) = of(training=mm, validation=mm, synthetic=[(2.0, 2, 2)] * 2)
    assert told.startswith("2 of 2 synthetic volumes have")
    # More than 1 % apart: one of the two is told, wherever the median falls.
    assert len(of(training=[(1, 1, 1), (1.012, 1, 1)], validation=mm, synthetic=[])) >= 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root, random = tmp_path_factory.mktemp("sizes"), np.random.default_rng(0)
    for split, n, mm in (("training", 6, 1.0), ("validation", 4, 1.0), ("synthetic", 3, 2.0)):
        for i in range(n):
            data = random.random((16, 16, 16), np.float32)
            write_nifti(Volume(data, (mm, mm, mm)), root / split / f"{i}.nii.gz")
    return root


def test_a_scan_says_it_again_from_its_cache_and_not_where_volumes_are_resampled(folder, tmp_path):
    paths = [folder / split for split in ("training", "validation", "synthetic")]

    def scan(spacing, cache):
        recipe = Preprocessing(shape=(16, 16, 16), spacing=spacing, intensity=MinMax())
        return napari_memscan.scan(*paths, preprocessing=recipe, verify=False, cache=cache)

    cache = ArrayCache(tmp_path)
    first = scan(None, cache)
    (told,) = [w for w in first.warnings if "voxel size" in w]
    assert told.startswith("3 of 3 synthetic")
    assert "synthetic/0.nii.gz 2 x 2 x 2" in told
    assert scan(None, cache).to_json() == first.to_json() == scan(None, None).to_json()
    assert not [w for w in scan((1, 1, 1), cache).warnings if "voxel size" in w]
