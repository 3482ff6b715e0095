"""napari's canvas while volumes are read: black, with letters and messages; given back after."""

from __future__ import annotations

from typing import Any

from napari.components.overlays import TextOverlay
from napari.settings import get_settings
from qtpy.QtCore import QObject, QTimer, Signal

from napari_memscan.widgets.common.orientation import get_edge_letters

# Marker: where on the canvas. Top is left to the pane's title.
EDGE_POSITIONS = {"left": "middle_left", "right": "middle_right", "bottom": "bottom_center"}
MESSAGE, LEGEND, SHARED = "memscan_message", "memscan_legend", "memscan_shared_legend"
OVERLAY_NAMES = (*(f"memscan_{edge}" for edge in EDGE_POSITIONS), LEGEND, SHARED, MESSAGE)


class Canvas(QObject):
    """Takes the canvas, and gives it back as it was.

    Parameters
    ----------
    viewer : napari viewer
        Only its public interface is used.

    Attributes
    ----------
    resized : Signal()
        It has another size, since a moment ago.
    stepped : Signal()
        Another slice is shown.
    turned : Signal()
        The camera was turned.
    font_changed : Signal()
        napari's font has another size.
    """

    resized = Signal()
    stepped = Signal()
    turned = Signal()
    font_changed = Signal()

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._before: dict[str, Any] | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(200)
        self._timer.timeout.connect(self.resized)

    @property
    def entered(self) -> bool:
        """Whether the canvas is taken."""
        return self._before is not None

    @property
    def font_size(self) -> int:
        """Of what is written on the canvas: follows napari's, in points."""
        return int(get_settings().appearance.font_size)

    @property
    def title_size(self) -> int:
        """Of titles: a little smaller, so that they fit above a pane."""
        return max(6, round(0.78 * self.font_size))

    def say(self, text: str) -> None:
        """Write a message on the canvas; an empty one takes it away."""
        self._text(MESSAGE, text)

    def set_legend(self, text: str, everywhere: bool = False) -> None:
        """Write what the colours mean; an empty text takes it away.

        `everywhere` writes it in each pane, beside the letter at its lower edge.
        """
        self._text(LEGEND, text if everywhere else "")
        self._text(SHARED, "" if everywhere else text)

    def _text(self, key: str, text: str) -> None:
        if self.entered:
            overlay = self._viewer.canvas.overlays[key]
            overlay.text = text
            overlay.box = bool(text)

    def enter(self) -> None:
        """Remember how the window was, and follow its changes."""
        if self._before is not None:
            return
        viewer = self._viewer
        grid, camera = viewer.canvas.grid, viewer.scene.camera
        self._before = {
            "grid": {n: getattr(grid, n) for n in ("enabled", "shape", "stride", "spacing")},
            "orientation": camera.orientation,
            "mouse_zoom": camera.mouse_zoom,
            "background": viewer.canvas.background_color_override,
        }
        # Volumes are read on black in both themes: a white surround would dazzle.
        viewer.canvas.background_color_override = "black"
        grid.spacing = 4
        size = self.font_size
        for edge, position in EDGE_POSITIONS.items():
            viewer.canvas.overlays[f"memscan_{edge}"] = TextOverlay(
                position=position, gridded=True, visible=True, font_size=size, color="white"
            )
        # Always visible, if only with no text: napari fails on one that becomes visible in panes
        # of another number than when it was hidden.
        for key, position in (
            (LEGEND, "bottom_center"),
            (SHARED, "bottom_left"),
            (MESSAGE, "middle_center"),
        ):
            viewer.canvas.overlays[key] = TextOverlay(
                position=position,
                gridded=key == LEGEND,
                visible=True,
                box=False,
                font_size=size,
                color="white",
            )
        viewer.dims.events.order.connect(self.mark_edges)
        viewer.dims.events.ndisplay.connect(self.mark_edges)
        viewer.dims.events.current_step.connect(self._on_step)
        camera.events.orientation.connect(self.mark_edges)
        camera.events.angles.connect(self._on_turned)
        viewer.canvas.events.size.connect(self._on_resized)
        get_settings().appearance.events.font_size.connect(self._on_font)

    def leave(self) -> None:
        """Take the panes away and give the window back as it was."""
        if self._before is None:
            return
        viewer, before = self._viewer, self._before
        self._before = None
        viewer.dims.events.order.disconnect(self.mark_edges)
        viewer.dims.events.ndisplay.disconnect(self.mark_edges)
        viewer.dims.events.current_step.disconnect(self._on_step)
        viewer.scene.camera.events.orientation.disconnect(self.mark_edges)
        viewer.scene.camera.events.angles.disconnect(self._on_turned)
        viewer.canvas.events.size.disconnect(self._on_resized)
        get_settings().appearance.events.font_size.disconnect(self._on_font)
        for key in OVERLAY_NAMES:
            del viewer.canvas.overlays[key]
        for name, value in before["grid"].items():
            setattr(viewer.canvas.grid, name, value)
        viewer.dims.ndisplay = 2
        viewer.scene.camera.orientation = before["orientation"]
        viewer.scene.camera.mouse_zoom = before["mouse_zoom"]
        viewer.canvas.background_color_override = before["background"]
        viewer.dims.order = tuple(range(viewer.dims.ndim))

    def _on_resized(self, event: Any = None) -> None:
        self._timer.start()

    def _on_step(self, event: Any = None) -> None:
        self.stepped.emit()

    def _on_turned(self, event: Any = None) -> None:
        self.turned.emit()

    def _on_font(self, event: Any = None) -> None:
        size = self.font_size
        for key in OVERLAY_NAMES:
            self._viewer.canvas.overlays[key].font_size = size
        self.font_changed.emit()

    def mark_edges(self, event: Any = None) -> None:
        """Write the sides of the patient at the edges of panes."""
        viewer = self._viewer
        flat = viewer.dims.ndim == 3 and viewer.dims.ndisplay == 2
        letters = (
            get_edge_letters(viewer.dims.order, viewer.scene.camera.orientation2d) if flat else {}
        )
        for edge in EDGE_POSITIONS:
            self._text(f"memscan_{edge}", letters.get(edge, ""))
