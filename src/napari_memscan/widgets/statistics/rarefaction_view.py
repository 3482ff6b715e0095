"""How many training volumes have a copy, over the number of synthetic volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyqtgraph as pg
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_memscan.widgets.common.theme import ThemeColours
from napari_memscan.widgets.statistics import plots

if TYPE_CHECKING:
    from napari_memscan.detection.exploration.threshold_curve import RarefactionCurve


class RarefactionView(QWidget):
    """N_mem over the number of synthetic volumes, with its interval."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.plot = plots.make_plain_plot()
        self.plot.setAccessibleName("Rarefaction curve")
        self.legend, self.text = (
            plots.make_rich_label("Legend"),
            plots.make_rich_label("What the curve says"),
        )
        layout = QVBoxLayout(self)
        layout.addWidget(self.legend)
        layout.addWidget(self.plot, 1)
        layout.addWidget(self.text)
        self._look = ThemeColours()
        self._curve: RarefactionCurve | None = None
        self.set_theme(self._look)

    def set_curve(self, curve: RarefactionCurve | None) -> None:
        """Show a curve, or none."""
        self._curve = curve
        self._draw()

    def set_theme(self, look: ThemeColours) -> None:
        """Follow the theme."""
        self._look = look
        plots.apply_theme(self.plot, look)
        self.plot.setLabel("bottom", "synthetic volumes", color=look.text)
        self.plot.setLabel("left", "training volumes with a copy", color=look.text)
        self._draw()

    def _draw(self) -> None:
        item, look, curve = self.plot.getPlotItem(), self._look, self._curve
        item.clear()
        self.legend.setText("")
        self.text.setText("" if curve is None else describe_curve(curve))
        if curve is None:
            return
        edge = pg.mkPen(look.text, width=1)
        low = pg.PlotDataItem(curve.sizes, curve.low, pen=edge)
        high = pg.PlotDataItem(curve.sizes, curve.high, pen=edge)
        between = pg.mkColor(look.accent)
        between.setAlpha(90)
        for part in (pg.FillBetweenItem(low, high, brush=between), low, high):
            item.addItem(part)
        item.plot(curve.sizes, curve.n_mem, pen=pg.mkPen(look.text, width=3))
        self.legend.setText(
            plots.format_legend(
                [("━", look.text, "N_mem, on average"), ("░", look.text, "95 % interval")]
            )
        )
        item.setXRange(0, max(curve.n_synthetic, 1), padding=0.02)
        item.setYRange(0, max(float(curve.high.max()), 1.0) * 1.05, padding=0)


def describe_curve(curve: RarefactionCurve) -> str:
    """Return what a curve says, in words."""
    seen, total = round(float(curve.n_mem[-1])), curve.unseen
    text = (
        f"<b>{seen} of {curve.n_training}</b> training volumes have a copy among "
        f"{curve.n_synthetic} synthetic volumes"
    )
    if not seen:
        return f"{text}: no synthetic volume is called."
    if total.interval is None:
        return (
            f"{text}. Each was copied more than once, or only one was: more synthetic volumes are "
            "not expected to bring others."
        )
    low, high = total.interval
    return (
        f"{text}. With more synthetic volumes at least <b>{total.estimate:.0f}</b> are expected "
        f"(95 % {low:.0f} to {high:.0f}, Chao 1987): where the curve still rises, not all "
        "memorised volumes have been seen."
    )
