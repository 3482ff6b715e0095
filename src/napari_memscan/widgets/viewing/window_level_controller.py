"""The window of all panes: presets, numbers, and the mouse."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QObject, Signal

from napari_memscan.typing import Array
from napari_memscan.widgets.viewing import window_level as window
from napari_memscan.widgets.viewing.stage import PaneStage
from napari_memscan.widgets.viewing.window_level import (
    FULL_RANGE,
    PERCENTILE_PRESETS,
    IntensityUnits,
    Limits,
)

CUSTOM = "Custom"
"""The preset's name when the window was moved by hand."""


class WindowLevelController(QObject):
    """Keeps the window of a stage.

    Parameters
    ----------
    stage : PaneStage
    measured : callable
        Returns the arrays (X, Y, Z) that percentiles are measured over: the pair.

    Attributes
    ----------
    changed : Signal()
        It is another one.
    units : IntensityUnits
        What voxel values are.
    preset : str
        The window's name, or `CUSTOM`.
    """

    changed = Signal()

    def __init__(
        self, stage: PaneStage, measured: Callable[[], list[Array]], parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._stage, self._measured = stage, measured
        self._modality = ""
        self.units = IntensityUnits()
        self.preset = FULL_RANGE
        stage.window_changed.connect(lambda: self.set_limits(stage.limits))

    @property
    def presets(self) -> tuple[str, ...]:
        """Names of the windows that can be chosen."""
        return window.list_window_presets(self._modality, self.units)

    @property
    def width_level(self) -> tuple[float, float]:
        """Width and level in units: HU, or percent of the range."""
        return self.units.width_level(self._stage.limits)

    def set_kind(self, modality: str, units: tuple[float, float] | None) -> None:
        """Set the modality, and the Hounsfield units of 0 and 1 where they are known."""
        self._modality = modality
        self.units = IntensityUnits() if units is None else IntensityUnits(units[0], units[1], "HU")
        if self.preset not in (*self.presets, CUSTOM):
            self.preset = FULL_RANGE
            self._stage.set_limits((0.0, 1.0))

    def set_preset(self, name: str) -> None:
        """Set one of `presets`; another name does nothing."""
        if name in self.presets:
            self.set_limits(window.compute_preset_limits(name, self.units, self._measured()), name)

    def measure(self) -> None:
        """Measure percentiles of another pair anew."""
        if self.preset in PERCENTILE_PRESETS:
            self._stage.set_limits(
                window.compute_preset_limits(self.preset, self.units, self._measured())
            )

    def set_limits(self, limits: Limits, name: str = CUSTOM) -> None:
        """Show these voxel values as black and white."""
        self.preset = name
        self._stage.set_limits(limits)
        self.changed.emit()
