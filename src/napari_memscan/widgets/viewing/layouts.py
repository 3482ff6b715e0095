"""How a case is laid out: what every layout can do, the grid, and 3D."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_memscan.typing import Array
from napari_memscan.widgets.common.orientation import AXIS_ENDS, PLANES
from napari_memscan.widgets.viewing.case import CaseVolume, LoadedCase, ViewState
from napari_memscan.widgets.viewing.layer_spec import LayerSpec, write_letters
from napari_memscan.widgets.viewing.pair_images import replace_nan
from napari_memscan.widgets.viewing.stage import PaneStage
from napari_memscan.widgets.viewing.window_level import IntensityUnits

NOT_REGISTERED = "Not registered: slices need not correspond."
FACING_COSINE = 0.9
"""Cosine of the angle to the line of sight below which an axis is seen from its end."""
PARTNER_MARK = " ◂"
"""Follows the title of the neighbour that is the partner; its pane has a frame too."""

ABSENT_NOTE = ": cannot be shown"


class CaseLayout:
    """Puts cases on a stage.

    Parameters
    ----------
    viewer : napari viewer
    stage : PaneStage
    state : ViewState
        Shared by all layouts; who reads goes from one to another without losing the place.
    """

    flat = True

    def __init__(self, viewer: Any, stage: PaneStage, state: ViewState) -> None:
        self.viewer, self.stage, self.state = viewer, stage, state
        self.units = IntensityUnits()
        self.loaded: LoadedCase | None = None

    def show(self, loaded: LoadedCase) -> None:
        """Show a case in place of the one before."""
        self.loaded = loaded
        self.put(loaded)

    def put(self, loaded: LoadedCase) -> None:
        """Put its parts on the stage."""
        raise NotImplementedError

    def titles(self, shown: list[CaseVolume]) -> list[str]:
        """Return the titles of all layers before anything is loaded; none if not yet known."""
        return []

    def moved(self) -> None:
        """Follow the point looked at."""

    def window_moved(self) -> None:
        """Follow the window."""

    def clicked(self, pane: int, position: tuple[float, ...]) -> int | None:
        """Somebody clicked on a pane; return the neighbour that this chooses as the partner."""
        return None

    def scrolled(self, pane: int | None, by: int) -> None:
        """Somebody turned the wheel over a pane: go to another slice."""
        self._step(PLANES[self.state.plane][0], by)

    def _step(self, axis: int, by: int) -> None:
        if self.loaded is None or self.state.point is None:
            return
        n = self.loaded.volume(self.loaded.case.synthetic).shape[axis]
        self.state.point[axis] = int(np.clip(self.state.point[axis] + by, 0, n - 1))
        self.moved()

    def partner(self, loaded: LoadedCase) -> tuple[CaseVolume | None, Array]:
        """Return the partner and its voxels: on the grid of the synthetic volume where registered.

        Without a partner the voxels are those of the synthetic volume.
        """
        partner = loaded.case.partner(self.state.partner)
        if partner is None:
            return None, loaded.volume(loaded.case.synthetic)
        if partner.transform is None:
            return partner, loaded.volume(partner)
        return partner, replace_nan(loaded.pair("aligned", partner))


class SlicedLayout(CaseLayout):
    """A layout of whole volumes that napari slices."""

    def moved(self) -> None:
        """Go to the slice of the point looked at."""
        assert self.loaded is not None
        if self.state.point is None or self.viewer.dims.ndim != 3:
            return
        for axis, (index, size) in enumerate(
            zip(self.state.point, self.loaded.spacing, strict=True)
        ):
            if abs(self.viewer.dims.point[axis] - index * size) > 1e-6 * size:
                self.viewer.dims.set_point(axis, index * size)

    def arrange(self, panes: int, fresh: bool) -> None:
        """Show the plane, and the slice."""
        if fresh:
            order = PLANES[self.state.plane]
            self.stage.arrange(panes, order, self.state.radiological, flat=True)
            self.stage.canvas.mark_edges()
        self.moved()


class GridLayout(SlicedLayout):
    """The synthetic volume and all neighbours as they are."""

    def titles(self, shown: list[CaseVolume]) -> list[str]:
        """Return those of the panes."""
        return [
            one.title
            + (ABSENT_NOTE if one.absent else "")
            + (PARTNER_MARK if i and i - 1 == self._partner(shown) else "")
            for i, one in enumerate(shown)
        ]

    def _partner(self, shown: list[CaseVolume]) -> int:
        """Return the index of the neighbour to be marked; of one alone it need not be said."""
        return min(self.state.partner, len(shown) - 2) if len(shown) > 2 else -1

    def put(self, loaded: LoadedCase) -> None:
        """One image a pane."""
        shown = list(loaded.case.all)
        parts = [
            LayerSpec("image", loaded.volume(one), title, titled=True, scale=loaded.spacing)
            for one, title in zip(shown, self.titles(shown), strict=True)
        ]
        fresh = self.stage.put(parts, stride=1)
        for i, layer in enumerate(self.stage.layers):
            box = layer.bounding_box
            box.points, box.line_color, box.line_thickness = False, "white", 2
            box.visible = i > 0 and i - 1 == self._partner(shown)
        self.stage.canvas.set_legend("")
        self.arrange(len(parts), fresh)

    def clicked(self, pane: int, position: tuple[float, ...]) -> int | None:
        """Choose the neighbour."""
        return pane - 1 if pane > 0 else None


class RenderingLayout(CaseLayout):
    """Both volumes of the pair in 3D, with letters at the sides of the patient."""

    flat = False

    def put(self, loaded: LoadedCase) -> None:
        """Put an image and six letters in a pane."""
        partner, other = self.partner(loaded)
        synthetic = loaded.volume(loaded.case.synthetic)
        titles = [loaded.case.synthetic.title, partner.title if partner else ""]
        places, letters = _place_side_letters(synthetic.shape)
        parts = []
        for title, volume, there in zip(titles, (synthetic, other), (True, partner), strict=True):
            seen, scale = bool(there), loaded.spacing
            parts.append(LayerSpec("image", volume, title, titled=seen, visible=seen, scale=scale))
            parts.append(
                LayerSpec(
                    "letters",
                    places,
                    "sides of the patient",
                    letters=letters,
                    scale=scale,
                    visible=seen,
                )
            )
        fresh = self.stage.put(parts, stride=2)
        for layer in self.stage.images:
            if layer.rendering != self.state.rendering:
                layer.rendering = self.state.rendering
        unregistered = partner is not None and partner.transform is None
        self.stage.canvas.set_legend(NOT_REGISTERED if unregistered else "")
        if fresh:
            self.stage.arrange(2 if partner else 1, (1, 2, 0), True, flat=False)
        self.turned()

    def turned(self) -> None:
        """Hide the two letters that lie one behind the other."""
        along = np.abs(self.viewer.scene.camera.view_direction)
        # The camera counts the axes as they are shown, letters as they are stored.
        facing = {axis for axis, part in zip((1, 2, 0), along, strict=True) if part > FACING_COSINE}
        seen = np.array([axis not in facing for axis in (0, 0, 1, 1, 2, 2)])
        for layer in self.stage.layers[1::2]:
            if not np.array_equal(layer.shown, seen):
                layer.shown = seen
                # napari writes the letters of hidden points too.
                words = tuple(w if v else "" for w, v in zip(_LETTERS, seen, strict=True))
                write_letters(layer, words, self.stage.canvas.font_size)

    def scrolled(self, pane: int | None, by: int) -> None:
        """Nothing: in 3D the wheel zooms."""


_LETTERS = tuple(letter for ends in AXIS_ENDS for letter in ends)


def _place_side_letters(shape: tuple[int, ...]) -> tuple[Any, tuple[str, ...]]:
    """Return points (6, 3) in voxels outside the faces of a volume, and their letters."""
    places, letters = [], []
    middle = [(n - 1) / 2 for n in shape]
    for axis, (far, near) in enumerate(AXIS_ENDS):
        for letter, place in ((far, 1.04 * shape[axis]), (near, -1 - 0.04 * shape[axis])):
            point = list(middle)
            point[axis] = place
            places.append(point)
            letters.append(letter)
    return np.array(places), tuple(letters)
