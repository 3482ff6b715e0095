"""How cases are looked at: every choice a reader has, whatever case is shown."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_memscan.widgets.common.orientation import PLANES
from napari_memscan.widgets.viewing.case import (
    BLINK,
    LAYOUTS,
    MAP,
    PAIR_MODES,
    RENDERINGS,
    SIDE,
    Case,
    LoadedCase,
    ViewState,
)
from napari_memscan.widgets.viewing.case_requests import CaseRequests
from napari_memscan.widgets.viewing.layouts import CaseLayout, GridLayout, RenderingLayout
from napari_memscan.widgets.viewing.pair_layout import PairLayout
from napari_memscan.widgets.viewing.planes_layout import PlanesLayout
from napari_memscan.widgets.viewing.stage import PaneStage


class ViewSettings(QObject):
    """Changes how the case on the canvas is shown; what is chosen holds for the next ones too.

    Parameters
    ----------
    viewer : napari viewer
    limit : int
        Bytes of arrays kept in memory.

    Attributes
    ----------
    partner_changed : Signal(int)
        Another neighbour is the partner.
    state_changed : Signal()
        Layout, mode, plane, slice, window or anything else a control shows is another one.
    state : ViewState
    stage : PaneStage
    """

    partner_changed = Signal(int)
    state_changed = Signal()

    def __init__(self, viewer: Any, limit: int, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.state = ViewState()
        self.stage = PaneStage(viewer, self)
        self._requests = CaseRequests(self.state, limit, self)
        self._pair = PairLayout(viewer, self.stage, self.state, self)
        self._solid = RenderingLayout(viewer, self.stage, self.state)
        self._layouts: dict[str, CaseLayout] = {
            "grid": GridLayout(viewer, self.stage, self.state),
            "pair": self._pair,
            "planes": PlanesLayout(viewer, self.stage, self.state),
            "3D": self._solid,
        }
        self._loaded: LoadedCase | None = None
        self._settling = False
        self._before_map = SIDE

    @property
    def case(self) -> Case | None:
        """The case asked for last."""
        return self._requests.case

    @property
    def loading(self) -> bool:
        """Whether something asked for is not on the canvas yet."""
        return self._requests.busy

    @property
    def layout(self) -> str:
        """One of `LAYOUTS`."""
        return self.state.layout

    def set_layout(self, name: str) -> None:
        """Show the grid, the pair, its three planes, or both volumes in 3D."""
        if name not in LAYOUTS or name == self.state.layout:
            return
        self.state.layout = name
        self._requests.again()
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
            self._requests.again()
        self.state_changed.emit()

    @property
    def registered(self) -> bool:
        """Whether the synthetic volume and the partner are registered."""
        partner = self.case.partner(self.state.partner) if self.case else None
        return partner is not None and partner.transform is not None

    @property
    def partner(self) -> int:
        """Index of the neighbour that is the partner."""
        if self.case is None or not self.case.neighbours:
            return 0
        return min(self.state.partner, len(self.case.neighbours) - 1)

    def set_partner(self, index: int) -> None:
        """Compare with this neighbour."""
        if self.case is None or not 0 <= index < len(self.case.neighbours):
            return
        if index == self.partner:
            return
        self.state.partner = index
        self.state.offsets[:] = [0, 0, 0]
        self._requests.again()
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
            self._lay_out(again=True)
        self.state_changed.emit()

    def set_radiological(self, on: bool) -> None:
        """Show the patient's right on the left (radiological), or on the right (neurological)."""
        if on == self.state.radiological:
            return
        self.state.radiological = on
        if self.state.layout == "planes":
            self._lay_out()
        elif self.state.layout != "3D":
            self._lay_out(again=True)
        self.state_changed.emit()

    def set_map(self, on: bool) -> None:
        """Show the local similarity of the pair, or what was shown before."""
        if on == (self.state.layout == "pair" and self.state.pair_mode == MAP):
            return
        if on and self.state.pair_mode != MAP:
            self._before_map = self.state.pair_mode
        self.state.layout = "pair"
        self.state.pair_mode = MAP if on else self._before_map
        self._requests.again()
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

    def _compare(self, case: Case) -> None:
        """Shift nothing in a new case: what was shifted was another pair."""
        pairs = [(c.synthetic, c.partner(self.state.partner)) for c in (self.case, case) if c]
        paths = [tuple(shown.path for shown in pair if shown) for pair in pairs]
        if paths[0] != paths[-1]:
            self.state.offsets[:] = [0, 0, 0]

    def step(self, by: int) -> None:
        """Go so many slices on, in the present plane."""
        self._scroll(None, by)

    def _lay_out(self, again: bool = False) -> None:
        """Show what is loaded; `again` on new layers, where another arrangement is asked for."""
        if self._loaded is None or self.loading:
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
