"""Similarities of the synthetic volumes, with the null behind and the threshold marked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_memscan.detection.result import digits_of
from napari_memscan.widgets.look import Look


def densities(
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
        # pyqtgraph asks for 640 x 480 by itself: more than the whole dock.
        self.plot.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)
        self.legend = QLabel()
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        self.legend.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.legend.setToolTip(
            "Similarity of each volume to its nearest training volume. Null: of volumes known not "
            "to be copies. Tau: the threshold; above it a volume is called a copy."
        )
        self.setFixedHeight(150)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.legend)
        layout.addWidget(self.plot)
        self._look = Look()
        self._values: tuple[Sequence[float], Sequence[float], float] | None = None
        self._selected: float | None = None
        self.set_look(self._look)

    def set_values(
        self, synthetic: Sequence[float], null: Sequence[float], threshold: float
    ) -> None:
        """Show these similarities, in [-1, 1], and this tau."""
        self._values = (tuple(synthetic), tuple(null), float(threshold))
        self._draw()

    def set_selected(self, similarity: float | None) -> None:
        """Mark the selected volume's similarity."""
        self._selected = similarity
        self._draw()

    def clear(self) -> None:
        """Show nothing."""
        self._values = self._selected = None
        self._draw()

    def set_look(self, look: Look) -> None:
        """Follow the theme."""
        self._look = look
        self.plot.setBackground(look.background)
        for side in ("bottom", "left"):
            axis = self.plot.getAxis(side)
            axis.setPen(look.text)
            axis.setTextPen(look.text)
        self.plot.setLabel("bottom", "similarity (larger is nearer)", color=look.text)
        self.plot.setLabel("left", "% of volumes", color=look.text)
        self._draw()

    def _draw(self) -> None:
        item = self.plot.getPlotItem()
        item.clear()
        self.legend.clear()
        if self._values is None:
            return
        look = self._look
        synthetic, null, threshold = self._values
        edges, front, behind = densities(synthetic, null)
        item.plot(edges, behind, stepMode="center", fillLevel=0, brush=look.quiet, pen=look.quiet)
        fill = pg.mkColor(look.accent)
        fill.setAlpha(170)
        item.plot(edges, front, stepMode="center", fillLevel=0, brush=fill, pen=look.text)
        item.addItem(pg.InfiniteLine(threshold, angle=90, pen=pg.mkPen(look.alarm, width=2)))
        marks = {
            "■": (look.accent, "synthetic"),
            "█": (look.quiet, "null"),
            "┃": (look.alarm, f"tau {threshold:.{digits_of(threshold)}f}"),
            "┇": (look.text, "selected"),
        }
        self.legend.setText(
            " &nbsp;".join(f'<span style="color:{c}">{m}</span> {t}' for m, (c, t) in marks.items())
        )
        if self._selected is not None:
            style = Qt.PenStyle.DashLine
            item.addItem(
                pg.InfiniteLine(
                    self._selected, angle=90, pen=pg.mkPen(look.text, width=2, style=style)
                )
            )
        shown = [threshold] if self._selected is None else [threshold, self._selected]
        low, high = min(edges[0], *shown), max(edges[-1], *shown)
        pad = 0.03 * (high - low)
        item.setXRange(low - pad, high + pad, padding=0)
        item.setYRange(0, 1.1 * max(front.max(), behind.max(), 1), padding=0)
