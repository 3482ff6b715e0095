"""Makes what the statistics show of a scan; the map in the background."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_memscan.jobs.scan.embedding_map import compute_embedding_map
from napari_memscan.study import Study
from napari_memscan.widgets.common.runner import JobOutcome, JobRunner

if TYPE_CHECKING:
    from napari_memscan.detection.results.scan_result import ScanResult

MapRequest = tuple[Study, "ScanResult", str]


class MapController(QObject):
    """Computes one map at a time; an answer to an older question is dropped.

    Attributes
    ----------
    ready : Signal(object, str)
        An `EmbeddingMap`, or None with the reason in words.
    progressed : Signal(str)
        How far it is, in words.
    """

    ready = Signal(object, str)
    progressed = Signal(str)

    def __init__(
        self,
        parent: QObject | None = None,
        make: Callable[[Study, Any, str], Any] = compute_embedding_map,
    ) -> None:
        super().__init__(parent)
        self._make = make
        self._wanted: MapRequest | None = None
        self._asked: MapRequest | None = None
        self._runner = JobRunner(self)
        self._runner.progressed.connect(self._on_progress)
        self._runner.finished.connect(self._on_finished)

    @property
    def busy(self) -> bool:
        """Whether a map is being made."""
        return self._runner.busy

    def ask(self, study: Study, result: ScanResult, method: str) -> None:
        """Make this map; `ready` brings it, unless something else is asked before."""
        self._wanted = (study, result, method)
        if self._runner.busy:
            self._runner.stop()
        else:
            self._start()

    def forget(self) -> None:
        """Want no map any more."""
        self._wanted = None
        self._runner.stop()

    def _start(self) -> None:
        assert self._wanted is not None
        self._asked = self._wanted
        self._runner.start(partial(self._make, *self._asked))

    def _on_progress(self, news: Any) -> None:
        if self._asked is self._wanted:
            self.progressed.emit(f"{news.what}, {news.done} of {news.total}")

    def _on_finished(self, outcome: JobOutcome) -> None:
        if self._wanted is None:
            return
        if self._asked is not self._wanted:
            self._start()
        elif not outcome.stopped:
            self.ready.emit(outcome.value, outcome.failure)
