"""Connects step 3 to the scan, the store of decisions, the panes and the regeneration."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_memscan import jobs
from napari_memscan.errors import MemscanError
from napari_memscan.generators.interface import Step
from napari_memscan.study import SampleRow, Study
from napari_memscan.widgets.choices import spacing_of
from napari_memscan.widgets.keys import KEYS
from napari_memscan.widgets.panes import Panes
from napari_memscan.widgets.result_shown import panes_of, show_result
from napari_memscan.widgets.review_view import ReviewView
from napari_memscan.widgets.selftest_controller import SelfTestController
from napari_memscan.widgets.trust import REFUSED, Trust
from napari_memscan.widgets.wording import detail, evidence, row, told
from napari_memscan.widgets.work import Outcome, Runner

if TYPE_CHECKING:
    from napari_memscan.detection.result import ScanResult
    from napari_memscan.review.queue import QueueItem, ReviewQueue
    from napari_memscan.review.store import DecisionStore

DECISIONS = ("copy", "not a copy", "unsure")
K_SHOWN = 3
"""Neighbours shown at first: more make the panes too small to read at 1280 x 800."""


class ReviewController(QObject):
    """Shows what is selected, records what is decided, regenerates what is asked.

    A decision is on disk before the next volume is shown. A regeneration runs beside the
    reading: its answer never takes the selection from somebody who has moved on.

    Attributes
    ----------
    changed : Signal()
        A decision was made or withdrawn, or there is another scan.
    running : Signal(bool)
        A regeneration began or ended.
    """

    changed = Signal()
    running = Signal(bool)

    def __init__(
        self,
        view: ReviewView,
        panes: Panes,
        parent: QObject | None = None,
        trust: Trust | None = None,
    ) -> None:
        super().__init__(parent)
        self._trust = trust or Trust()
        self._view, self._panes = view, panes
        self._study: Study | None = None
        self._store: DecisionStore | None = None
        self._result: ScanResult | None = None
        self._samples: list[SampleRow] = []
        self._queue: ReviewQueue | None = None
        self._items: dict[str, QueueItem] = {}
        self._regenerating = ""
        self._showing = False
        self._runner = Runner(self)
        self._runner.progressed.connect(self._on_progress)
        self._runner.finished.connect(self._on_regenerated)
        self._selftest = SelfTestController(view.selftest, self, self._trust)
        view.selected.connect(self._on_selected)
        view.action.connect(self.act)
        view.stop_requested.connect(self._runner.stop)
        view.k_changed.connect(self._show_current)
        view.plane_changed.connect(panes.set_plane)
        panes.failed.connect(partial(view.message.say, level="error"))

    @property
    def progress(self) -> tuple[int, int]:
        """How many volumes are read, of how many."""
        return self._queue.progress if self._queue is not None else (0, 0)

    @property
    def busy(self) -> bool:
        """Whether a regeneration runs, or the detector is being measured."""
        return self._runner.busy or self._selftest.busy

    @property
    def ready(self) -> bool:
        """Whether there is something to read."""
        return bool(self._items)

    def set_study(self, study: Study | None) -> None:
        """Read this study from now on."""
        self._runner.stop()
        self._showing = False
        self._panes.clear()
        self._view.message.say("")
        if self._store is not None:
            self._store.close()
        self._study, self._store, self._result, self._queue = study, None, None, None
        self._items = {}
        self._view.set_rows([])
        if study is not None:
            try:
                self._store = study.store()
            except MemscanError as error:
                self._view.message.say(str(error), "error")
                self._study = None
        self.reload()

    def reload(self) -> None:
        """Read the scan, the samples and the decisions again."""
        study = self._study
        try:
            self._result = study.result() if study else None
            self._samples = study.samples() if study else []
        except MemscanError as error:
            self._view.message.say(str(error), "error")
            self._result, self._samples = None, []
        self._show_result()
        self._refresh()

    def _refresh(self) -> None:
        """Read the decisions again; the scan did not change."""
        from napari_memscan.review.queue import ReviewQueue

        study, store, result = self._study, self._store, self._result
        self._queue = None
        if study is not None and store is not None and result is not None:
            ids = {str(study.sample_path(row)): row.sample for row in self._samples}
            parents = {row.sample: row.parent for row in self._samples if row.parent}
            try:
                self._queue = ReviewQueue(result, ids, parents, store.current())
            except MemscanError as error:
                self._view.message.say(str(error), "error")
        items = list(self._queue.items) if self._queue is not None else []
        self._items = {item.sample: item for item in items}
        if result is not None and result.samples and not items:
            self._view.message.say(
                "The last scan names files in another place: was the study moved? Scan again.",
                "error",
            )
        rows = [row(item, result) for item in items] if result is not None else []
        self._view.set_rows(rows, result.measure if result is not None else "similarity")
        self._view.set_reading(*self.progress)
        self._update_buttons()

    def _show_result(self) -> None:
        result = self._result
        self._selftest.show(self._study, result)
        show_result(self._view, result)
        if result is None:
            return
        most = max((len(sample.neighbours) for sample in result.samples), default=1)
        # Until somebody chooses, as many as can be read side by side.
        k = self._view.k.value() if self._showing else K_SHOWN
        self._view.set_neighbours(min(k, most), most)

    def start_reading(self) -> None:
        """Show the panes: the selected volume, else the first unread one, else the first."""
        if self._queue is None or not self._items:
            return
        self._showing = True
        if self._view.current:
            self._show_current()
            return
        first = self._queue.next_unread() or next(iter(self._items))
        self._view.select(first)

    def act(self, name: str) -> None:
        """Do what a button or key says: one of `KEYS`."""
        if not self._items or name not in KEYS or not self._showing:
            return
        if name in DECISIONS:
            self._decide(name)
        elif name == "undo":
            self._undo()
        elif name == "regenerate":
            self._regenerate()
        else:
            self._step(1 if name == "next" else -1)

    def _decide(self, decision: str) -> None:
        sample = self._view.current
        if not sample or self._store is None or self._result is None:
            return
        k, plane = self._view.k.value(), self._view.plane.currentText()
        seen = evidence(self._items[sample], self._result, k, plane)
        try:
            self._store.record(sample, decision, self._reader(), evidence=seen)
        except MemscanError as error:
            self._view.message.say(f"Not recorded. {error}", "error")
            return
        self._view.message.say("")
        self._refresh()
        following = self._queue.next_unread(sample) if self._queue is not None else None
        if following:
            self._view.select(following)
        else:
            self._view.message.say("All volumes are read.", "ok")
        self.changed.emit()

    def _undo(self) -> None:
        assert self._store is not None
        try:
            withdrawn = self._store.undo(self._reader())
        except MemscanError as error:
            self._view.message.say(str(error), "error")
            return
        if withdrawn is None:
            self._view.message.say("Nothing to undo.", "info")
            return
        self._refresh()
        self._view.select(withdrawn.sample)
        self._view.message.say(f"Decision on {withdrawn.sample} withdrawn.", "info")
        self.changed.emit()

    def _step(self, by: int) -> None:
        samples = list(self._items)
        current = self._view.current
        at = samples.index(current) + by if current in samples else 0
        if 0 <= at < len(samples):
            self._view.select(samples[at])

    def _regenerate(self) -> None:
        sample, study = self._view.current, self._study
        if not sample or study is None:
            return
        if not self._runner.busy and not self._trust.allows_study(study, self._view):
            self._view.message.say(REFUSED, "warning")
            return
        if not self._runner.start(partial(jobs.regenerate, study, sample)):
            self._view.message.say(f"{self._regenerating} is being regenerated; wait.", "info")
            return
        self._regenerating = sample
        self._view.message.say("")
        self._view.set_regenerating(f"{sample}: starting")
        self._update_buttons()
        self.running.emit(True)

    def _on_progress(self, news: Any) -> None:
        if isinstance(news, Step):
            self._view.set_regenerating("step %v of %m", news.step, news.total)
        elif isinstance(news, jobs.Progress):
            self._view.set_regenerating("scan %v of %m", news.done, news.total)

    def _on_regenerated(self, outcome: Outcome) -> None:
        old, self._regenerating = self._regenerating, ""
        self._view.set_regenerating("")
        self.running.emit(False)
        if self._study is None:
            return
        self.reload()
        if outcome.failure:
            self._view.message.say(outcome.failure, "error")
        elif outcome.stopped:
            self._view.message.say("Regeneration stopped. Nothing is lost.", "warning")
        else:
            new = str(outcome.value)
            item = self._items.get(new)
            verdict = ""
            if item is not None and self._result is not None:
                verdict = f": {item.verdict}, {told(item, self._result)}"
            if self._view.current == old:
                self._view.select(new)
            self._view.message.say(f"{new} replaces {old}{verdict}. {old} is kept.", "ok")
        self.changed.emit()

    def _on_selected(self, sample: str) -> None:
        self._view.histogram.set_selected(
            self._items[sample].value if sample in self._items else None
        )
        self._show_current()

    def _show_current(self, _k: int = 0) -> None:
        item, study, result = self._items.get(self._view.current), self._study, self._result
        self._update_buttons()
        if item is None or study is None or result is None:
            self._view.detail.setText("")
            return
        self._view.detail.setText(detail(item, result))
        if not self._showing:
            return
        panes = panes_of(item, result, self._view.k.value())
        self._panes.show(item.sample, panes, study.array, partial(spacing_of, study))

    def _update_buttons(self) -> None:
        names = set(KEYS) if self._items else set()
        item = self._items.get(self._view.current)
        config = self._study.config.generator if self._study else None
        replaceable = item is not None and not item.replaced_by
        if self._runner.busy or not replaceable or config is None or config.kind != "ldm":
            names.discard("regenerate")
        self._view.set_enabled_actions(names)

    def _reader(self) -> str:
        return self._view.reader.text().strip() or "unnamed reader"
