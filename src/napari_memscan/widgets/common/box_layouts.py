"""Rows and columns of widgets, and what stands in them everywhere."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QBoxLayout, QFrame, QHBoxLayout, QLabel, QVBoxLayout, QWidget


def add_widgets(layout: QBoxLayout, *widgets: QWidget) -> None:
    """Add widgets to a layout, one after the other."""
    for widget in widgets:
        layout.addWidget(widget)


def make_row(*widgets: QWidget, spacing: int) -> QHBoxLayout:
    """Return a row of widgets, this many pixels apart."""
    row = QHBoxLayout()
    row.setSpacing(spacing)
    add_widgets(row, *widgets)
    return row


def make_column(parent: QWidget, spacing: int | None = None) -> QVBoxLayout:
    """Make the layout of a widget a column without margins; `spacing` in pixels."""
    column = QVBoxLayout(parent)
    column.setContentsMargins(0, 0, 0, 0)
    if spacing is not None:
        column.setSpacing(spacing)
    return column


def make_wrapped_label(text: str = "") -> QLabel:
    """Return a label whose lines break between words."""
    label = QLabel(text)
    label.setWordWrap(True)
    return label


def make_separator() -> QFrame:
    """Return a horizontal line that takes no clicks."""
    line = QFrame()
    line.setFrameShape(QFrame.Shape.HLine)
    line.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
    return line
