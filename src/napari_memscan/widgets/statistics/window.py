"""The window of the statistics: made when it is asked for, and away while nobody may know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject

from napari_memscan.study import Study
from napari_memscan.widgets.common.floating_window import FloatingWindow
from napari_memscan.widgets.statistics.panel import StatisticsPanel

if TYPE_CHECKING:
    from napari_memscan.detection.results.scan_result import ScanResult
    from napari_memscan.widgets.review.controller import ReviewController
    from napari_memscan.widgets.review.view import ReviewView

SIZE = (900, 600)
"""Pixels at first."""


class StatisticsWindow(QObject):
    """Shows the statistics of the scan that is read, linked to its queue.

    Attributes
    ----------
    panel : StatisticsPanel
    """

    def __init__(
        self, viewer: Any, view: ReviewView, review: ReviewController, parent: QObject
    ) -> None:
        super().__init__(parent)
        self.panel = StatisticsPanel()
        self._window = FloatingWindow(viewer, self.panel, "Memscan statistics", SIZE, self)
        self._view, self._review = view, review
        self._study: Study | None = None
        self._counted: ScanResult | None = None
        self._away = self._shown_before = False
        self._window.shown.connect(self._show)
        self.panel.sample_selected.connect(view.queue.select)
        self.panel.samples_selected.connect(lambda samples: review.show_only(samples or None))
        review.selected.connect(self.panel.set_selected)
        review.listed.connect(self.panel.set_visible_samples)
        view.statistics_requested.connect(self.toggle)

    def toggle(self) -> None:
        """Show the window, or hide it."""
        if not self._away:
            self._window.toggle()

    def follow(self, study: Study | None) -> None:
        """Show the scan of this study that is read, once somebody looks."""
        self._study = study
        self._show()

    def put_aside(self) -> None:
        """Hide it and forget what it shows, until it is brought back."""
        self._away, self._shown_before = True, not self._window.hidden
        self._window.hide()
        self._counted = None
        self.panel.set_study(None, None)

    def bring_back(self) -> None:
        """Show it again if it was shown before."""
        self._away = False
        if self._shown_before:
            self._window.show()

    def _show(self) -> None:
        result = self._review.result
        if self._away or self._window.hidden or self._counted is result:
            return
        self._counted = result
        self.panel.set_study(self._study, result)
        self.panel.set_selected(self._view.queue.current)
