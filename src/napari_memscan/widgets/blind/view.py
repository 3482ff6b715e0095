"""Blind reading in the dock: the first page, and the page of the cases."""

from __future__ import annotations

from qtpy.QtWidgets import QStackedWidget, QWidget

from napari_memscan.widgets.blind.case_view import CaseView
from napari_memscan.widgets.blind.start_view import StartView
from napari_memscan.widgets.common.theme import Look


class BlindView(QStackedWidget):
    """Shows one of its two pages.

    Attributes
    ----------
    start : StartView
    case : CaseView
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.start, self.case = StartView(), CaseView()
        self.addWidget(self.start)
        self.addWidget(self.case)

    def set_look(self, look: Look) -> None:
        """Follow the theme."""
        self.start.set_look(look)
        self.case.set_look(look)
