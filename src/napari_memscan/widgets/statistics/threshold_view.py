"""Histogram with a threshold that can be dragged: what it would call, and how often wrongly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from qtpy.QtCore import QSignalBlocker, Qt, QTimer, Signal
from qtpy.QtWidgets import QDoubleSpinBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_memscan.detection.exploration.threshold_curve import (
    ThresholdCounts,
    count_above_threshold,
)
from napari_memscan.widgets.common.box_layouts import add_widgets
from napari_memscan.widgets.common.theme import ThemeColours
from napari_memscan.widgets.statistics import plots

COUNT_DELAY = 40
"""Milliseconds after a move of the line before counts follow."""

EXPLORATION_NOTE = (
    "This line only explores: verdicts and decisions stay those of the rule, wherever it is put."
)


AXIS_LABELS = {
    "similarity": "similarity (larger is nearer)",
    "score": "score after registration (larger is nearer)",
}


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


class ThresholdView(QWidget):
    """The values of a scan, its null, and a line to try other thresholds with.

    Attributes
    ----------
    explored : Signal(object)
        The `ThresholdCounts` of the line, when it has come to rest.
    """

    explored = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.plot = plots.make_plain_plot()
        self.plot.setAccessibleName("Histogram of the nearest training volume of each volume")
        self.legend, self.counts = (
            plots.make_rich_label("Legend"),
            plots.make_rich_label("Counts at this threshold"),
        )
        self.note = plots.make_rich_label("What the line does")
        self.note.setText(EXPLORATION_NOTE)
        self.box = QDoubleSpinBox()
        self.box.setAccessibleName("Threshold to try")
        self.box.setRange(-1.0, 1.0)
        self.box.setKeyboardTracking(False)
        self.box.setMinimumWidth(self.box.fontMetrics().horizontalAdvance("-0.000000") + 56)
        self.back = QPushButton("Back to the rule's")
        self.back.setToolTip("Put the line back where the study's rule has its threshold")
        self.line = pg.InfiniteLine(0.0, angle=90, movable=True)
        self.line.setZValue(10)
        row = QHBoxLayout()
        words = QLabel("Threshold:")
        words.setBuddy(self.box)
        add_widgets(row, words, self.box, self.back)
        row.addStretch(1)
        layout = QVBoxLayout(self)
        layout.addWidget(self.legend)
        layout.addWidget(self.plot, 1)
        layout.addLayout(row)
        add_widgets(layout, self.counts, self.note)
        self._look = ThemeColours()
        self._values: Sequence[float] = ()
        self._null: Sequence[float] = ()
        self._rule: float | None = None
        self._reaching, self._digits, self._measure = False, 3, "similarity"
        self._selected: float | None = None
        self._filtered: Sequence[float] | None = None
        self._explored: ThresholdCounts | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(COUNT_DELAY)
        self._timer.timeout.connect(self._count)
        self.line.sigPositionChanged.connect(self._on_dragged)
        self.box.valueChanged.connect(self.line.setValue)
        self.back.clicked.connect(self.reset)
        self.set_theme(self._look)

    def set_values(
        self,
        values: Sequence[float],
        null: Sequence[float],
        rule: float | None,
        *,
        measure: str = "similarity",
        reaching: bool = False,
        digits: int = 3,
    ) -> None:
        """Show a scan; the line goes to the rule's threshold.

        Parameters
        ----------
        values, null : sequence of float
            In [-1, 1], of synthetic volumes and of volumes known not to be copies.
        rule : float or None
            Threshold of the study's rule; None where it calls nothing.
        measure : {"similarity", "score"}
            What the values are.
        reaching : bool
            Whether the rule calls what reaches its threshold.
        digits : int
            Decimals shown.
        """
        self._values, self._null, self._rule = tuple(values), tuple(null), rule
        self._measure, self._reaching, self._digits = measure, reaching, digits
        with QSignalBlocker(self.box):
            self.box.setDecimals(digits)
            self.box.setSingleStep(10.0 ** (1 - digits))
        self.back.setEnabled(rule is not None)
        self.back.setText("Back to the rule's" if rule is not None else "The rule calls nothing")
        self._draw()
        self.reset()

    def set_shown(self, values: Sequence[float] | None) -> None:
        """Say how many of the volumes above the line the queue shows; None where it shows all."""
        self._filtered = values
        self._count()

    def set_selected(self, value: float | None) -> None:
        """Mark the selected volume's value."""
        self._selected = value
        self._draw()

    def reset(self) -> None:
        """Put the line back on the rule's threshold; where it has none, above all of the null."""
        start = self._rule
        if start is None:
            start = max([*self._null] or [*self._values] or [0.0])
        self.line.setValue(start)
        self._on_dragged()
        self._count()

    def set_theme(self, look: ThemeColours) -> None:
        """Follow the theme."""
        self._look = look
        plots.apply_theme(self.plot, look)
        self.plot.setLabel("left", "% of volumes", color=look.text)
        self.line.setPen(pg.mkPen(look.alarm, width=3))
        self.line.setHoverPen(pg.mkPen(look.text, width=5))
        self._draw()

    def _draw(self) -> None:
        item, look = self.plot.getPlotItem(), self._look
        item.clear()
        self.plot.setLabel("bottom", AXIS_LABELS[self._measure], color=look.text)
        self.legend.setText("")
        for widget in (self.box, self.counts):
            widget.setEnabled(bool(self._values))
        if not self._values:
            return
        edges, front, behind = compute_densities(self._values, self._null)
        item.plot(edges, behind, stepMode="center", fillLevel=0, brush=look.quiet, pen=look.quiet)
        fill = pg.mkColor(look.accent)
        fill.setAlpha(170)
        item.plot(edges, front, stepMode="center", fillLevel=0, brush=fill, pen=look.text)
        marks = [
            ("■", look.accent, "synthetic"),
            ("█", look.quiet, "null"),
            ("┃", look.alarm, "to try: drag it"),
        ]
        inside = [float(edges[0]), float(edges[-1])]
        for value, style, words, mark in (
            (self._rule, Qt.PenStyle.DotLine, "the rule's", "╎"),
            (self._selected, Qt.PenStyle.DashLine, "selected", "┇"),
        ):
            if value is None:
                continue
            inside.append(value)
            pen = pg.mkPen(look.text, width=2, style=style)
            item.addItem(pg.InfiniteLine(value, angle=90, pen=pen))
            marks.append((mark, look.text, f"{words} {value:.{self._digits}f}"))
        item.addItem(self.line)
        self.legend.setText(plots.format_legend(marks))
        low, high = min(inside), max(inside)
        pad = max(0.04 * (high - low), 1e-4)
        self.line.setBounds((low - pad, high + pad))
        item.setXRange(low - pad, high + pad, padding=0)
        item.setYRange(0, 1.1 * max(front.max(), behind.max(), 1), padding=0)

    def _on_dragged(self) -> None:
        with QSignalBlocker(self.box):
            self.box.setValue(self.line.value())
        self._timer.start()

    def _count(self) -> None:
        self._timer.stop()
        if not self._values:
            self.counts.setText("")
            return
        found = count_above_threshold(
            self._values, self._null, float(self.line.value()), reaching=self._reaching
        )
        self.counts.setText(self._told(found))
        if found != self._explored:
            self._explored = found
            self.explored.emit(found)

    def _told(self, found: ThresholdCounts) -> str:
        text = f"<b>{found.above} of {found.n}</b> synthetic volumes above "
        text += f"{found.threshold:.{self._digits}f}"
        if self._filtered is not None:
            part = count_above_threshold(
                self._filtered, (), found.threshold, reaching=self._reaching
            )
            text += f" ({part.above} of the {part.n} shown in the queue)"
        rate = found.error_rate
        if rate is None:
            return f"{text}. There is no null, so its error rate is not known."
        low, high = found.interval
        return (
            f"{text}. <b>{found.null_above} of {found.n_null}</b> of the null above: error rate "
            f"<b>{rate:.1%}</b> (95&nbsp;% {low:.1%} to {high:.1%}, Clopper-Pearson)."
        )
