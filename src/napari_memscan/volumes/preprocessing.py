"""One explicit recipe that real and synthetic volumes both go through before they are compared."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_memscan.errors import BadInput
from napari_memscan.files import hash_json
from napari_memscan.typing import Array
from napari_memscan.volumes.validation import check_finite
from napari_memscan.volumes.volume import Volume

VERSION = 1
"""Changes whenever the same recipe would give other voxels; part of the hash."""

AxisLength = Annotated[int, Field(ge=4, le=1024)]


class _FrozenModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Window(_FrozenModel):
    """Fixed window: `low` becomes 0, `high` becomes 1. For CT, in HU."""

    rule: Literal["window"] = "window"
    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Window:
        if not self.low < self.high:
            raise ValueError(f"the window's low ({self.low}) must be below its high ({self.high})")
        return self

    def limits(self, data: Array) -> tuple[float, float]:
        """Return the intensities that become 0 and 1."""
        return self.low, self.high


class Percentile(_FrozenModel):
    """Percentiles of each volume: `low` becomes 0, `high` becomes 1. For MR."""

    rule: Literal["percentile"] = "percentile"
    low: float = Field(1.0, ge=0, le=100)
    high: float = Field(99.0, ge=0, le=100)

    @model_validator(mode="after")
    def _ordered(self) -> Percentile:
        if not self.low < self.high:
            raise ValueError(f"percentile low ({self.low}) must be below high ({self.high})")
        return self

    def limits(self, data: Array) -> tuple[float, float]:
        """Return the intensities that become 0 and 1."""
        low, high = np.percentile(data, [self.low, self.high])
        return float(low), float(high)


class MinMax(_FrozenModel):
    """Minimum of each volume becomes 0, its maximum 1."""

    rule: Literal["minmax"] = "minmax"

    def limits(self, data: Array) -> tuple[float, float]:
        """Return the intensities that become 0 and 1."""
        return float(data.min()), float(data.max())


class Preprocessing(_FrozenModel):
    """Resample, scale intensities, crop or pad.

    Attributes
    ----------
    shape : (int, int, int)
        Voxels along X, Y, Z afterwards: cropped or padded about the centre.
    spacing : (float, float, float) or None
        Voxel size in mm to resample to (linear); None keeps the voxels as they are.
    intensity : Window, Percentile or MinMax
        What becomes 0 and 1; measured before cropping, clipped to [0, 1]. Padding is 0.
    """

    shape: tuple[AxisLength, AxisLength, AxisLength]
    spacing: (
        tuple[
            Annotated[float, Field(gt=0)],
            Annotated[float, Field(gt=0)],
            Annotated[float, Field(gt=0)],
        ]
        | None
    ) = None
    intensity: Annotated[Window | Percentile | MinMax, Field(discriminator="rule")]

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits that change whenever the result would."""
        return hash_json({"version": VERSION, **self.model_dump(mode="json")})

    def key(self, content: str) -> str:
        """Return what stands for a preprocessed volume; see `volume.compute_content_key`."""
        return hash_json(["array", content, self.hash])

    def apply(self, volume: Volume) -> Array:
        """Bring a volume to this recipe's shape and to [0, 1].

        Parameters
        ----------
        volume : Volume
            Any shape and units.

        Returns
        -------
        array (X, Y, Z), float32
            Of `shape`, in [0, 1].

        Raises
        ------
        BadInput
            The volume holds NaN or infinity, is constant, or has no spacing though resampling
            is asked for.
        """
        name = volume.path or "volume"
        data = volume.data
        if data.ndim != 3 or data.size == 0:
            raise BadInput(f"{name}: a 3D volume is expected, this has shape {data.shape}.")
        check_finite(data, name)
        if self.spacing is not None:
            data = _resample(volume, self.spacing)
        low, high = self.intensity.limits(data)
        if data.min() == data.max() or not high > low:
            raise BadInput(
                f"{name}: (nearly) every voxel has the same value; nothing can be compared. "
                "Remove this volume, or choose another intensity rule."
            )
        scaled = np.clip((data - np.float32(low)) / np.float32(high - low), 0, 1)
        return _crop_or_pad(scaled.astype(np.float32), self.shape)


def _resample(volume: Volume, spacing: tuple[float, float, float]) -> Array:
    from scipy.ndimage import zoom

    if volume.spacing is None:
        raise BadInput(
            f"{volume.path or 'volume'}: its voxel size is unknown, so it cannot be resampled to "
            f"{spacing} mm. Give 'spacing' in the cohort, or leave preprocessing.spacing out."
        )
    factors = [old / new for old, new in zip(volume.spacing, spacing, strict=True)]
    if np.allclose(factors, 1, atol=1e-3):
        return volume.data
    if any(n * factor < 1 for n, factor in zip(volume.data.shape, factors, strict=True)):
        raise BadInput(
            f"{volume.path or 'volume'}: shape {volume.data.shape} at {volume.spacing} mm is "
            f"smaller than one voxel of {spacing} mm. Make preprocessing.spacing finer."
        )
    return zoom(volume.data, factors, order=1, mode="nearest", grid_mode=True).astype(np.float32)


def _crop_or_pad(data: Array, shape: tuple[int, int, int]) -> Array:
    result = np.zeros(shape, np.float32)
    source, target = [], []
    for have, want in zip(data.shape, shape, strict=True):
        n = min(have, want)
        source.append(slice((have - n) // 2, (have - n) // 2 + n))
        target.append(slice((want - n) // 2, (want - n) // 2 + n))
    result[tuple(target)] = data[tuple(source)]
    return result
