"""napari's canvas as a set of panes: layers that are reused, and a window that is given back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.components.overlays import TextOverlay
from napari.layers import Image, Layer, Points, Vectors
from napari.settings import get_settings
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_memscan.widgets.orientation import grid_shape, markers, orientation_of
from napari_memscan.widgets.viewing.case import Triple
from napari_memscan.widgets.viewing.window import Limits

# Marker: where on the canvas. Top is left to the pane's title.
EDGES = {"left": "middle_left", "right": "middle_right", "bottom": "bottom_center"}
MESSAGE, LEGEND = "memscan_message", "memscan_legend"
LINKED = ("gamma", "colormap", "interpolation2d")
LINE_COLOUR = "#ffd400"


@dataclass
class Part:
    """A layer of a pane, and what it holds now.

    Attributes
    ----------
    kind : {"image", "overlay", "lines", "letters"}
        An image in the common window; another picture over it; line segments; letters at points.
    data : array
        (X, Y, Z) or (rows, columns); segments (n, 2, d); points (n, d).
    title : str
        The layer's name; written on the pane where `titled`.
    scale, translate : tuple of float, optional
    opacity : float
    colormap, limits
        Of an overlay, which is in no common window.
    letters : tuple of str
        Of letters, one a point.
    """

    kind: str
    data: NDArray[Any]
    title: str
    titled: bool = False
    visible: bool = True
    scale: tuple[float, ...] | None = None
    translate: tuple[float, ...] | None = None
    opacity: float = 1.0
    colormap: Any = "gray"
    limits: Limits | None = None
    letters: tuple[str, ...] = ()

    @property
    def ndim(self) -> int:
        """How many dimensions it lies in."""
        return int(self.data.shape[-1] if self.kind in ("lines", "letters") else self.data.ndim)


class Stage(QObject):
    """Shows parts in panes of equal size, on black.

    Parameters
    ----------
    viewer : napari viewer
        Only its public interface is used.

    Attributes
    ----------
    window_changed : Signal()
        Somebody moved the window with napari's own slider.
    stepped : Signal()
        Another slice is shown.
    """

    window_changed = Signal()
    stepped = Signal()

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._layers: list[Layer] = []
        self._parts: list[Part] = []
        self._stride = 1
        self._hidden: list[Any] = []
        self._before: dict[str, Any] | None = None
        self._limits: Limits = (0.0, 1.0)
        self._busy = False
        self._blank = False
        self._marked = True
        self._panes = 0
        self._resized = QTimer(self)
        self._resized.setSingleShot(True)
        self._resized.setInterval(200)
        self._resized.timeout.connect(self.fit)

    @property
    def layers(self) -> list[Any]:
        """All layers, pane by pane."""
        return list(self._layers)

    @property
    def images(self) -> list[Any]:
        """The layers in the common window."""
        return [la for la, p in zip(self._layers, self._parts, strict=True) if p.kind == "image"]

    @property
    def entered(self) -> bool:
        """Whether the canvas is taken."""
        return self._before is not None

    @property
    def limits(self) -> Limits:
        """The voxel values that are black and white in all panes."""
        return self._limits

    @property
    def font_size(self) -> int:
        """Of what is written on the canvas: follows napari's, in points."""
        return int(get_settings().appearance.font_size)

    # Layers

    def put(self, parts: Sequence[Part], stride: int) -> bool:
        """Show these parts in place of those shown; return whether the layers are new ones.

        Layers of the same kinds stay and only change what they hold: the reader's zoom and
        window stay with them.

        Parameters
        ----------
        parts : sequence of Part
            Pane by pane.
        stride : int
            Layers of each pane; the last one may have fewer.
        """
        self._enter()
        mine = all(layer in self._viewer.layers for layer in self._layers)
        same = mine and [(p.kind, p.ndim) for p in parts] == [(p.kind, p.ndim) for p in self._parts]
        if not same or stride != self._stride:
            # One rebuilding of the scene for all layers: each takes napari a tenth of a second.
            with self._viewer.layers.batched_update():
                self.remove()
                self._hide_others()
                self._stride = stride
                # In front of what was there: panes are counted from the first layer on.
                for i, part in enumerate(parts):
                    layer = self._made(part)
                    self._viewer.layers.insert(i, layer)
                    self._layers.append(layer)
            self._parts = list(parts)
            for layer in self.images:
                layer.events.contrast_limits.connect(self._on_limits)
                for name in LINKED:
                    getattr(layer.events, name).connect(self._on_linked)
            if self._layers:
                self._viewer.layers.selection.active = self._layers[0]
        else:
            for layer, part in zip(self._layers, parts, strict=True):
                _fill(layer, part)
            self._parts = list(parts)
        self.set_titles([p.title for p in parts], [p.titled for p in parts])
        self._blank = False
        self.say("")
        return not same

    def blank(self, titles: Sequence[str] = (), text: str = "") -> None:
        """Show no picture until the next `put`: the last patient's must not stand for another's.

        Parameters
        ----------
        titles : sequence of str
            Of the panes to come, where the layers are as many.
        text : str
            What is waited for.
        """
        if not self._blank:
            for layer in self._layers:
                layer.opacity = 0
            self._blank = True
        if len(titles) == len(self._layers):
            self.set_titles(titles, [p.titled for p in self._parts])
        else:
            for layer in self._layers:
                layer.name_overlay.visible = False
        self.set_legend("")
        self.say(text)

    def set_titles(self, titles: Sequence[str], shown: Sequence[bool]) -> None:
        """Name the layers, and write the names on panes."""
        # Twice: napari numbers a name that another layer still has.
        for _ in range(2):
            for layer, title in zip(self._layers, titles, strict=True):
                if layer.name != title:
                    layer.name = title
        for layer, visible in zip(self._layers, shown, strict=True):
            layer.name_overlay.visible = visible

    def remove(self) -> None:
        """Take all layers away."""
        layers, self._layers, self._parts = self._layers, [], []
        self._blank = False
        for layer in layers:
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)

    def _made(self, part: Part) -> Layer:
        common = {"name": part.title, "scale": part.scale, "translate": part.translate}
        if part.kind == "lines":
            layer = Vectors(
                part.data, edge_color=LINE_COLOUR, vector_style="line", edge_width=0.5, **common
            )
        elif part.kind == "letters":
            layer = Points(
                part.data, size=0.01, face_color="transparent", border_color="transparent",
                **common,
            )  # fmt: skip
        else:
            layer = Image(
                part.data, contrast_limits=self._limits, colormap="gray",
                interpolation2d="linear", blending="translucent_no_depth", **common,
            )  # fmt: skip
            if part.kind == "overlay":
                _colour(layer, part)
        layer.visible, layer.opacity = part.visible, part.opacity
        layer.name_overlay.font_size = max(6, round(0.78 * self.font_size))
        layer.name_overlay.box = True
        if part.kind == "letters":
            self._write(layer, part)
        return layer

    def _write(self, layer: Any, part: Part) -> None:
        layer.text = {"string": list(part.letters), "color": "white", "size": self.font_size}

    def _hide_others(self) -> None:
        for layer in list(self._viewer.layers):
            if layer.visible and layer not in self._layers:
                layer.visible = False
                self._hidden.append(layer)

    # Window and level

    def set_limits(self, limits: Limits) -> None:
        """Show these voxel values as black and white in all panes."""
        self._limits = (float(limits[0]), float(limits[1]))
        self._busy = True
        for layer in self.images:
            if tuple(layer.contrast_limits) != self._limits:
                layer.contrast_limits = self._limits
        self._busy = False

    def _on_limits(self, event: Any) -> None:
        if self._busy or event.source not in self._layers:
            return
        low, high = event.source.contrast_limits
        self.set_limits((low, high))
        self.window_changed.emit()

    def _on_linked(self, event: Any) -> None:
        if self._busy or event.source not in self._layers:
            return
        self._busy = True
        for layer in self.images:
            if layer is not event.source:
                setattr(layer, event.type, getattr(event.source, event.type))
        self._busy = False

    # The canvas

    def arrange(self, panes: int, order: tuple[int, ...], radiological: bool, flat: bool) -> None:
        """Set the number of panes, the axes shown, and which way they run.

        Parameters
        ----------
        panes : int
            Panes with something visible.
        order : tuple of int
            napari's order of axes.
        radiological : bool
            The patient's right is on the viewer's left.
        flat : bool
            Slices, and not 3D.
        """
        viewer = self._viewer
        self._panes = panes
        if viewer.dims.ndisplay != (2 if flat else 3):
            viewer.dims.ndisplay = 2 if flat else 3
        n = viewer.dims.ndim
        full = (*range(n - len(order)), *(axis + n - len(order) for axis in order))
        if tuple(viewer.dims.order) != full:
            viewer.dims.order = full
        camera = viewer.scene.camera
        if flat:
            camera.orientation2d = orientation_of(order, radiological)
        else:
            camera.orientation = ("towards", "up", "left")
            camera.angles = (0, 0, 0)
        # The wheel turns pages here; zooming is Ctrl and the wheel.
        camera.mouse_zoom = not flat
        self.fit()

    def fit(self) -> None:
        """Fit the panes to the canvas."""
        # The timer may outlive the panes.
        if not self.entered or not self._layers:
            return
        height, width = self._viewer.canvas.size
        grid = self._viewer.canvas.grid
        grid.stride = self._stride
        grid.shape = (2, 3) if self._panes == 6 else grid_shape(self._panes, width, height)
        grid.enabled = True
        self._viewer.fit_to_view(margin=0.02)

    def pane_at(self, viewbox: tuple[int, int] | None) -> int | None:
        """Return the index of the pane in a cell of napari's grid."""
        if viewbox is None or not self._layers:
            return None
        _, columns = self._viewer.canvas.grid.actual_shape(self._viewer.layers)
        pane = viewbox[0] * columns + viewbox[1]
        return pane if pane < self._panes else None

    def set_markers(self, shown: bool) -> None:
        """Show or hide the letters at the edges of panes."""
        self._marked = shown
        if self.entered:
            self._mark()

    def say(self, text: str) -> None:
        """Write a message on the canvas; an empty one takes it away."""
        self._text(MESSAGE, text)

    def set_legend(self, text: str) -> None:
        """Write what the colours mean; an empty text takes it away."""
        self._text(LEGEND, text)

    def _text(self, key: str, text: str) -> None:
        if self.entered:
            overlay = self._viewer.canvas.overlays[key]
            overlay.text = text
            overlay.visible = bool(text)

    def _enter(self) -> None:
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
        for edge, position in EDGES.items():
            viewer.canvas.overlays[f"memscan_{edge}"] = TextOverlay(
                position=position, gridded=True, visible=True, font_size=size, color="white"
            )
        for key, position in ((MESSAGE, "middle_center"), (LEGEND, "bottom_left")):
            viewer.canvas.overlays[key] = TextOverlay(
                position=position, visible=False, font_size=size, color="white"
            )
        viewer.dims.events.order.connect(self._mark)
        viewer.dims.events.ndisplay.connect(self._mark)
        viewer.dims.events.current_step.connect(self._on_step)
        camera.events.orientation.connect(self._mark)
        viewer.canvas.events.size.connect(self._on_resized)
        get_settings().appearance.events.font_size.connect(self._on_font)

    def leave(self) -> None:
        """Take the panes away and give the window back as it was."""
        self.remove()
        if self._before is None:
            return
        viewer, before = self._viewer, self._before
        self._before = None
        viewer.dims.events.order.disconnect(self._mark)
        viewer.dims.events.ndisplay.disconnect(self._mark)
        viewer.dims.events.current_step.disconnect(self._on_step)
        viewer.scene.camera.events.orientation.disconnect(self._mark)
        viewer.canvas.events.size.disconnect(self._on_resized)
        get_settings().appearance.events.font_size.disconnect(self._on_font)
        for key in (MESSAGE, LEGEND, *(f"memscan_{edge}" for edge in EDGES)):
            del viewer.canvas.overlays[key]
        for name, value in before["grid"].items():
            setattr(viewer.canvas.grid, name, value)
        viewer.dims.ndisplay = 2
        viewer.scene.camera.orientation = before["orientation"]
        viewer.scene.camera.mouse_zoom = before["mouse_zoom"]
        viewer.canvas.background_color_override = before["background"]
        viewer.dims.order = tuple(range(viewer.dims.ndim))
        for layer in self._hidden:
            if layer in viewer.layers:
                layer.visible = True
        self._hidden = []
        if len(viewer.layers):
            viewer.fit_to_view()

    def _on_resized(self, event: Any = None) -> None:
        self._resized.start()

    def _on_step(self, event: Any = None) -> None:
        self.stepped.emit()

    def _on_font(self, event: Any = None) -> None:
        size = self.font_size
        for key in (MESSAGE, LEGEND, *(f"memscan_{edge}" for edge in EDGES)):
            self._viewer.canvas.overlays[key].font_size = size
        for layer, part in zip(self._layers, self._parts, strict=True):
            layer.name_overlay.font_size = max(6, round(0.78 * size))
            if part.kind == "letters":
                self._write(layer, part)

    def _mark(self, event: Any = None) -> None:
        viewer = self._viewer
        flat = self._marked and viewer.dims.ndim == 3 and viewer.dims.ndisplay == 2
        letters = markers(viewer.dims.order, viewer.scene.camera.orientation2d) if flat else {}
        for edge in EDGES:
            overlay = viewer.canvas.overlays[f"memscan_{edge}"]
            overlay.text = letters.get(edge, "")
            overlay.visible = flat


def _fill(layer: Any, part: Part) -> None:
    """Give a layer what its part holds now."""
    ndim = part.ndim
    scale: Triple | tuple[float, ...] = part.scale or (1.0,) * ndim
    if not np.allclose(layer.scale, scale):
        layer.scale = scale
    translate = part.translate or (0.0,) * ndim
    if not np.allclose(layer.translate, translate):
        layer.translate = translate
    layer.data = part.data
    if part.kind == "overlay":
        _colour(layer, part)
    if layer.opacity != part.opacity:
        layer.opacity = part.opacity
    if layer.visible != part.visible:
        layer.visible = part.visible


def _colour(layer: Any, part: Part) -> None:
    if layer.colormap != part.colormap:
        layer.colormap = part.colormap
    if part.limits is not None and tuple(layer.contrast_limits) != part.limits:
        layer.contrast_limits = part.limits
