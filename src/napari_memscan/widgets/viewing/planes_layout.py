"""Three planes of the pair with one crosshair."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.typing import Array, Triple
from napari_memscan.widgets.common.orientation import (
    PLANES,
    RADIOLOGICAL,
    get_camera_orientation,
    get_edge_letters,
)
from napari_memscan.widgets.viewing.case import CaseVolume, LoadedCase
from napari_memscan.widgets.viewing.layer_spec import LayerSpec
from napari_memscan.widgets.viewing.layouts import NOT_REGISTERED, CaseLayout
from napari_memscan.widgets.viewing.pair_images import take_slice

PLANE_NAMES = tuple(PLANES)
CROSSHAIR_GAP = 0.04
"""Share of a plane around the point that the crosshair leaves free."""


class PlanesLayout(CaseLayout):
    """Axial, coronal and sagittal slices of the synthetic volume, and below those of the partner.

    napari slices all its panes along one axis, so these are slices taken here (views, no copies):
    an image, a crosshair and letters a pane. Every slice is centred on the origin.
    """

    def put(self, loaded: LoadedCase) -> None:
        """Three layers a pane, six panes; three without a partner."""
        fresh = self.stage.put(self._parts(loaded), stride=3)
        partner = loaded.case.partner(self.state.partner)
        text = ""
        if partner is not None and partner.transform is None:
            offsets = " ".join(f"{o:+d}" for o in self.state.offsets)
            text = f"{NOT_REGISTERED} Offset X Y Z: {offsets} slices."
        self.stage.canvas.set_legend(text)
        if fresh:
            # Their rows and columns are what napari shows; each turns its own to the reader.
            self.stage.arrange(6 if partner else 3, (0, 1), True, flat=True)

    def _parts(self, loaded: LoadedCase) -> list[LayerSpec]:
        partner, other = self.partner(loaded)
        synthetic = loaded.volume(loaded.case.synthetic)
        rows = [(loaded.case.synthetic.title, synthetic, [0, 0, 0])]
        if partner is not None:
            rows.append((partner.title, other, self._ahead(partner)))
        parts = []
        for title, volume, ahead in rows:
            for name in PLANE_NAMES:
                parts += self._pane(f"{name}: {title}", name, volume, loaded.spacing, ahead)
        return parts

    def _pane(
        self, title: str, name: str, volume: Array, spacing: Triple, ahead: list[int]
    ) -> list[LayerSpec]:
        axes = PLANES[name]
        point = self._point(volume.shape)
        index = int(np.clip(point[axes[0]] + ahead[axes[0]], 0, volume.shape[axes[0]] - 1))
        image = take_slice(volume, axes, index)
        # One camera serves all: in the neurological convention a slice is turned by its own scale.
        mirrored = get_camera_orientation(axes, self.state.radiological) != RADIOLOGICAL
        scale = (spacing[axes[1]], spacing[axes[2]] * (-1 if mirrored else 1))
        translate = tuple(-(n - 1) / 2 * s for n, s in zip(image.shape, scale, strict=True))
        at = [point[axis] + ahead[axis] for axis in axes[1:]]
        found = get_edge_letters(axes, get_camera_orientation(axes, self.state.radiological))
        ends = _place_edge_letters(image.shape, mirrored)
        parts = [
            LayerSpec("image", image, title, titled=True),
            LayerSpec("lines", _make_crosshair(image.shape, at), "crosshair", opacity=0.8),
            LayerSpec(
                "letters",
                np.array([ends[e] for e in found]),
                "sides of the patient",
                letters=tuple(found.values()),
            ),
        ]
        for part in parts:
            part.scale, part.translate = scale, translate
        return parts

    def _point(self, shape: tuple[int, ...]) -> list[int]:
        point = self.state.point or [n // 2 for n in shape]
        return [int(np.clip(p, 0, n - 1)) for p, n in zip(point, shape, strict=True)]

    def moved(self) -> None:
        """Take the slices through the point looked at."""
        if self.loaded is not None:
            self.stage.put(self._parts(self.loaded), stride=3)

    def clicked(self, pane: int, position: tuple[float, ...]) -> int | None:
        """Move the crosshair there."""
        loaded, point = self.loaded, self.state.point
        if loaded is None or point is None:
            return None
        axes = PLANES[PLANE_NAMES[pane % 3]]
        shape = loaded.volume(loaded.case.synthetic).shape
        mirrored = get_camera_orientation(axes, self.state.radiological) != RADIOLOGICAL
        for axis, mm, sign in zip(axes[1:], position[-2:], (1, -1 if mirrored else 1), strict=True):
            index = sign * mm / loaded.spacing[axis] + (shape[axis] - 1) / 2
            if pane >= 3:
                index -= self._ahead(loaded.case.partner(self.state.partner))[axis]
            point[axis] = int(np.clip(round(index), 0, shape[axis] - 1))
        self.state.plane = PLANE_NAMES[pane % 3]
        self.moved()
        return None

    def _ahead(self, partner: CaseVolume | None) -> list[int]:
        unregistered = partner is not None and partner.transform is None
        return self.state.offsets if unregistered else [0, 0, 0]

    def scrolled(self, pane: int | None, by: int) -> None:
        """Go through the plane below the mouse; without a mouse through the one used last."""
        name = PLANE_NAMES[pane % 3] if pane is not None else self.state.plane
        self._step(PLANES[name][0], by)


def _make_crosshair(shape: tuple[int, ...], at: list[int]) -> NDArray[np.float64]:
    """Return four vectors (4, 2, 2) from near a point to the edges of a slice."""
    lines: list[Any] = []
    for axis, n in enumerate(shape):
        gap = max(1.5, CROSSHAIR_GAP * n)
        for start, stop in ((-0.5, at[axis] - gap), (at[axis] + gap, n - 0.5)):
            begin, along = [float(a) for a in at], [0.0, 0.0]
            begin[axis], along[axis] = start, max(stop - start, 0.0)
            lines.append((begin, along))
    return np.array(lines)


def _place_edge_letters(shape: tuple[int, ...], mirrored: bool) -> dict[str, tuple[float, float]]:
    """Return where letters stand inside a slice: rows grow upwards, columns to the left."""
    rows, columns = shape
    high, low = 0.94 * (rows - 1), 0.06 * (rows - 1)
    left, right = 0.96 * (columns - 1), 0.04 * (columns - 1)
    if mirrored:
        left, right = right, left
    middle = (rows - 1) / 2, (columns - 1) / 2
    return {
        "top": (high, middle[1]),
        "bottom": (low, middle[1]),
        "left": (middle[0], left),
        "right": (middle[0], right),
    }
