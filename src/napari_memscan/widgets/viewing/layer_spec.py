"""A layer of a pane: what it holds, and how napari's layer is made and changed to hold it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image, Layer, Points, Vectors
from numpy.typing import NDArray

from napari_memscan.widgets.viewing.window_level import Limits

LINE_COLOUR = "#ffd400"


@dataclass
class LayerSpec:
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
    bar : bool
        Its colours are explained by a bar.
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
    bar: bool = False

    @property
    def ndim(self) -> int:
        """How many dimensions it lies in."""
        return int(self.data.shape[-1] if self.kind in ("lines", "letters") else self.data.ndim)


def create_layer(part: LayerSpec, limits: Limits) -> Layer:
    """Return a new layer; `limits` are those of the common window."""
    common = {"name": part.title, "scale": part.scale, "translate": part.translate}
    if part.kind == "lines":
        layer = Vectors(
            part.data, edge_color=LINE_COLOUR, vector_style="line", edge_width=0.5, **common
        )
    elif part.kind == "letters":
        layer = Points(
            part.data, size=0.01, face_color="transparent", border_color="transparent", **common
        )
    else:
        layer = Image(
            part.data,
            contrast_limits=limits,
            colormap="gray",
            interpolation2d="linear",
            blending="translucent_no_depth",
            **common,
        )
        if part.kind == "overlay":
            # Where neither titles nor the letters of the sides are.
            layer.colorbar.position, layer.colorbar.size = "bottom_right", (14, 100)
            _apply_colours(layer, part)
    layer.visible, layer.opacity = part.visible, part.opacity
    layer.name_overlay.box = True
    return layer


def set_font(layer: Any, size: int) -> None:
    """Set the size of a layer's title, and of the numbers at its colours; in points."""
    layer.name_overlay.font_size = size
    if isinstance(layer, Image):
        layer.colorbar.font_size = size


def write_letters(layer: Any, letters: tuple[str, ...], size: int) -> None:
    """Write letters at the points of a layer; their size is in typographic points."""
    layer.text = {"string": list(letters), "color": "white", "size": size}


def update_layer(layer: Any, part: LayerSpec, old: LayerSpec) -> None:
    """Give a layer what its part holds now; `old` is what it held."""
    ndim = part.ndim
    scale: tuple[float, ...] = part.scale or (1.0,) * ndim
    if not np.allclose(layer.scale, scale):
        layer.scale = scale
    translate = part.translate or (0.0,) * ndim
    if not np.allclose(layer.translate, translate):
        layer.translate = translate
    if not _has_same_data(part, old):
        layer.data = part.data
    if part.kind == "overlay":
        _apply_colours(layer, part)
    if layer.opacity != part.opacity:
        layer.opacity = part.opacity
    if layer.visible != part.visible:
        layer.visible = part.visible


def _has_same_data(part: LayerSpec, old: LayerSpec) -> bool:
    """Return whether two parts hold the same: large arrays by where they lie, no array changes."""
    if part.kind in ("lines", "letters"):
        return np.array_equal(part.data, old.data)
    return bool(part.data.__array_interface__ == old.data.__array_interface__)


def _apply_colours(layer: Any, part: LayerSpec) -> None:
    if layer.colormap != part.colormap:
        layer.colormap = part.colormap
    if layer.colorbar.visible != part.bar:
        layer.colorbar.visible = part.bar
    if part.limits is not None and tuple(layer.contrast_limits) != part.limits:
        layer.contrast_limits = part.limits
