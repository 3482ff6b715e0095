"""Voxel sizes of volumes that are compared voxel by voxel: known, alike, or told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.typing import Split
from napari_memscan.volumes.volume import Volume

Spacing = tuple[float, float, float]

SPACING_TOLERANCE = 0.005
"""Share that a voxel size may be off the median: two that are 1 % apart are not both within it."""


def get_known_spacing(volume: Volume) -> NDArray[np.float64]:
    """Return the voxel size (3,) of a volume in mm; NaN where its file does not say."""
    return np.array(volume.spacing or (np.nan,) * 3, np.float64)


def compute_median_spacing(spacings: Sequence[Any]) -> Spacing:
    """Return the median voxel size in mm of those that are known (NaN: not); 1 mm if none is."""
    known = [s for s in spacings if np.isfinite(s).all()]
    x, y, z = np.median(known, axis=0).tolist() if known else (1.0, 1.0, 1.0)
    return (x, y, z)


def list_spacing_warnings(splits: Mapping[Split, tuple[Sequence[str], Sequence[Any]]]) -> list[str]:
    """Return which volumes have another voxel size than training has at the median.

    Parameters
    ----------
    splits : mapping of Split to (names, spacings)
        Of volumes that are not resampled: one name and one array (3,) a volume, in mm, NaN where
        it is not known. ``training`` is among them.
    """
    usual = np.array(compute_median_spacing(splits[Split.TRAINING][1]))
    warnings = []
    for split, (names, spacings) in splits.items():
        if not len(names):
            continue
        away = np.abs(np.array(spacings, np.float64) / usual - 1).max(axis=1)
        away[np.isnan(away)] = 0
        n, worst = int((away > SPACING_TOLERANCE).sum()), int(away.argmax())
        if n:
            warnings.append(
                f"{n} of {len(names)} {split} volumes {'has' if n == 1 else 'have'} another voxel"
                f" size than training has at the median: {names[worst]}"
                f" {_format_spacing(spacings[worst])}, not {_format_spacing(usual)} mm. Without"
                " resampling they are compared voxel by voxel as if equal, and their displacements"
                " in mm are wrong. Set preprocessing.spacing."
            )
    return warnings


def _format_spacing(spacing: Any) -> str:
    return " x ".join(f"{mm:.4g}" for mm in spacing)
