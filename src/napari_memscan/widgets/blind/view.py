"""Blind reading in the dock: the first page, and the page of the cases."""

from __future__ import annotations

from qtpy.QtWidgets import QStackedWidget, QWidget

from napari_memscan.widgets.blind.case_view import CaseView
from napari_memscan.widgets.blind.start_view import StartView
from napari_memscan.widgets.common.theme import ThemeColours


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

    def set_theme(self, look: ThemeColours) -> None:
        """Follow the theme."""
        self.start.set_theme(look)
        self.case.set_theme(look)
