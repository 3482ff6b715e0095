"""A synthetic volume and its partner after registration, compared in one place."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.utils import Colormap
from qtpy.QtCore import QObject, QTimer

from napari_memscan.typing import Array
from napari_memscan.widgets.common.orientation import PLANES
from napari_memscan.widgets.viewing.case import (
    BLINK,
    CHECKS,
    CONTOURS,
    DIFFERENCE,
    FADE,
    MAP,
    SIDE,
    CaseVolume,
    LoadedCase,
    ViewState,
)
from napari_memscan.widgets.viewing.layer_spec import LayerSpec
from napari_memscan.widgets.viewing.layouts import NOT_REGISTERED, SlicedLayout
from napari_memscan.widgets.viewing.pair_images import (
    MAP_LEVEL,
    compute_symmetric_limit,
    convert_segments,
    find_contour,
    make_checkerboard,
    smooth_slice,
    take_slice,
)
from napari_memscan.widgets.viewing.stage import PaneStage

# Blue and orange are told apart by people who do not tell red from green, and both from black.
DIVERGING = Colormap(
    [[0.35, 0.75, 1], [0.05, 0.35, 0.85], [0, 0, 0], [0.9, 0.4, 0], [1, 0.85, 0.4]],
    name="memscan difference",
    nan_color=[0.3, 0.3, 0.3, 1],
)
SYNTHETIC, OVER, LINES, OTHER = range(4)
NO_SEGMENTS = np.zeros((0, 2, 3))


class PairLayout(SlicedLayout):
    """Two panes side by side, or one that holds both."""

    def __init__(self, viewer: Any, stage: PaneStage, state: ViewState, parent: QObject) -> None:
        super().__init__(viewer, stage, state)
        self.blinking = QTimer(parent)
        self.blinking.setInterval(600)
        self.blinking.timeout.connect(self.flip)
        self._panes = 0
        self._over: Array | None = None

    def show(self, loaded: LoadedCase) -> None:
        """Show a case, the synthetic volume of the two first."""
        if self.loaded is None or loaded.case.key != self.loaded.case.key:
            self.state.flipped = False
        super().show(loaded)

    def mode(self, loaded: LoadedCase) -> str:
        """Return how the pair is shown: what is not registered only side by side."""
        partner = loaded.case.partner(self.state.partner)
        return SIDE if partner is None or partner.transform is None else self.state.pair_mode

    def put(self, loaded: LoadedCase) -> None:
        """Four layers whatever the mode: changing it changes no layer."""
        mode = self.mode(loaded)
        partner, other = self.partner(loaded)
        synthetic = loaded.volume(loaded.case.synthetic)
        over = self._picture(mode, loaded, synthetic, other, partner)
        self._over = over.data if mode in (CONTOURS, MAP) else None
        beside = mode == SIDE and partner is not None
        scale = loaded.spacing
        parts = [
            LayerSpec(
                "image",
                synthetic,
                self._title(mode, loaded, partner),
                titled=True,
                scale=scale,
                opacity=1.0 if mode not in (DIFFERENCE, CHECKS) else 0.0,
            ),
            over,
            LayerSpec("lines", NO_SEGMENTS, "lines", visible=mode in (CONTOURS, MAP), scale=scale),
            LayerSpec(
                "image",
                other,
                partner.title if partner and beside else "beside it",
                titled=beside,
                visible=beside,
                scale=scale,
                translate=self._translate(loaded, partner),
            ),
        ]
        fresh = self.stage.put(parts, stride=3)
        panes = 2 if beside else 1
        self.arrange(panes, fresh or panes != self._panes)
        self._panes = panes
        self._legend(mode, loaded, partner)
        self._apply_blend(mode)
        self._draw_lines()

    def _picture(
        self,
        mode: str,
        loaded: LoadedCase,
        synthetic: Array,
        other: Array,
        partner: CaseVolume | None,
    ) -> LayerSpec:
        """Return what lies over the synthetic volume."""
        title = partner.title if partner else ""
        part = LayerSpec(
            "overlay",
            other,
            title if mode == BLINK else "over it",
            visible=mode not in (SIDE, CONTOURS),
        )
        part.scale = loaded.spacing
        part.limits = self.stage.limits
        if partner is None or partner.transform is None:
            return part
        if mode == CHECKS:
            part.data = make_checkerboard(synthetic, loaded.pair("aligned", partner))
        elif mode == DIFFERENCE:
            # In the units that its bar is read in.
            units = self.units.high - self.units.low
            difference = synthetic - loaded.pair("aligned", partner)
            part.data, limit = units * difference, units * compute_symmetric_limit(difference)
            part.colormap, part.limits, part.bar = DIVERGING, (-limit, limit), True
        elif mode == MAP:
            part.data = loaded.pair("map", partner)
            part.colormap, part.limits, part.opacity = "viridis", (-1.0, 1.0), 0.55
            part.bar = True
        return part

    def _title(self, mode: str, loaded: LoadedCase, partner: CaseVolume | None) -> str:
        title = loaded.case.synthetic.title
        if partner is None or mode in (SIDE, BLINK):
            return title
        between = {DIFFERENCE: " − ", CONTOURS: ", lines: "}.get(mode, " | ")
        return f"{title}{between}{partner.title}"

    def _translate(self, loaded: LoadedCase, partner: CaseVolume | None) -> tuple[float, ...]:
        if partner is None or partner.transform is not None:
            return (0.0, 0.0, 0.0)
        axis = PLANES[self.state.plane][0]
        shift = [0.0, 0.0, 0.0]
        shift[axis] = -self.state.offsets[axis] * loaded.spacing[axis]
        return tuple(shift)

    def _legend(self, mode: str, loaded: LoadedCase, partner: CaseVolume | None) -> None:
        units = self.units
        text = ""
        if partner is not None and partner.transform is None:
            ahead = self.state.offsets[PLANES[self.state.plane][0]]
            text = f"{NOT_REGISTERED}\nThe partner is {ahead:+d} slices ahead."
        elif mode == FADE:
            text = f"{100 * self.state.fade:.0f} % of it is {partner.short if partner else ''}"
        elif mode == DIFFERENCE:
            first, second = loaded.case.synthetic.short, partner.short if partner else ""
            text = (
                f"Difference in {units.unit or '% of the range'}.\n"
                f"Orange: {first} is brighter,\n"
                f"blue: {second} is. Grey: not covered."
            )
        elif mode == MAP:
            text = (
                "Local similarity: larger is nearer.\n"
                f"Line: {MAP_LEVEL}. Without colour: not covered."
            )
        elif mode == CONTOURS:
            level = units.width_level(self.stage.limits)[1]
            text = f"Lines: the partner at {level:.0f} {units.unit or '%'}, the window's level"
        self.stage.canvas.set_legend(text, everywhere=True)

    # What changes while a case is shown

    def moved(self) -> None:
        """Go to the slice, and draw its lines."""
        super().moved()
        self._draw_lines()

    def window_moved(self) -> None:
        """Let follow the window what is in no common one by itself."""
        if self.loaded is None or len(self.stage.layers) != 4:
            return
        mode = self.mode(self.loaded)
        if mode in (BLINK, FADE, CHECKS):
            self.stage.layers[OVER].contrast_limits = self.stage.limits
        elif mode == CONTOURS:
            self._legend(mode, self.loaded, self.loaded.case.partner(self.state.partner))
            self._draw_lines()

    def flip(self) -> None:
        """Show the other one of the two, in their one pane."""
        self.state.flipped = not self.state.flipped
        if self.loaded is not None and len(self.stage.layers) == 4:
            self._apply_blend(self.mode(self.loaded))

    def set_fade(self, share: float) -> None:
        """Show so much of the partner, in [0, 1]."""
        self.state.fade = min(max(share, 0.0), 1.0)
        if self.loaded is not None and len(self.stage.layers) == 4:
            mode = self.mode(self.loaded)
            self._apply_blend(mode)
            self._legend(mode, self.loaded, self.loaded.case.partner(self.state.partner))

    def _apply_blend(self, mode: str) -> None:
        layers = self.stage.layers
        if mode == BLINK:
            layers[OVER].opacity = 1.0 if self.state.flipped else 0.0
            # The title is always that of what is seen.
            layers[OVER].name_overlay.visible = self.state.flipped
            layers[SYNTHETIC].name_overlay.visible = not self.state.flipped
        elif mode == FADE:
            layers[OVER].opacity = self.state.fade

    def _draw_lines(self) -> None:
        if self.loaded is None or self.state.point is None or len(self.stage.layers) != 4:
            return
        if self._over is None:
            # Hidden, and yet not to be those of another case.
            if len(self.stage.layers[LINES].data):
                self.stage.layers[LINES].data = NO_SEGMENTS
            return
        axes = PLANES[self.state.plane]
        index = self.state.point[axes[0]]
        image = take_slice(self._over, axes, index)
        if self.mode(self.loaded) == MAP:
            segments = find_contour(image, MAP_LEVEL)
        else:
            low, high = self.stage.limits
            segments = find_contour(smooth_slice(image), (low + high) / 2)
        self.stage.layers[LINES].data = convert_segments(segments, axes, index)
