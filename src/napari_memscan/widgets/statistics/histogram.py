"""What verdicts rest on, with the null behind, threshold and class limits marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from napari_memscan.widgets.common.message import WrappedLabel
from napari_memscan.widgets.common.theme import ThemeColours

AXIS_LABELS = {
    "similarity": "similarity (larger is nearer)",
    "score": "score after registration (larger is nearer)",
}
LIMIT_STYLES = {
    "novel up to": ("╎", Qt.PenStyle.DotLine),
}
"""Class limits: their mark in the legend and how their line is drawn."""


def compute_densities(
    synthetic: Sequence[float], null: Sequence[float], bins: int = 30
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Bin both samples on the same edges, each as percent of its own size.

    Returns
    -------
    edges : array (bins + 1,)
        Common edges over all finite values.
    synthetic, null : array (bins,)
        Percent of each sample in each bin.
    """
    values = [np.asarray(v, float) for v in (synthetic, null)]
    values = [v[np.isfinite(v)] for v in values]
    both = np.concatenate(values)
    low, high = (float(both.min()), float(both.max())) if both.size else (0.0, 1.0)
    if high - low < 1e-6:
        low, high = low - 0.01, high + 0.01
    edges = np.linspace(low, high, bins + 1)
    shares = [np.histogram(v, edges)[0] * (100 / max(v.size, 1)) for v in values]
    return edges, shares[0], shares[1]


class Histogram(QWidget):
    """A plot nobody has to operate: no menus, no zooming by accident."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.plot = pg.PlotWidget()
        self.plot.setMouseEnabled(x=False, y=False)
        self.plot.setMenuEnabled(False)
        self.plot.hideButtons()
        for side in ("bottom", "left"):
            # 0.9, not 900 thousandths. Once, while there is no label: each call scales anew.
            self.plot.getAxis(side).enableAutoSIPrefix(False)
        # pyqtgraph asks for 640 x 480 by itself: more than the whole dock.
        self.plot.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)
        self.legend = WrappedLabel()
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        self.legend.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.legend.setWordWrap(True)
        self.legend.setToolTip(
            "Of each volume to its nearest training volume. Null: of volumes known not to be "
            "copies. Copy from: called volumes are copies from here on, near-duplicates below. "
            "Novel up to: what is not called is undecided above."
        )
        self.plot.getAxis("bottom").setHeight(44)  # with room for descenders
        self.setFixedHeight(174)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.legend)
        layout.addWidget(self.plot, 1)
        self._look = ThemeColours()
        self._values: tuple[Sequence[float], Sequence[float]] | None = None
        self._threshold: tuple[str, float] | None = None
        self._limits: dict[str, float] = {}
        self._measure, self._digits = "similarity", 3
        self._selected: float | None = None
        self.set_theme(self._look)

    def set_values(
        self,
        synthetic: Sequence[float],
        null: Sequence[float],
        threshold: float | None,
        *,
        measure: str = "similarity",
        level: str = "tau",
        limits: Mapping[str, float] | None = None,
        digits: int = 3,
    ) -> None:
        """Show these values, in [-1, 1].

        Parameters
        ----------
        synthetic, null : sequence of float
            Of synthetic volumes, and of volumes known not to be copies.
        threshold : float or None
            Of the rule; None where it calls nothing.
        measure : {"similarity", "score"}
            What the values are.
        level : str
            What the threshold is called.
        limits : mapping of str to float, optional
            Class limits by their names in `LIMIT_STYLES`.
        digits : int
            Decimals in the legend.
        """
        self._values = (tuple(synthetic), tuple(null))
        self._threshold = None if threshold is None else (level, float(threshold))
        self._limits = dict(limits or {})
        self._measure, self._digits = measure, digits
        self._draw()

    def set_selected(self, value: float | None) -> None:
        """Mark the selected volume's value."""
        self._selected = value
        self._draw()

    def clear(self) -> None:
        """Show nothing."""
        self._values = self._selected = None
        self._draw()

    def set_theme(self, look: ThemeColours) -> None:
        """Follow the theme."""
        self._look = look
        self.plot.setBackground(look.background)
        for side in ("bottom", "left"):
            axis = self.plot.getAxis(side)
            axis.setPen(look.text)
            axis.setTextPen(look.text)
        self.plot.setLabel("left", "% of volumes", color=look.text)
        self._draw()

    def _draw(self) -> None:
        item = self.plot.getPlotItem()
        item.clear()
        self.legend.clear()
        look = self._look
        self.plot.setLabel("bottom", AXIS_LABELS[self._measure], color=look.text)
        if self._values is None:
            return
        edges, front, behind = compute_densities(*self._values)
        item.plot(edges, behind, stepMode="center", fillLevel=0, brush=look.quiet, pen=look.quiet)
        fill = pg.mkColor(look.accent)
        fill.setAlpha(170)
        item.plot(edges, front, stepMode="center", fillLevel=0, brush=fill, pen=look.text)
        marks = [("■", look.accent, "synthetic"), ("█", look.quiet, "null")]
        shown = []
        if self._threshold is not None:
            level, threshold = self._threshold
            shown.append(threshold)
            item.addItem(pg.InfiniteLine(threshold, angle=90, pen=pg.mkPen(look.alarm, width=2)))
            marks.append(("┃", look.alarm, f"{level} {threshold:.{self._digits}f}"))
        for name, value in self._limits.items():
            mark, style = LIMIT_STYLES[name]
            shown.append(value)
            pen = pg.mkPen(look.text, width=1, style=style)
            item.addItem(pg.InfiniteLine(value, angle=90, pen=pen))
            marks.append((mark, look.text, f"{name} {value:.{self._digits}f}"))
        if self._selected is not None:
            shown.append(self._selected)
            pen = pg.mkPen(look.text, width=2, style=Qt.PenStyle.DashLine)
            item.addItem(pg.InfiniteLine(self._selected, angle=90, pen=pen))
        marks.append(("┇", look.text, "selected"))
        # A mark and its words stay on one line.
        self.legend.setText(
            " &nbsp; ".join(
                f'<span style="color:{colour}">{mark}</span>&nbsp;{text.replace(" ", "&nbsp;")}'
                for mark, colour, text in marks
            )
        )
        low, high = min([edges[0], *shown]), max([edges[-1], *shown])
        pad = 0.03 * (high - low)
        item.setXRange(low - pad, high + pad, padding=0)
        item.setYRange(0, 1.1 * max(front.max(), behind.max(), 1), padding=0)
