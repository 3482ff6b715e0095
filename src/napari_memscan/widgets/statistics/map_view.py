"""Map of the embedding: training, validation and synthetic volumes, picked by click and lasso."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_memscan.widgets.common.box_layouts import add_widgets
from napari_memscan.widgets.common.message import Message
from napari_memscan.widgets.common.theme import ThemeColours
from napari_memscan.widgets.statistics import plots
from napari_memscan.widgets.statistics.lasso import PickArea, find_points_inside

if TYPE_CHECKING:
    from napari_memscan.detection.exploration.embedding_map import EmbeddingMap

PICK_RADIUS = 14
"""Pixels around a click in which a volume is found."""

TRAINING, HIDDEN = 0.6, 0.25
"""How far training volumes, and those that the queue does not show, stand out of the background."""

NO_UMAP = "UMAP is offered where the package umap-learn is installed"


class MapView(QWidget):
    """Volumes on a map.

    Attributes
    ----------
    picked : Signal(str)
        One synthetic volume was clicked, or reached with the arrow keys.
    drawn : Signal(list)
        Names of the synthetic volumes inside a line that was drawn, in their order; empty where
        the drawing was cleared.
    method_changed : Signal(str)
        Another map is asked for.
    embedding_map : EmbeddingMap or None
        Where volumes lie on the map that is shown.
    """

    picked = Signal(str)
    drawn = Signal(list)
    method_changed = Signal(str)

    def __init__(self, methods: Sequence[str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.area = PickArea()
        self.plot = plots.make_plain_plot(self.area)
        self.plot.setMouseEnabled(x=True, y=True)  # the wheel zooms
        self.plot.setAccessibleName("Map of the embedding; arrow keys go from volume to volume")
        self.plot.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.plot.keyPressEvent = self._on_key
        self.legend, self.count = (
            plots.make_rich_label("Legend"),
            plots.make_rich_label("Volumes drawn around"),
        )
        self.provenance = plots.make_rich_label("How the map was made")
        self.message = Message()
        self.method = QComboBox()
        self.method.setAccessibleName("Kind of map")
        self.method.addItems(list(methods))
        self.method.setToolTip("" if "UMAP" in methods else NO_UMAP)
        self.lasso, self.rectangle = QPushButton("◌ Lasso"), QPushButton("▭ Rectangle")
        self.clear = QPushButton("Clear")
        self.fit = QPushButton("Fit")
        for button, tip in (
            (self.lasso, "Draw around volumes with the left button: the queue shows only those"),
            (self.rectangle, "Draw a rectangle with the left button instead"),
            (self.clear, "Take the drawing away: the queue shows all volumes again"),
            (self.fit, "See the whole map again, after zooming with the wheel"),
        ):
            button.setToolTip(tip)
            button.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        for button in (self.lasso, self.rectangle):
            button.setCheckable(True)
            button.setAutoExclusive(True)
        self.lasso.setChecked(True)
        words = QLabel("Map:")
        words.setBuddy(self.method)
        layout = QVBoxLayout(self)
        # Two rows: one would be wider than a dock.
        for widgets in ((words, self.method, self.fit), (self.lasso, self.rectangle, self.clear)):
            row = QHBoxLayout()
            for widget in widgets:
                row.addWidget(widget)
            row.addStretch(1)
            layout.addLayout(row)
        add_widgets(layout, self.legend, self.message)
        layout.addWidget(self.plot, 1)
        add_widgets(layout, self.count, self.provenance)
        self.ring = pg.ScatterPlotItem(symbol="o", size=24, brush=pg.mkBrush(None))
        self.ring.setEnabled(False)
        self.ring.setZValue(15)
        self._look = ThemeColours()
        self.embedding_map: EmbeddingMap | None = None
        self._names: list[str] = []
        self._called: set[str] = set()
        self._visible: set[str] | None = None
        self._selected = ""
        self._drawn: list[str] = []
        self.rectangle.toggled.connect(self._on_mode)
        self.clear.clicked.connect(self.erase)
        self.fit.clicked.connect(self.area.autoRange)
        self.method.currentTextChanged.connect(self.method_changed)
        self.area.signals.clicked.connect(self._on_clicked)
        self.area.signals.drawn.connect(self._on_drawn)
        self.set_theme(self._look)

    def set_map(
        self, projection: EmbeddingMap | None, names: Sequence[str] = (), called: Sequence[str] = ()
    ) -> None:
        """Show a map, or none.

        Parameters
        ----------
        projection : EmbeddingMap or None
            Where volumes lie.
        names : sequence of str
            Of the synthetic volumes, in its order.
        called : sequence of str
            Those that the program calls.
        """
        self.embedding_map, self._names, self._called = projection, list(names), set(called)
        self.area.erase()
        self._drawn = []
        self.provenance.setText(f"{projection.provenance}." if projection is not None else "")
        self._draw()
        self.area.autoRange()

    def set_visible_samples(self, names: Sequence[str] | None) -> None:
        """Show others than these faintly; they cannot be picked. None shows all."""
        self._visible = None if names is None else set(names)
        self._draw()

    def set_selected(self, name: str) -> None:
        """Put a ring around a volume."""
        self._selected = name
        self._mark()

    def set_theme(self, look: ThemeColours) -> None:
        """Follow the theme."""
        self._look = look
        plots.apply_theme(self.plot, look)
        self.area.outline.setPen(pg.mkPen(look.text, width=2, style=Qt.PenStyle.DashLine))
        self.message.set_theme(look)
        self._draw()

    def erase(self) -> None:
        """Take the drawing away."""
        self.area.erase()
        if self._drawn:
            self._drawn = []
            self._tell()
            self.drawn.emit([])

    def _draw(self) -> None:
        item, look, there = self.plot.getPlotItem(), self._look, self.embedding_map
        item.clear()
        self.area.addItem(self.area.outline, ignoreBounds=True)
        self._tell()
        self.legend.setText(plots.format_legend(self._marks()))
        if there is None:
            return
        for axis, words in zip(("bottom", "left"), there.axes, strict=True):
            self.plot.setLabel(axis, words, color=look.text)
        hidden = plots.blend_colour(look, HIDDEN)
        called = np.array([name in self._called for name in self._names], bool)
        free = self._free()
        self._scatter(there.training, "o", 7, plots.blend_colour(look, TRAINING), None)
        self._scatter(there.validation, "t1", 9, look.text, None)
        self._scatter(there.synthetic[~free & ~called], "s", 8, hidden, None)
        self._scatter(there.synthetic[~free & called], "star", 12, hidden, None)
        self._scatter(there.synthetic[free & ~called], "s", 9, look.text, look.accent)
        self._scatter(there.synthetic[free & called], "star", 15, look.text, look.alarm)
        self.area.addItem(self.ring, ignoreBounds=True)
        self._mark()

    def _mark(self) -> None:
        """Move the ring alone: a queue of thousands is stepped through faster than all is drawn."""
        there = self.embedding_map
        points: Any = []
        if there is not None and self._selected in self._names:
            points = there.synthetic[[self._names.index(self._selected)]]
        self.ring.setData(pos=points, pen=pg.mkPen(self._look.text, width=3))

    def _scatter(self, points: Any, symbol: str, size: int, pen: Any, brush: Any) -> None:
        scatter = pg.ScatterPlotItem(
            pos=points,
            symbol=symbol,
            size=size,
            pen=pg.mkPen(pen, width=1.2),
            brush=pg.mkBrush(brush),
        )
        scatter.setEnabled(False)  # Clicks go to the area, which knows what may be picked.
        self.plot.addItem(scatter)

    def _marks(self) -> list[tuple[str, str, str]]:
        look = self._look
        return [
            ("○", plots.blend_colour(look, TRAINING), "training"),
            ("△", look.text, "validation"),
            ("■", look.accent, "synthetic"),
            ("★", look.alarm, "called copy or near-duplicate"),
            ("◯", look.text, "selected"),
        ]

    def _free(self) -> Any:
        """Return which synthetic volumes can be picked (n,)."""
        return np.array(
            [self._visible is None or name in self._visible for name in self._names], bool
        )

    def _on_mode(self, rectangle: bool) -> None:
        self.area.rectangle = rectangle

    def _on_clicked(self, x: float, y: float) -> None:
        if self.embedding_map is None or not self._names:
            return
        wide, high = self.area.viewPixelSize()
        away = np.hypot(*((self.embedding_map.synthetic - (x, y)) / (wide, high)).T)
        away[~self._free()] = np.inf
        nearest = int(away.argmin())
        if away[nearest] <= PICK_RADIUS:
            self.picked.emit(self._names[nearest])

    def _on_drawn(self, outline: list[tuple[float, float]]) -> None:
        if self.embedding_map is None:
            return
        held = find_points_inside(self.embedding_map.synthetic, outline)
        self._draw_around([name for name, here in zip(self._names, held, strict=True) if here])

    def _draw_around(self, names: list[str]) -> None:
        before, self._drawn = self._drawn, names
        self._tell()
        if names or before:
            self.drawn.emit(names)

    def _tell(self) -> None:
        n = len(self._drawn)
        self.clear.setEnabled(bool(n))
        volumes = "volume" if n == 1 else "volumes"
        self.count.setText(
            f"<b>{n} synthetic {volumes}</b> drawn around: the queue shows only them."
            if n
            else "Click a synthetic volume to see it, or draw around several; by keyboard ← and →, "
            "with Shift to add them."
        )

    def _on_key(self, event: Any) -> None:
        """Go to the next volume to the right or left; Escape takes the drawing away.

        With Shift, where one goes is added to what is drawn around: as with the mouse, also what
        the queue does not show.
        """
        steps = {Qt.Key.Key_Right: 1, Qt.Key.Key_Left: -1}
        if event.key() == Qt.Key.Key_Escape:
            self.erase()
        elif event.key() in steps and self.embedding_map is not None and self._free().any():
            more = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
            order = np.argsort(self.embedding_map.synthetic[:, 0], kind="stable")
            names = [self._names[i] for i in order if more or self._free()[i]]
            at = names.index(self._selected) if self._selected in names else -1
            there = names[(at + steps[event.key()]) % len(names)]
            if more:
                wanted = {*self._drawn, self._selected, there}
                self._draw_around([name for name in self._names if name in wanted])
            self.picked.emit(there)
        else:
            pg.PlotWidget.keyPressEvent(self.plot, event)
