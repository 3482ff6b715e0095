"""Looking at cases in the napari window: everything a controller needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_memscan.widgets.orientation import PLANES
from napari_memscan.widgets.viewing import window
from napari_memscan.widgets.viewing.arrays import Arrays, default_limit
from napari_memscan.widgets.viewing.case import (
    BLINK,
    LAYOUTS,
    MAP,
    PAIR_MODES,
    RENDERINGS,
    SIDE,
    Case,
    Item,
    Loaded,
    State,
    needs,
)
from napari_memscan.widgets.viewing.layouts import Grid, Layout, Solid
from napari_memscan.widgets.viewing.loader import Load, Loader, Spacing
from napari_memscan.widgets.viewing.mouse import Mouse
from napari_memscan.widgets.viewing.pair import Pair
from napari_memscan.widgets.viewing.planes import Planes
from napari_memscan.widgets.viewing.stage import Stage
from napari_memscan.widgets.viewing.window import Limits, Units

CUSTOM = "Custom"
"""The preset's name when the window was moved by hand."""


class Viewing(QObject):
    """Shows one case at a time, and loads the next ones meanwhile.

    Only the newest request is ever shown; while it loads, the panes are empty, so that no patient
    stands under the title of another.

    Parameters
    ----------
    viewer : napari viewer
        Only its public interface is used.
    memory_mb : int, optional
        For arrays loaded ahead; a quarter of the free memory if not given.

    Attributes
    ----------
    shown : Signal(str)
        The case of this key is on the canvas.
    failed : Signal(str)
        Why it is not, and what to do. The panes are empty.
    partner_changed : Signal(int)
        Another neighbour is the partner.
    state_changed : Signal()
        Layout, mode, plane, slice, window or anything else a control shows is another one.
    neutral : bool
        Messages name volumes by their titles and not by their files.
    """

    shown = Signal(str)
    failed = Signal(str)
    partner_changed = Signal(int)
    state_changed = Signal()

    def __init__(
        self, viewer: Any, parent: QObject | None = None, memory_mb: int | None = None
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.neutral = False
        self.state = State()
        limit = default_limit() if memory_mb is None else memory_mb * 2**20
        self._loader = Loader(Arrays(limit), self)
        self._loader.arrived.connect(self._on_arrived)
        self.stage = Stage(viewer, self)
        self.stage.window_changed.connect(self._on_window)
        self.stage.stepped.connect(self._on_stepped)
        self._pair = Pair(viewer, self.stage, self.state, self)
        self._layouts: dict[str, Layout] = {
            "grid": Grid(viewer, self.stage, self.state),
            "pair": self._pair,
            "planes": Planes(viewer, self.stage, self.state),
            "3D": Solid(viewer, self.stage, self.state),
        }
        self._mouse = Mouse(viewer, self)
        self._case: Case | None = None
        self._expected: tuple[Case, ...] = ()
        self._loaded: Loaded | None = None
        self._waiting = self._told = False
        self._settling = False
        self._modality = ""
        self._units = Units()
        self._preset = window.FULL
        self._before_map = SIDE

    # Cases

    def show(
        self,
        case: Case,
        load: Load,
        spacing: Spacing,
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
        self._loader.set_source(load, spacing)
        self._case, self._told = case, False
        self._modality = modality
        self._units = Units() if units is None else Units(units[0], units[1], "HU")
        for layout in self._layouts.values():
            layout.units = self._units
        if self._preset not in (*self.presets, CUSTOM):
            self._preset = window.FULL
            self.stage.set_limits((0.0, 1.0))
        self._request()

    def expect(self, cases: Sequence[Case]) -> None:
        """Load what the present layout shows of these cases, in this order, in the background."""
        self._expected = tuple(cases)
        self._loader.expect(self._soon())

    def clear(self) -> None:
        """Take the panes away, give the window back as it was, and forget what was loaded."""
        self._case = self._loaded = None
        self._expected = ()
        self._waiting = False
        self._pair.blinking.stop()
        self._loader.clear()
        self._mouse.set_active(False)
        self._settling = True
        self.stage.leave()
        self._settling = False
        for layout in self._layouts.values():
            layout.loaded = None
        self.state.point, self.state.partner = None, 0
        self.state.offsets[:] = [0, 0, 0]

    @property
    def loading(self) -> bool:
        """Whether something asked for is not on the canvas yet."""
        return self._waiting

    @property
    def preloading(self) -> bool:
        """Whether something is loaded, be it for later."""
        return self._loader.busy

    @property
    def layers(self) -> list[Any]:
        """All layers on the canvas, pane by pane, that of the synthetic volume first."""
        return self.stage.layers

    @property
    def case(self) -> Case | None:
        """The case asked for last."""
        return self._case

    @property
    def cached_bytes(self) -> int:
        """Bytes of all arrays kept in memory."""
        return self._loader.arrays.bytes

    def _soon(self) -> list[Item]:
        cases = [case for case in self._expected if case != self._case]
        return list(dict.fromkeys(item for case in cases for item in needs(case, self.state)))

    def _request(self) -> None:
        if self._case is None:
            return
        self._waiting = True
        if self._loader.request(needs(self._case, self.state), self._soon()):
            self._display()
            return
        layout = self._layouts[self.state.layout]
        self.stage.blank(layout.titles(list(self._case.all)), "Loading ...")
        self.state_changed.emit()

    def _on_arrived(self) -> None:
        if self._case is None or not self._waiting:
            return
        failure = self._loader.failure()
        if failure is None:
            self._display()
        elif failure[0] is not None and failure[0].kind != "volume":
            # The pair can still be looked at, as one that was never registered.
            self._unregister(failure[0].path)
            self._request()
        else:
            self._fail(*failure)

    def _unregister(self, path: str) -> None:
        assert self._case is not None
        neighbours = tuple(
            replace(shown, transform=None) if shown.path == path else shown
            for shown in self._case.neighbours
        )
        self._case = replace(self._case, neighbours=neighbours)

    def _fail(self, item: Item | None, text: str) -> None:
        self._waiting = False
        self._loaded = None
        self._settling = True
        self.stage.remove()
        self.stage.set_legend("")
        for layout in self._layouts.values():
            layout.loaded = None
        self._settling = False
        if self._case is not None and item is not None:
            title = next((s.title for s in self._case.all if s.path == item.path), "a volume")
            if self.neutral:
                text = text.replace(item.path, title).replace(Path(item.path).name, title)
            text = f"{title} cannot be shown. {text}"
        self.stage.say("Nothing to see: a volume cannot be shown.")
        self.failed.emit(text)
        self.state_changed.emit()

    def _display(self) -> None:
        assert self._case is not None
        assert self._loader.spacing is not None
        self._waiting = False
        loaded = Loaded(self._case, self._loader.get(), self._loader.spacing)
        shape = loaded.volume(self._case.synthetic).shape
        point = self.state.point
        if point is None or any(p >= n for p, n in zip(point, shape, strict=True)):
            self.state.point = [n // 2 for n in shape]
        self._loaded = loaded
        if self._preset in window.PERCENTILES:
            self.stage.set_limits(self._limits_of(self._preset))
        self._mouse.set_active(True)
        self._lay_out()
        if not self._told:
            self._told = True
            self.shown.emit(self._case.key)
        self.state_changed.emit()

    def _lay_out(self, again: bool = False) -> None:
        """Show what is loaded; `again` on new layers, where another arrangement is asked for."""
        if self._loaded is None or self._waiting:
            return
        layout = self._layouts[self.state.layout]
        self._settling = True
        if again:
            self.stage.remove()
        layout.show(self._loaded)
        self._settling = False
        blinking = self.state.layout == "pair" and self._pair.mode(self._loaded) == BLINK
        if not blinking:
            self._pair.blinking.stop()

    # How cases are looked at

    @property
    def layout(self) -> str:
        """One of `LAYOUTS`."""
        return self.state.layout

    def set_layout(self, name: str) -> None:
        """Show the grid, the pair, its three planes, or both volumes in 3D."""
        if name not in LAYOUTS or name == self.state.layout:
            return
        self.state.layout = name
        self._request()
        self.state_changed.emit()

    @property
    def pair_mode(self) -> str:
        """How the pair is shown: one of `PAIR_MODES`."""
        return self.state.pair_mode

    def set_pair_mode(self, mode: str) -> None:
        """Choose how the pair is shown; what is not registered is shown side by side."""
        if mode not in PAIR_MODES or mode == self.state.pair_mode:
            return
        self.state.pair_mode, self.state.flipped = mode, False
        if self.state.layout == "pair":
            self._request()
        self.state_changed.emit()

    @property
    def registered(self) -> bool:
        """Whether the synthetic volume and the partner are registered."""
        partner = self._case.partner(self.state.partner) if self._case else None
        return partner is not None and partner.transform is not None

    @property
    def partner(self) -> int:
        """Index of the neighbour that is the partner."""
        if self._case is None or not self._case.neighbours:
            return 0
        return min(self.state.partner, len(self._case.neighbours) - 1)

    def set_partner(self, index: int) -> None:
        """Compare with this neighbour."""
        if self._case is None or not 0 <= index < len(self._case.neighbours):
            return
        if index == self.partner:
            return
        self.state.partner = index
        self.state.offsets[:] = [0, 0, 0]
        self._request()
        self.partner_changed.emit(index)
        self.state_changed.emit()

    @property
    def plane(self) -> str:
        """Axial, coronal or sagittal."""
        return self.state.plane

    def set_plane(self, name: str) -> None:
        """Slice in this plane; in three planes, the one that keys move through."""
        if name not in PLANES or name == self.state.plane:
            return
        self.state.plane = name
        if self.state.layout in ("grid", "pair"):
            self._arrange()
        self.state_changed.emit()

    def set_radiological(self, on: bool) -> None:
        """Show the patient's right on the left (radiological), or on the right (neurological)."""
        if on == self.state.radiological:
            return
        self.state.radiological = on
        if self.state.layout == "planes":
            self._lay_out()
        elif self.state.layout != "3D":
            self._arrange()
        self.state_changed.emit()

    def set_markers(self, on: bool) -> None:
        """Show or hide the letters at the edges."""
        self.state.markers = on
        self.stage.set_markers(on)
        if self.state.layout in ("planes", "3D"):
            self._lay_out()
        self.state_changed.emit()

    def set_map(self, on: bool) -> None:
        """Show the local similarity of the pair, or what was shown before."""
        if on == (self.state.layout == "pair" and self.state.pair_mode == MAP):
            return
        if on and self.state.pair_mode != MAP:
            self._before_map = self.state.pair_mode
        self.state.layout = "pair"
        self.state.pair_mode = MAP if on else self._before_map
        self._request()
        self.state_changed.emit()

    def set_rendering(self, name: str) -> None:
        """Render in 3D so: one of `RENDERINGS`."""
        if name in RENDERINGS and name != self.state.rendering:
            self.state.rendering = name
            if self.state.layout == "3D":
                self._lay_out()
            self.state_changed.emit()

    def set_fade(self, share: float) -> None:
        """Show so much of the partner, in [0, 1]."""
        self._pair.set_fade(share)
        self.state_changed.emit()

    def flip(self) -> None:
        """Blink once: show the other one of the two."""
        self._pair.flip()
        self.state_changed.emit()

    @property
    def blinking(self) -> bool:
        """Whether a timer blinks."""
        return bool(self._pair.blinking.isActive())

    @property
    def blink_interval(self) -> int:
        """Milliseconds that each of the two is seen."""
        return int(self._pair.blinking.interval())

    def set_blinking(self, on: bool, interval: int | None = None) -> None:
        """Blink by a timer, or no longer.

        Parameters
        ----------
        on : bool
        interval : int, optional
            Milliseconds that each of the two is seen.
        """
        if interval is not None:
            self._pair.blinking.setInterval(max(100, int(interval)))
        if on and self.state.pair_mode == BLINK and self.registered:
            self._pair.blinking.start()
        else:
            self._pair.blinking.stop()
        self.state_changed.emit()

    @property
    def offset(self) -> int:
        """Slices by which an unregistered partner is ahead in the present plane."""
        return self.state.offsets[PLANES[self.state.plane][0]]

    def set_offset(self, slices: int) -> None:
        """Shift an unregistered partner; scrolling keeps the shift."""
        if slices == self.offset:
            return
        self.state.offsets[PLANES[self.state.plane][0]] = int(slices)
        if self.state.layout in ("pair", "planes"):
            self._lay_out()
        self.state_changed.emit()

    def step(self, by: int) -> None:
        """Go so many slices on, in the present plane."""
        self._scroll(None, by)

    def _arrange(self) -> None:
        self._lay_out(again=True)

    # The place that is looked at

    @property
    def position(self) -> dict[str, Any]:
        """What is on the screen, to be kept with a decision; JSON-ready.

        The place is in voxels (X, Y, Z) and in mm about the volume's centre.
        """
        state = self.state
        found: dict[str, Any] = {
            "layout": state.layout, "plane": state.plane, "radiological": state.radiological,
            "partner": self.partner, "registered": self.registered,
        }  # fmt: skip
        if state.layout == "pair":
            found["pair_mode"] = self._pair.mode(self._loaded) if self._loaded else state.pair_mode
        if state.layout == "3D":
            found["rendering"] = state.rendering
        if not self.registered and any(state.offsets):
            found["offsets"] = list(state.offsets)
        if state.point is not None and self._loaded is not None:
            axis = PLANES[state.plane][0]
            shape = self._loaded.volume(self._loaded.case.synthetic).shape
            mm = [
                round((p - (n - 1) / 2) * s, 3)
                for p, n, s in zip(state.point, shape, self._loaded.spacing, strict=True)
            ]
            found |= {"slice": state.point[axis], "voxel": list(state.point), "mm": mm}
        width, level = self.width_level
        found["window"] = {
            "width": round(width, 2), "level": round(level, 2), "preset": self._preset,
            "unit": self._units.unit or "%",
        }  # fmt: skip
        return found

    def go_to(self, position: dict[str, Any]) -> None:
        """Look again as at a `position`; what it does not say stays."""
        self.set_plane(str(position.get("plane", self.plane)))
        self.set_partner(int(position.get("partner", self.partner)))
        self.set_pair_mode(str(position.get("pair_mode", self.pair_mode)))
        self.set_layout(str(position.get("layout", self.layout)))
        if "voxel" in position and self.state.point is not None:
            self.state.point[:] = [int(v) for v in position["voxel"]]
            self._move()
        seen = position.get("window")
        if seen:
            self.set_window(float(seen["width"]), float(seen["level"]))

    def _move(self) -> None:
        if self._loaded is not None and not self._waiting:
            self._settling = True
            self._layouts[self.state.layout].moved()
            self._settling = False

    def _on_stepped(self) -> None:
        """Somebody moved napari's own slider."""
        if self._settling or self._loaded is None or self._waiting:
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

    # Window and level

    @property
    def limits(self) -> Limits:
        """The voxel values that are black and white."""
        return self.stage.limits

    @property
    def width_level(self) -> tuple[float, float]:
        """Width and level in units: HU, or percent of the range."""
        return self._units.width_level(self.stage.limits)

    @property
    def units(self) -> Units:
        """What voxel values are."""
        return self._units

    @property
    def presets(self) -> tuple[str, ...]:
        """Names of the windows that can be chosen."""
        return window.presets(self._modality, self._units)

    @property
    def preset(self) -> str:
        """The window's name, or `CUSTOM`."""
        return self._preset

    def set_window(self, width: float, level: float) -> None:
        """Set width and level in units, in all panes."""
        self.drag_limits(window.clean(*self._units.limits(width, level)))

    def set_preset(self, name: str) -> None:
        """Set one of `presets`, in all panes."""
        if name not in self.presets:
            return
        self._set_limits(self._limits_of(name), name)

    def reset_window(self) -> None:
        """Show the whole range."""
        self.set_preset(window.FULL)

    def _limits_of(self, name: str) -> Limits:
        arrays = []
        if self._loaded is not None:
            arrays = [a for i, a in self._loaded.arrays.items() if i.kind != "map"][:2]
        return window.preset(name, self._units, arrays)

    def _set_limits(self, limits: Limits, name: str) -> None:
        self._preset = name
        self.stage.set_limits(limits)
        self._layouts[self.state.layout].window_moved()
        self.state_changed.emit()

    def _on_window(self) -> None:
        self._set_limits(self.stage.limits, CUSTOM)

    # What the mouse does

    @property
    def flat(self) -> bool:
        """Whether slices are shown."""
        return self._layouts[self.state.layout].flat

    def drag_limits(self, limits: Limits) -> None:
        """Show these voxel values as black and white."""
        self._set_limits(limits, CUSTOM)

    def click(self, viewbox: tuple[int, int] | None, position: tuple[float, ...]) -> None:
        """Choose the partner, or move the crosshair."""
        pane = self.stage.pane_at(viewbox)
        if pane is None or self._loaded is None or self._waiting:
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
        if self._loaded is None or self._waiting:
            return
        self._settling = True
        self._layouts[self.state.layout].scrolled(pane, by)
        self._settling = False
        self.state_changed.emit()
