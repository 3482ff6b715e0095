"""The statistics of a scan, and of its readers, in four tabs, linked to queue and viewer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QSizePolicy, QStackedWidget, QTabWidget, QWidget

from napari_memscan.detection.exploration.embedding_map import list_map_methods
from napari_memscan.detection.exploration.threshold_curve import (
    compute_rarefaction_curve,
    is_threshold_inclusive,
)
from napari_memscan.study import Study
from napari_memscan.widgets.common.box_layouts import make_column, make_wrapped_label
from napari_memscan.widgets.common.text import SCORE_DIGITS
from napari_memscan.widgets.common.theme import ThemeColours
from napari_memscan.widgets.readers import ReadersController, ReadersView
from napari_memscan.widgets.statistics.controller import MapController
from napari_memscan.widgets.statistics.map_view import MapView
from napari_memscan.widgets.statistics.rarefaction_view import RarefactionView
from napari_memscan.widgets.statistics.threshold_view import ThresholdView

if TYPE_CHECKING:
    from napari_memscan.detection.results.scan_result import SampleResult, ScanResult

EMPTY_TEXT = "Nothing is scanned yet. Scan first: here are then thresholds, a map and a curve."


class StatisticsPanel(QWidget):
    """Thresholds to try, a map of the embedding, the rarefaction curve, and how readers agree.

    Attributes
    ----------
    sample_selected : Signal(str)
        A volume was picked on the map: to be shown.
    samples_selected : Signal(list)
        Volumes were drawn around: the queue shows only these; empty shows all again.
    explored : Signal(object)
        The `detection.exploration.threshold_curve.ThresholdCounts` of the threshold that is tried.
    threshold, map, rarefaction, readers
        The tabs.
    """

    sample_selected = Signal(str)
    samples_selected = Signal(list)
    explored = Signal(object)

    def __init__(self, parent: QWidget | None = None, maps: MapController | None = None) -> None:
        super().__init__(parent)
        self.threshold, self.rarefaction = ThresholdView(), RarefactionView()
        self.map, self.readers = MapView(list_map_methods()), ReadersView()
        self.tabs = QTabWidget()
        self.tabs.setAccessibleName("Statistics")
        self.tabs.addTab(self.threshold, "Threshold")
        self.tabs.addTab(self.map, "Map")
        self.tabs.addTab(self.rarefaction, "Rarefaction")
        self.tabs.addTab(self.readers, "Readers")
        self._readers = ReadersController(self.readers, self)
        empty = make_wrapped_label(EMPTY_TEXT)
        empty.setMargin(12)
        self._stack = QStackedWidget()
        self._stack.addWidget(empty)
        self._stack.addWidget(self.tabs)
        layout = make_column(self)
        layout.addWidget(self._stack)
        # Else napari puts an empty half below it.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self._study: Study | None = None
        self._result: ScanResult | None = None
        self._samples: dict[str, SampleResult] = {}
        self._mapped: tuple[Any, str] | None = None
        self._maps = maps or MapController(self)
        self._maps.ready.connect(self._on_map)
        self._maps.progressed.connect(self.map.message.say)
        self.threshold.explored.connect(self.explored)
        self.map.picked.connect(self._on_picked)
        self.map.drawn.connect(self.samples_selected)
        self.map.method_changed.connect(self._want_map)
        self.tabs.currentChanged.connect(self._want_map)

    @property
    def busy(self) -> bool:
        """Whether a map is being made, or readers are compared."""
        return self._maps.busy or self._readers.busy

    def set_study(self, study: Study | None, result: ScanResult | None) -> None:
        """Show a scan of a study, or none; the map is made when its tab is first looked at."""
        self._study, self._result = study, result
        self._samples, self._mapped = {}, None
        self._maps.forget()
        self.map.set_map(None)
        self.map.message.say("")
        shown = study is not None and result is not None and bool(result.samples)
        self._readers.set_study(study if shown else None)
        self._stack.setCurrentIndex(int(shown))
        if study is None or result is None or not shown:
            self.threshold.set_values((), (), None)
            self.rarefaction.set_curve(None)
            return
        self._samples = {s.name: s for s in result.samples}
        self.threshold.set_shown(None)
        self.threshold.set_selected(None)
        self.threshold.set_values(
            [result.value(s) for s in result.samples],
            result.null,
            result.threshold,
            measure=result.measure,
            reaching=is_threshold_inclusive(result),
            digits=SCORE_DIGITS if result.measure == "score" else result.digits,
        )
        self.rarefaction.set_curve(compute_rarefaction_curve(result))
        self.map.set_visible_samples(None)
        self.map.set_selected("")
        self._want_map()

    def set_selected(self, sample: str) -> None:
        """Mark a volume in all tabs; nothing is emitted."""
        found = self._samples.get(sample)
        value = self._result.value(found) if found is not None and self._result else None
        self.threshold.set_selected(value)
        self.map.set_selected(sample if found is not None else "")

    def set_visible_samples(self, samples: Sequence[str] | None) -> None:
        """Follow the queue's filter: others are faint; None where it shows all."""
        self.map.set_visible_samples(samples)
        values = None
        if samples is not None and self._result is not None:
            known = (self._samples[name] for name in samples if name in self._samples)
            values = [self._result.value(s) for s in known]
        self.threshold.set_shown(values)

    def set_theme(self, look: ThemeColours) -> None:
        """Follow the theme."""
        for part in (self.threshold, self.map, self.rarefaction, self.readers):
            part.set_theme(look)

    def showEvent(self, event: Any) -> None:  # noqa: N802 (Qt's name)
        """Make the map, where it is what is looked at."""
        super().showEvent(event)
        self._want_map()

    def _want_map(self, _: Any = None) -> None:
        if self._study is None or self._result is None or not self.isVisible():
            return
        wanted = (self._result, self.map.method.currentText())
        if self.tabs.currentWidget() is not self.map or self._mapped == wanted:
            return
        self._mapped = wanted
        self.map.message.say("Making the map")
        self._maps.ask(self._study, *wanted)

    def _on_map(self, projection: Any, failure: str) -> None:
        called = [name for name, s in self._samples.items() if s.verdict.called]
        self.map.set_map(projection, list(self._samples), called)
        self.map.message.say(failure, "error")
        if failure:
            self._mapped = None  # Looking again tries again.

    def _on_picked(self, sample: str) -> None:
        self.set_selected(sample)
        self.sample_selected.emit(sample)
