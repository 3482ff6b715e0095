"""Window and level: what is black and what is white, in the units that a radiologist reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_memscan.typing import Array

Limits = tuple[float, float]

CT_PRESETS = {
    "Abdomen": (350.0, 40.0),
    "Bone": (1000.0, 400.0),
    "Brain": (100.0, 50.0),
    "Lung": (1400.0, -500.0),
}
"""Width and level in HU, as in 3D Slicer."""
PERCENTILE_PRESETS = {"1-99 %": (1.0, 99.0), "5-95 %": (5.0, 95.0), "25-99.5 %": (25.0, 99.5)}
"""For MR, which has no fixed units: measured over the pair."""
FULL_RANGE = "Full"
MIN_WIDTH = 1e-3
"""The smallest width, of an intensity range of 1."""


@dataclass(frozen=True)
class IntensityUnits:
    """What 0 and 1 of a preprocessed volume are.

    Attributes
    ----------
    low, high : float
        In `unit`.
    unit : str
        ``HU``, or empty where there is none: then numbers are in percent of the range.
    """

    low: float = 0.0
    high: float = 100.0
    unit: str = ""

    @property
    def known(self) -> bool:
        """Whether numbers are those of the scanner."""
        return bool(self.unit)

    def number(self, value: float) -> float:
        """Return a voxel's value in units."""
        return self.low + value * (self.high - self.low)

    def value(self, number: float) -> float:
        """Return the voxel value of a number in units."""
        return (number - self.low) / (self.high - self.low)

    def width_level(self, limits: Limits) -> tuple[float, float]:
        """Return width and level in units."""
        low, high = (self.number(v) for v in limits)
        return high - low, (low + high) / 2

    def limits(self, width: float, level: float) -> Limits:
        """Return the voxel values that are black and white."""
        return self.value(level - width / 2), self.value(level + width / 2)

    def text(self, limits: Limits) -> str:
        """Return ``W 350  L 40 HU``."""
        width, level = self.width_level(limits)
        return f"W {width:.0f}  L {level:.0f} {self.unit or '%'}"


def list_window_presets(modality: str, units: IntensityUnits) -> tuple[str, ...]:
    """Return the names of the windows that make sense.

    Those of CT where values are Hounsfield units, and of these the ones that show anything: what
    lies outside the window of the preprocessing was cut off by it.
    """
    if not (units.known and modality.upper() in ("", "CT")):
        return (FULL_RANGE, *PERCENTILE_PRESETS)
    names = []
    for name, (width, level) in CT_PRESETS.items():
        low, high = units.limits(width, level)
        if min(high, 1.0) - max(low, 0.0) >= 0.25 * (high - low):
            names.append(name)
    return (FULL_RANGE, *names)


def compute_preset_limits(name: str, units: IntensityUnits, arrays: Sequence[Array]) -> Limits:
    """Return the limits of a preset.

    Parameters
    ----------
    name : str
        One of `list_window_presets`.
    units : IntensityUnits
    arrays : sequence of arrays (X, Y, Z)
        What percentiles are measured over; NaN does not count.
    """
    if name in CT_PRESETS:
        return units.limits(*CT_PRESETS[name])
    if name in PERCENTILE_PRESETS and arrays:
        # Every third voxel along each axis: the same percentiles in a fraction of the time.
        values = np.concatenate([array[::3, ::3, ::3].ravel() for array in arrays])
        values = values[np.isfinite(values)]
        if values.size:
            low, high = np.percentile(values, PERCENTILE_PRESETS[name])
            return order_limits(float(low), float(high))
    return 0.0, 1.0


def compute_dragged_limits(limits: Limits, right: float, up: float) -> Limits:
    """Return limits after a drag.

    Parameters
    ----------
    limits : (float, float)
        When the mouse was pressed.
    right, up : float
        How far the mouse was moved, in shares of the canvas. To the right the window is wider,
        upwards the level is lower and the picture brighter.
    """
    low, high = limits
    width = max((high - low) * float(np.exp(2 * right)), MIN_WIDTH)
    level = (low + high) / 2 - up * max(high - low, 0.05)
    return order_limits(level - width / 2, level + width / 2)


def order_limits(low: float, high: float) -> Limits:
    """Return limits that napari takes: ordered, and apart."""
    low, high = float(min(low, high)), float(max(low, high))
    if high - low < MIN_WIDTH:
        middle = (low + high) / 2
        low, high = middle - MIN_WIDTH / 2, middle + MIN_WIDTH / 2
    return low, high
