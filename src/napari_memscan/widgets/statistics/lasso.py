"""A plot's area on which points are picked: by a click, a line drawn around them, a rectangle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyqtgraph as pg
from numpy.typing import ArrayLike, NDArray
from qtpy.QtCore import QObject, Qt, Signal


def find_points_inside(points: ArrayLike, outline: ArrayLike) -> NDArray[np.bool_]:
    """Return which points (n, 2) lie inside a closed outline (m, 2), crossing or not.

    By the number of edges that a ray to the right crosses: odd is inside.
    """
    at, corners = np.asarray(points, float).reshape(-1, 2), np.asarray(outline, float)
    result = np.zeros(len(at), bool)
    if len(corners) < 3:
        return result
    x, y = at[:, 0], at[:, 1]
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y1 == y2:
            continue
        across = (y1 > y) != (y2 > y)
        result ^= across & (x < x1 + (y - y1) * (x2 - x1) / (y2 - y1))
    return result


class PickArea(pg.ViewBox):
    """Takes the left button for picking; the wheel zooms, the middle button moves.

    Attributes
    ----------
    signals : PickSignals
        What was picked; pyqtgraph's own signals stay its own.
    rectangle : bool
        A drag makes a rectangle instead of a free line.
    """

    def __init__(self) -> None:
        super().__init__(enableMenu=False)
        self.signals = PickSignals()
        self.rectangle = False
        self._path: list[tuple[float, float]] = []
        self.outline = pg.PlotCurveItem()
        self.outline.setZValue(20)
        self.addItem(self.outline, ignoreBounds=True)

    def mouseDragEvent(self, event: Any, axis: Any = None) -> None:  # noqa: N802 (pyqtgraph's name)
        """Draw around points; other buttons do what pyqtgraph does."""
        if event.button() != Qt.MouseButton.LeftButton:
            super().mouseDragEvent(event, axis)
            return
        event.accept()
        at = self.mapToView(event.pos())
        if event.isStart():
            start = self.mapToView(event.buttonDownPos())
            self._path = [(start.x(), start.y())]
        self._path.append((at.x(), at.y()))
        outline = self._outline()
        self.outline.setData(*np.array([*outline, outline[0]]).T)
        if event.isFinish():
            self.signals.drawn.emit(outline)

    def mouseClickEvent(self, event: Any) -> None:  # noqa: N802 (pyqtgraph's name)
        """Pick one point."""
        if event.button() == Qt.MouseButton.LeftButton:
            event.accept()
            at = self.mapToView(event.pos())
            self.signals.clicked.emit(at.x(), at.y())

    def erase(self) -> None:
        """Take the line away."""
        self._path = []
        self.outline.setData([], [])

    def _outline(self) -> list[tuple[float, float]]:
        if not self.rectangle:
            return list(self._path)
        (x1, y1), (x2, y2) = self._path[0], self._path[-1]
        return [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]


class PickSignals(QObject):
    """What was picked on a `PickArea`, in the coordinates of the plot.

    Attributes
    ----------
    clicked : Signal(float, float)
        A place.
    drawn : Signal(list)
        An outline, as (x, y) pairs.
    """

    clicked = Signal(float, float)
    drawn = Signal(list)
