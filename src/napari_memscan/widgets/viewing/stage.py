"""Panes on napari's canvas: layers that are reused from one case to the next."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from napari.layers import Layer
from qtpy.QtCore import QObject, Signal

from napari_memscan.widgets.common.orientation import compute_grid_shape, get_camera_orientation
from napari_memscan.widgets.viewing.canvas import Canvas
from napari_memscan.widgets.viewing.layer_spec import (
    LayerSpec,
    create_layer,
    set_font,
    update_layer,
    write_letters,
)
from napari_memscan.widgets.viewing.window_level import Limits

LINKED_PROPERTIES = ("gamma", "colormap", "interpolation2d")


class PaneStage(QObject):
    """Shows parts in panes of equal size, on black.

    Parameters
    ----------
    viewer : napari viewer
        Only its public interface is used.

    Attributes
    ----------
    window_changed : Signal()
        Somebody moved the window with napari's own slider.
    canvas : Canvas
        What the panes lie on.
    """

    window_changed = Signal()

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._layers: list[Layer] = []
        self._parts: list[LayerSpec] = []
        self._stride = 1
        self._hidden: list[Any] = []
        self.canvas = Canvas(viewer, self)
        self.canvas.resized.connect(self.fit)
        self.canvas.font_changed.connect(self._on_font)
        self._limits: Limits = (0.0, 1.0)
        self._busy = False
        self._blank = False
        self._panes = 0
        self._titles: list[tuple[str, bool]] = []

    @property
    def layers(self) -> list[Any]:
        """All layers, pane by pane."""
        return list(self._layers)

    @property
    def images(self) -> list[Any]:
        """The layers in the common window."""
        return [la for la, p in zip(self._layers, self._parts, strict=True) if p.kind == "image"]

    @property
    def limits(self) -> Limits:
        """The voxel values that are black and white in all panes."""
        return self._limits

    # Layers

    def put(self, parts: Sequence[LayerSpec], stride: int) -> bool:
        """Show these parts in place of those shown; return whether the canvas must be arranged.

        Layers of the same kinds stay and only change what they hold: the reader's zoom and
        window stay with them.

        Parameters
        ----------
        parts : sequence of LayerSpec
            Pane by pane.
        stride : int
            Layers of each pane; the last one may have fewer.
        """
        self.canvas.enter()
        mine = all(layer in self._viewer.layers for layer in self._layers)
        same = mine and [(p.kind, p.ndim) for p in parts] == [(p.kind, p.ndim) for p in self._parts]
        # Where volumes lie elsewhere than before, the canvas must be fitted to them.
        moved = not same
        if not same or stride != self._stride:
            # One rebuilding of the scene for all layers: each takes napari a tenth of a second.
            with self._viewer.layers.batched_update():
                self._take_away()
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
                for name in LINKED_PROPERTIES:
                    getattr(layer.events, name).connect(self._on_linked)
            if self._layers:
                self._viewer.layers.selection.active = self._layers[0]
        else:
            for layer, part, old in zip(self._layers, parts, self._parts, strict=True):
                update_layer(layer, part, old)
                if part.letters != old.letters:
                    write_letters(layer, part.letters, self.canvas.font_size)
            moved = [_get_geometry(p) for p in parts] != [_get_geometry(p) for p in self._parts]
            self._parts = list(parts)
        self.set_titles([p.title for p in parts], [p.titled for p in parts])
        self._blank = False
        self.canvas.say("")
        return moved

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
        self.canvas.set_legend("")
        self.canvas.say(text)

    def set_titles(self, titles: Sequence[str], shown: Sequence[bool]) -> None:
        """Name the layers, and write the names on panes."""
        self._titles = list(zip(titles, shown, strict=True))
        self._write_titles()
        for layer, visible in zip(self._layers, shown, strict=True):
            layer.name_overlay.visible = visible

    def _write_titles(self) -> None:
        if len(self._titles) != len(self._layers):
            return
        width = self._viewer.canvas.size[1] / self._viewer.canvas.grid.actual_shape(self._layers)[1]
        letters = (width - 14) / (self.canvas.title_size * 96 / 72)
        names = [_wrap_title(title, letters) if shown else title for title, shown in self._titles]
        # Twice: napari numbers a name that another layer still has.
        for _ in range(2):
            for layer, name in zip(self._layers, names, strict=True):
                if layer.name != name:
                    layer.name = name

    def remove(self) -> None:
        """Take all layers away."""
        if self._layers:
            with self._viewer.layers.batched_update():
                self._take_away()

    def _take_away(self) -> None:
        layers, self._layers, self._parts = self._layers, [], []
        self._blank = False
        for layer in layers:
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)

    def _made(self, part: LayerSpec) -> Layer:
        layer = create_layer(part, self._limits)
        set_font(layer, self.canvas.title_size)
        if part.kind == "letters":
            write_letters(layer, part.letters, self.canvas.font_size)
        return layer

    def _on_font(self) -> None:
        for layer, part in zip(self._layers, self._parts, strict=True):
            set_font(layer, self.canvas.title_size)
            if part.kind == "letters":
                write_letters(layer, part.letters, self.canvas.font_size)
        self._write_titles()

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

    # Panes

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
            camera.orientation2d = get_camera_orientation(order, radiological)
        else:
            camera.orientation = ("towards", "up", "left")
            camera.angles = (0, 0, 0)
        # The wheel turns pages here; zooming is Ctrl and the wheel.
        camera.mouse_zoom = not flat
        self.fit()

    def fit(self) -> None:
        """Fit the panes to the canvas."""
        # The timer may outlive the panes.
        if not self.canvas.entered or not self._layers:
            return
        height, width = self._viewer.canvas.size
        grid = self._viewer.canvas.grid
        grid.stride = self._stride
        grid.shape = (2, 3) if self._panes == 6 else compute_grid_shape(self._panes, width, height)
        grid.enabled = True
        self._write_titles()
        self._viewer.fit_to_view(margin=0.02 if self._viewer.dims.ndisplay == 2 else 0.2)

    def pane_at(self, viewbox: tuple[int, int] | None) -> int | None:
        """Return the index of the pane in a cell of napari's grid."""
        if viewbox is None or not self._layers:
            return None
        _, columns = self._viewer.canvas.grid.actual_shape(self._viewer.layers)
        pane = viewbox[0] * columns + viewbox[1]
        return pane if pane < self._panes else None

    def leave(self) -> None:
        """Take the panes away and give the window back as it was."""
        self.remove()
        if not self.canvas.entered:
            return
        self.canvas.leave()
        for layer in self._hidden:
            if layer in self._viewer.layers:
                layer.visible = True
        self._hidden = []
        if len(self._viewer.layers):
            self._viewer.fit_to_view()


def _get_geometry(part: LayerSpec) -> Any:
    """Return where a picture lies; lines and letters follow one."""
    return (part.data.shape, part.scale) if part.kind == "image" else None


def _wrap_title(title: str, width: float) -> str:
    """Return a title in lines no wider than this, in heights of a letter, as far as words allow.

    napari does not tell how wide it draws a text; these are widths of its letters on the average.
    """
    mean = sum(0.51 if c in "iljtrf.,:| " else 0.79 for c in title) / max(len(title), 1)
    kept = title.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")
    return textwrap.fill(kept, max(12, int(width / mean))) if title else title
