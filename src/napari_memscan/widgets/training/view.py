"""What is trained for how long, its loss as it falls, and Stop."""

from __future__ import annotations

import pyqtgraph as pg
from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_memscan.widgets.common.box_layouts import add_widgets, make_row
from napari_memscan.widgets.common.message import Message
from napari_memscan.widgets.common.theme import ThemeColours
from napari_memscan.widgets.statistics import plots

PART_LABELS = {
    "autoencoder": "Autoencoder: first half of a generator",
    "denoiser": "Denoiser: second half, needs the first",
    "embedder": "Embedder: finds alike volumes",
}
DRAW_INTERVAL = 250
"""Milliseconds between two drawings of the curves: steps may be thousands a minute."""


class TrainView(QWidget):
    """The form of a training.

    Attributes
    ----------
    start_requested, stop_requested : Signal()
    part_chosen : Signal(str)
        Another part of a model: one of `PART_LABELS`.
    """

    start_requested = Signal()
    stop_requested = Signal()
    part_chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.about = QLabel(
            "Trains a small model on this study's training volumes, on this machine. Large ones "
            "are trained by the command 'memscan train'."
        )
        self.about.setWordWrap(True)
        self.part = QComboBox()
        for name, text in PART_LABELS.items():
            self.part.addItem(text, name)
        self.part.setAccessibleName("what is trained")
        self.part.currentIndexChanged.connect(lambda _i: self.part_chosen.emit(self.chosen))
        self.steps = QSpinBox()
        self.steps.setRange(1, 10_000_000)
        self.steps.setToolTip("Optimiser steps in all")
        self.batch = QSpinBox()
        self.batch.setRange(1, 4096)
        self.batch.setToolTip("Volumes in memory at once")
        self._form = QWidget()
        form = QFormLayout(self._form)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Train", self.part)
        form.addRow("Steps", self.steps)
        form.addRow("Batch", self.batch)
        self.start_button = QPushButton("Train")
        self.stop_button = QPushButton("Stop")
        self.start_button.clicked.connect(self.start_requested)
        self.stop_button.clicked.connect(self.stop_requested)
        buttons = make_row(self.start_button, self.stop_button, spacing=3)
        self.bar = QProgressBar()
        self.bar.setFormat("%v of %m steps")
        self.plot = plots.make_plain_plot()
        self.plot.setAccessibleName("Loss over steps")
        self.plot.setLogMode(y=True)
        self.legend, self.note = plots.make_rich_label("Legend"), QLabel()
        self.note.setWordWrap(True)
        self.message = Message()
        layout = QVBoxLayout(self)
        add_widgets(layout, self.about, self._form)
        layout.addLayout(buttons)
        add_widgets(layout, self.bar, self.note, self.message, self.legend)
        layout.addWidget(self.plot, 1)
        self._look = ThemeColours()
        self._losses: list[tuple[int, float]] = []
        self._validated: list[tuple[int, float]] = []
        self._timer = QTimer(self)
        self._timer.setInterval(DRAW_INTERVAL)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.draw)
        self.set_theme(self._look)
        self.set_running(False)

    @property
    def chosen(self) -> str:
        """Which part is to be trained."""
        return str(self.part.currentData())

    def set_defaults(self, steps: int, batch: int) -> None:
        """Fill in what is usual for the part."""
        self.steps.setValue(steps)
        self.batch.setValue(batch)

    def set_running(self, running: bool, possible: bool = True) -> None:
        """Show the bar and Stop while something is trained."""
        self._form.setEnabled(not running)
        self.start_button.setEnabled(not running and possible)
        self.stop_button.setEnabled(running)
        self.bar.setVisible(running)
        self.bar.setRange(0, 0)
        if not running:
            self.note.setText("")

    def set_stopping(self) -> None:
        """Say that Stop was heard."""
        self.stop_button.setEnabled(False)
        self.note.setText("Stopping after this step …")

    def set_reading(self, text: str) -> None:
        """Say what is done before the first step."""
        self.note.setText(text)

    def clear(self) -> None:
        """Begin with empty curves."""
        self._losses, self._validated = [], []
        self.draw()

    def add(self, step: int, total: int, loss: float, validation: float | None) -> None:
        """Put a step behind the others; the curves follow a little later."""
        self.bar.setRange(0, total)
        self.bar.setValue(step)
        self._losses.append((step, loss))
        if validation is not None:
            self._validated.append((step, validation))
        if not self._timer.isActive():
            self._timer.start()

    def draw(self) -> None:
        """Draw both curves as they are now."""
        item, look = self.plot.getPlotItem(), self._look
        item.clear()
        self.legend.setText("")
        losses = [(s, v) for s, v in self._losses if v > 0]
        if not losses:
            return
        # No more points than pixels: a long training stays quick to draw.
        every = max(1, len(losses) // 1000)
        steps, values = zip(*losses[::every], strict=True)
        faint = plots.blend_colour(look, 0.6)
        item.plot(steps, values, pen=pg.mkPen(faint, width=1))
        marks = [("─", faint, f"training {values[-1]:.4g}")]
        validated = [(s, v) for s, v in self._validated if v > 0]
        if validated:
            steps, values = zip(*validated, strict=True)
            item.plot(
                steps,
                values,
                pen=pg.mkPen(look.text, width=2),
                symbol="o",
                symbolSize=6,
                symbolBrush=look.text,
                symbolPen=None,
            )
            marks.append(("━●", look.text, f"validation {values[-1]:.4g}"))
        self.legend.setText(plots.format_legend(marks))

    def set_theme(self, look: ThemeColours) -> None:
        """Follow the theme."""
        self._look = look
        self.message.set_theme(look)
        plots.apply_theme(self.plot, look)
        self.plot.setLabel("bottom", "step", color=look.text)
        self.plot.setLabel("left", "loss (smaller is better)", color=look.text)
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.draw()
