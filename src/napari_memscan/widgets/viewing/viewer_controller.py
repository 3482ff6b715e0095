"""Looking at cases in the napari window: everything a controller needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_memscan.typing import Array
from napari_memscan.widgets.common.orientation import PLANES
from napari_memscan.widgets.viewing import window_level as window
from napari_memscan.widgets.viewing.case import Case, LoadedCase
from napari_memscan.widgets.viewing.loader import GetSpacing, LoadVolume
from napari_memscan.widgets.viewing.memory_cache import compute_memory_limit
from napari_memscan.widgets.viewing.mouse import CanvasMouse
from napari_memscan.widgets.viewing.position import describe_view_position
from napari_memscan.widgets.viewing.view_settings import ViewSettings
from napari_memscan.widgets.viewing.window_level import Limits
from napari_memscan.widgets.viewing.window_level_controller import WindowLevelController


class ViewerController(ViewSettings):
    """Shows one case at a time, and loads the next ones meanwhile.

    Only the newest request is ever shown; while it loads, the panes are empty, so that no patient
    stands under the title of another.

    Parameters
    ----------
    viewer : napari viewer
        Only its public interface is used.
    memory_mb : float, optional
        For arrays loaded ahead; a quarter of the free memory if not given.

    Attributes
    ----------
    shown : Signal(str)
        The case of this key is on the canvas.
    failed : Signal(str)
        Why it is not, and what to do. The panes are empty.
    partly : Signal(str)
        It is, but for a neighbour: which, why, and what to do.
    window : WindowLevelController
        Window and level of all panes.
    """

    shown = Signal(str)
    failed = Signal(str)
    partly = Signal(str)

    def __init__(
        self, viewer: Any, parent: QObject | None = None, memory_mb: float | None = None
    ) -> None:
        super().__init__(viewer, compute_memory_limit(memory_mb), parent)
        self._memory_mb = memory_mb
        self._requests.loaded.connect(self._on_loaded)
        self._requests.waiting.connect(self._on_waiting)
        self._requests.failed.connect(self._on_failed)
        self._requests.partly.connect(self.partly)
        self.stage.canvas.stepped.connect(self._on_stepped)
        self.stage.canvas.turned.connect(self._on_turned)
        self.window = WindowLevelController(self.stage, self._measured, self)
        self.window.changed.connect(self._on_window)
        self._mouse = CanvasMouse(viewer, self)
        self._told = False

    # Cases

    def show(
        self,
        case: Case,
        load: LoadVolume,
        spacing: GetSpacing,
        modality: str = "",
        units: tuple[float, float] | None = None,
    ) -> None:
        """Show a case; `shown` or `failed` follows, at once where it was loaded ahead.

        Parameters
        ----------
        case : Case
        load : callable
            Path to array (X, Y, Z) in RAS order, in [0, 1]; called in a thread. Another one than
            before makes all that was loaded ahead forgotten.
        spacing : callable
            Returns the voxel size along X, Y, Z in mm, one for all; called in a thread, once.
        modality : str
            ``CT``, ``MR``, or empty: which windows are offered.
        units : (float, float), optional
            Hounsfield units of 0 and 1, where the preprocessing was a fixed window.
        """
        self.window.set_kind(modality, units)
        for layout in self._layouts.values():
            layout.units = self.window.units
        self._told = False
        self._compare(case)
        self._requests.ask(case, load, spacing)

    def expect(self, cases: Sequence[Case]) -> None:
        """Load what the present layout shows of these cases, in this order, in the background."""
        self._requests.expect(cases)

    def clear(self, keep: bool = False) -> None:
        """Take the panes away, give the window back as it was, and forget what was loaded.

        With `keep` empty panes stay for the volumes of another study, that are about to come.
        """
        self._unload()
        self._pair.blinking.stop()
        self._requests.clear()
        self._mouse.set_active(False)
        self._settling = True
        if keep:
            self.stage.blank()
        else:
            self.stage.leave()
        self._settling = False
        self.state.point, self.state.partner = None, 0
        self.state.offsets[:] = [0, 0, 0]

    def set_memory(self, memory_mb: float | None) -> None:
        """Keep to this many MB from now on; None for a quarter of the memory free now."""
        if memory_mb != self._memory_mb:
            self._memory_mb = memory_mb
            self._requests.loader.arrays.limit = compute_memory_limit(memory_mb)

    @property
    def preloading(self) -> bool:
        """Whether something is loaded, be it for later."""
        return self._requests.loader.busy

    @property
    def neutral(self) -> bool:
        """Whether messages name volumes by their titles and not by their files."""
        return self._requests.neutral

    @neutral.setter
    def neutral(self, on: bool) -> None:
        self._requests.neutral = on

    @property
    def layers(self) -> list[Any]:
        """All layers on the canvas, pane by pane, that of the synthetic volume first."""
        return self.stage.layers

    @property
    def cached_bytes(self) -> int:
        """Bytes of all arrays kept in memory."""
        return self._requests.loader.arrays.bytes

    def _on_waiting(self) -> None:
        assert self.case is not None
        self._unload()  # Nothing is recorded, or drawn by a timer, of the case before.
        titles = self._layouts[self.state.layout].titles(list(self.case.all))
        self.stage.blank(titles, "Loading ...")
        self.state_changed.emit()

    def _on_failed(self, text: str) -> None:
        self._unload()
        self._settling = True
        self.stage.remove()
        self._settling = False
        self._told = False  # Another layout, or partner, may show it after all.
        self.stage.canvas.set_legend("")
        self.stage.canvas.say("Nothing to see: a volume cannot be shown.")
        self.failed.emit(text)
        self.state_changed.emit()

    def _unload(self) -> None:
        self._loaded = None
        for layout in self._layouts.values():
            layout.loaded = None

    def _on_loaded(self, loaded: LoadedCase) -> None:
        shape = loaded.volume(loaded.case.synthetic).shape
        point = self.state.point
        if point is None or any(p >= n for p, n in zip(point, shape, strict=True)):
            self.state.point = [n // 2 for n in shape]
        self._loaded = loaded
        self.window.measure()
        self._mouse.set_active(True)
        self._lay_out()
        if not self._told:
            self._told = True
            self.shown.emit(loaded.case.key)
        self.state_changed.emit()

    # The place that is looked at

    @property
    def position(self) -> dict[str, Any]:
        """What is on the screen, to be kept with a decision; JSON-ready."""
        mode = self._pair.mode(self._loaded) if self._loaded else self.pair_mode
        return describe_view_position(self.state, self.partner, self._loaded, mode, self.window)

    def _move(self) -> None:
        if self._loaded is not None and not self.loading:
            self._settling = True
            self._layouts[self.state.layout].moved()
            self._settling = False

    def _on_stepped(self) -> None:
        """Somebody moved napari's own slider."""
        if self._settling or self._loaded is None or self.loading:
            return
        if self.state.layout not in ("grid", "pair") or self._viewer.dims.ndim != 3:
            return
        shape = self._loaded.volume(self._loaded.case.synthetic).shape
        axis = PLANES[self.state.plane][0]
        index = round(self._viewer.dims.point[axis] / self._loaded.spacing[axis])
        assert self.state.point is not None
        self.state.point[axis] = min(max(index, 0), shape[axis] - 1)
        self._move()
        self.state_changed.emit()

    def _on_turned(self) -> None:
        if self._loaded is not None and self.state.layout == "3D" and not self._settling:
            self._solid.turned()

    # Window and level

    def set_width_level(self, width: float, level: float) -> None:
        """Set the window's width and level, in the same units."""
        self.window.set_limits(window.order_limits(*self.window.units.limits(width, level)))

    def set_preset(self, name: str) -> None:
        """Set one of the window's `presets`, in all panes."""
        self.window.set_preset(name)

    def reset_window(self) -> None:
        """Show the whole range."""
        self.window.set_preset(window.FULL_RANGE)

    def _measured(self) -> list[Array]:
        if self._loaded is None:
            return []
        return [a for item, a in self._loaded.arrays.items() if item.kind != "map"][:2]

    def _on_window(self) -> None:
        self._layouts[self.state.layout].window_moved()
        self.state_changed.emit()

    # What the mouse does

    @property
    def flat(self) -> bool:
        """Whether slices are shown."""
        return self._layouts[self.state.layout].flat

    @property
    def limits(self) -> Limits:
        """The voxel values that are black and white."""
        return self.stage.limits

    def drag_limits(self, limits: Limits) -> None:
        """Show these voxel values as black and white."""
        self.window.set_limits(limits)

    def click(self, viewbox: tuple[int, int] | None, position: tuple[float, ...]) -> None:
        """Choose the partner, or move the crosshair."""
        pane = self.stage.pane_at(viewbox)
        if pane is None or self._loaded is None or self.loading:
            return
        self._settling = True
        chosen = self._layouts[self.state.layout].clicked(pane, position)
        self._settling = False
        if chosen is not None:
            self.set_partner(chosen)
        self.state_changed.emit()

    def scroll(self, viewbox: tuple[int, int] | None, by: int) -> None:
        """Go through the slices of the pane below the mouse."""
        self._scroll(self.stage.pane_at(viewbox), by)

    def _scroll(self, pane: int | None, by: int) -> None:
        if self._loaded is None or self.loading:
            return
        self._settling = True
        self._layouts[self.state.layout].scrolled(pane, by)
        self._settling = False
        self.state_changed.emit()
