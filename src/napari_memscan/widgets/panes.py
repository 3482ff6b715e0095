"""A synthetic volume and its neighbours side by side, in napari's own grid."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.components.overlays import TextOverlay
from napari.experimental import link_layers, unlink_layers
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_memscan.widgets.orientation import ORIENTATION, PLANES, grid_shape, markers
from napari_memscan.widgets.work import Outcome, Runner

LINKED = ("contrast_limits", "gamma", "colormap", "interpolation2d")
# Marker: where on the canvas. Top is left to the pane's title.
EDGES = {"left": "middle_left", "right": "middle_right", "bottom": "bottom_center"}

Array = NDArray[np.float32]
Spacing = tuple[float, float, float]
Load = Callable[[str], Array]


@dataclass(frozen=True)
class Pane:
    """One volume to show: its title, and the path that it is loaded by."""

    title: str
    path: str


class Panes(QObject):
    """Shows volumes in a grid with one camera, one slice and one window for all.

    Loading runs in a worker. Only the newest request is ever shown: an answer to an older one is
    dropped, and requests that came in between are not even started.

    Parameters
    ----------
    viewer : napari viewer
        Only its public interface is used.

    Attributes
    ----------
    shown : Signal(str)
        The request of this key is on the canvas.
    failed : Signal(str)
        Why a volume cannot be shown.
    """

    shown = Signal(str)
    failed = Signal(str)

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._runner = Runner(self)
        self._runner.finished.connect(self._on_loaded)
        self._generation = 0
        self._running = 0
        self._wanted: tuple[str, tuple[Pane, ...], Load, Callable[[], Spacing]] | None = None
        self._layers: list[Any] = []
        self._hidden: list[Any] = []
        self._before: dict[str, Any] | None = None
        self._plane = "Axial"
        self._resized = QTimer(self)
        self._resized.setSingleShot(True)
        self._resized.setInterval(200)
        self._resized.timeout.connect(self._fit_grid)

    @property
    def layers(self) -> list[Any]:
        """The layers shown, the synthetic volume first."""
        return list(self._layers)

    @property
    def loading(self) -> bool:
        """Whether something asked for is not on the canvas yet."""
        return self._runner.busy

    def show(
        self, key: str, panes: Sequence[Pane], load: Load, spacing: Callable[[], Spacing]
    ) -> None:
        """Load these volumes and show them in place of those on the canvas.

        Parameters
        ----------
        key : str
            Comes back with `shown`.
        panes : sequence of Pane
            The synthetic volume first.
        load : callable
            Path to array (X, Y, Z) in RAS order, in [0, 1]; called in the worker.
        spacing : callable
            Returns the voxel size along X, Y, Z, one for all panes, which are compared voxel by
            voxel; called in the worker too.
        """
        self._generation += 1
        self._wanted = (key, tuple(panes), load, spacing)
        if self._runner.busy:
            self._runner.stop()
        else:
            self._start()

    def _start(self) -> None:
        assert self._wanted is not None
        _, panes, load, spacing = self._wanted
        self._running = self._generation

        def job() -> Generator[int, None, tuple[list[Array], Spacing]]:
            arrays: list[Array] = []
            for pane in panes:
                arrays.append(load(pane.path))
                yield len(arrays)
            return arrays, spacing()

        self._runner.start(job)

    def _on_loaded(self, outcome: Outcome) -> None:
        if self._wanted is None:
            return
        if self._running != self._generation:
            self._start()
            return
        key, panes, *_ = self._wanted
        if outcome.failure:
            self._remove_layers()
            self.failed.emit(outcome.failure)
        elif not outcome.stopped:
            self._display(panes, *outcome.value)
            self.shown.emit(key)

    def _display(self, panes: Sequence[Pane], arrays: Sequence[Array], spacing: Spacing) -> None:
        self._prepare()
        mine = [layer for layer in self._layers if layer in self._viewer.layers]
        same = len(mine) == len(self._layers) == len(panes) and all(
            layer.data.shape == array.shape and np.allclose(layer.scale, spacing)
            for layer, array in zip(mine, arrays, strict=True)
        )
        if same:
            # The reader's window, zoom and slice stay: only the patients change.
            for layer, pane, array in zip(self._layers, panes, arrays, strict=True):
                layer.data = array
                layer.name = pane.title
                layer.metadata = {"path": pane.path}
            return
        kept = mine[0].contrast_limits if mine else (0.0, 1.0)
        self._remove_layers()
        self._hide_others()
        for pane, array in zip(panes, arrays, strict=True):
            layer = self._viewer.add_image(
                array, name=pane.title, scale=spacing, contrast_limits=(0.0, 1.0),
                colormap="gray", interpolation2d="linear", metadata={"path": pane.path},
            )  # fmt: skip
            layer.contrast_limits = kept
            layer.name_overlay.visible = True
            layer.name_overlay.font_size = 7  # score and similarity fit above a pane
            self._layers.append(layer)
        link_layers(self._layers, LINKED)
        self._viewer.layers.selection.active = self._layers[0]
        self.set_plane(self._plane)
        self._fit_grid()
        for axis, n in enumerate(arrays[0].shape):
            self._viewer.dims.set_current_step(axis, n // 2)

    def set_plane(self, plane: str) -> None:
        """Show axial, coronal or sagittal slices."""
        self._plane = plane
        if self._before is None or self._viewer.dims.ndim != 3:
            return
        self._viewer.dims.ndisplay = 2
        self._viewer.dims.order = PLANES[plane]
        self._viewer.scene.camera.orientation2d = ORIENTATION
        self._viewer.fit_to_view(margin=0.02)

    def _fit_grid(self) -> None:
        # The timer may outlive the panes.
        if self._before is None or not self._layers:
            return
        height, width = self._viewer.canvas.size
        grid = self._viewer.canvas.grid
        grid.stride = 1
        grid.shape = grid_shape(len(self._layers), width, height)
        grid.enabled = True
        self._viewer.fit_to_view(margin=0.02)

    def _prepare(self) -> None:
        """Remember how the window was, and follow its changes."""
        if self._before is not None:
            return
        viewer = self._viewer
        grid = viewer.canvas.grid
        self._before = {
            "grid": {n: getattr(grid, n) for n in ("enabled", "shape", "stride", "spacing")},
            "orientation": viewer.scene.camera.orientation2d,
            "background": viewer.canvas.background_color_override,
        }
        # Volumes are read on black in both themes: a white surround would dazzle.
        viewer.canvas.background_color_override = "black"
        grid.spacing = 4
        for edge, position in EDGES.items():
            viewer.canvas.overlays[f"memscan_{edge}"] = TextOverlay(
                position=position, gridded=True, visible=True, font_size=9
            )
        viewer.dims.events.order.connect(self._mark)
        viewer.dims.events.ndisplay.connect(self._mark)
        viewer.scene.camera.events.orientation.connect(self._mark)
        viewer.canvas.events.size.connect(self._on_resized)

    def _on_resized(self, event: Any = None) -> None:
        self._resized.start()

    def _mark(self, event: Any = None) -> None:
        viewer = self._viewer
        flat = viewer.dims.ndim == 3 and viewer.dims.ndisplay == 2
        letters = markers(viewer.dims.order, viewer.scene.camera.orientation2d) if flat else {}
        for edge in EDGES:
            overlay = viewer.canvas.overlays[f"memscan_{edge}"]
            overlay.text = letters.get(edge, "")
            overlay.visible = flat

    def _hide_others(self) -> None:
        for layer in list(self._viewer.layers):
            if layer.visible and layer not in self._layers:
                layer.visible = False
                self._hidden.append(layer)

    def _remove_layers(self) -> None:
        mine = [layer for layer in self._layers if layer in self._viewer.layers]
        if len(self._layers) > 1:
            unlink_layers(self._layers, LINKED)
        self._layers = []
        for layer in mine:
            self._viewer.layers.remove(layer)

    def clear(self) -> None:
        """Take the panes away and give the window back as it was."""
        self._generation += 1
        self._wanted = None
        self._runner.stop()
        self._remove_layers()
        if self._before is None:
            return
        viewer, before = self._viewer, self._before
        self._before = None
        viewer.dims.events.order.disconnect(self._mark)
        viewer.dims.events.ndisplay.disconnect(self._mark)
        viewer.scene.camera.events.orientation.disconnect(self._mark)
        viewer.canvas.events.size.disconnect(self._on_resized)
        for edge in EDGES:
            del viewer.canvas.overlays[f"memscan_{edge}"]
        for name, value in before["grid"].items():
            setattr(viewer.canvas.grid, name, value)
        viewer.scene.camera.orientation2d = before["orientation"]
        viewer.canvas.background_color_override = before["background"]
        viewer.dims.order = tuple(range(viewer.dims.ndim))
        for layer in self._hidden:
            if layer in viewer.layers:
                layer.visible = True
        self._hidden = []
        if len(viewer.layers):
            viewer.fit_to_view()
