"""One 3D image in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from napari_memscan.files import hash_json
from napari_memscan.typing import Array


@dataclass(frozen=True, eq=False)
class Volume:
    """One 3D image.

    Attributes
    ----------
    data : array (X, Y, Z), float32
        Intensities, axes in RAS order: X grows to the right, Y to anterior, Z to superior.
    spacing : (float, float, float) or None
        Voxel size in mm along X, Y, Z; None when the file does not say.
    path : Path or None
        Where it was read from.
    """

    data: NDArray[np.float32]
    spacing: tuple[float, float, float] | None = None
    path: Path | None = None


class VolumeSequence(Protocol):
    """Volumes (X, Y, Z) by number: an array (N, X, Y, Z), a list, or what reads them when asked."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int, /) -> Array: ...


def compute_content_key(sha256: str, axes: str = "", spacing: str = "") -> str:
    """Return what stands for a volume as it is read; part of every key of what is made of it.

    Parameters
    ----------
    sha256 : str
        Of the file's bytes, or of all files of a DICOM series.
    axes, spacing : str
        What a table says of how to read it; '' for nothing. See `cohort.CohortRow`.
    """
    return hash_json(["content", sha256, axes, spacing]) if axes or spacing else sha256
