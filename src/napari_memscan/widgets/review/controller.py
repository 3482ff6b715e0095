"""Connects step 3 to the scan, the store of decisions and the panes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_memscan.errors import MemscanError
from napari_memscan.study import SampleRow, Study
from napari_memscan.typing import Decision
from napari_memscan.widgets.common.hints import describe_error
from napari_memscan.widgets.common.preferences import Preferences
from napari_memscan.widgets.common.text import describe_sample
from napari_memscan.widgets.generate.selftest_controller import SelfTestController
from napari_memscan.widgets.review.actions import ACTIONS, Action, ConfidenceAction, ReviewAction
from napari_memscan.widgets.review.case import show_result
from napari_memscan.widgets.review.claims import ClaimController
from napari_memscan.widgets.review.regeneration import RegenerationController
from napari_memscan.widgets.review.screen import ReviewScreen
from napari_memscan.widgets.review.view import ReviewView
from napari_memscan.widgets.study.trust_dialog import SessionTrust
from napari_memscan.widgets.viewing import ViewAction, ViewerController

if TYPE_CHECKING:
    from napari_memscan.detection.results.scan_result import ScanResult
    from napari_memscan.review.queue import QueueItem
    from napari_memscan.review.session import ReviewSession


class ReviewController(QObject):
    """Shows what is selected and records what is decided.

    A decision is on disk before the next volume is shown. A regeneration runs beside the
    reading: its answer never takes the selection from somebody who has moved on.

    Attributes
    ----------
    changed : Signal()
        A decision was made or withdrawn, or there is another scan.
    selected : Signal(str)
        This sample is looked at.
    listed : Signal(object)
        Only these samples are listed; None for all.
    running : Signal(bool)
        A regeneration began or ended.
    """

    changed = Signal()
    selected = Signal(str)
    listed = Signal(object)
    running = Signal(bool)

    def __init__(
        self,
        view: ReviewView,
        viewing: ViewerController,
        parent: QObject | None = None,
        trust: SessionTrust | None = None,
        preferences: Preferences | None = None,
    ) -> None:
        super().__init__(parent)
        self._view = view
        self._preferences = preferences or Preferences()
        self._study: Study | None = None
        self._session: ReviewSession | None = None
        self._result: ScanResult | None = None
        self._samples: dict[str, SampleRow] = {}
        self._parents: dict[str, str] = {}
        self._screen = ReviewScreen(viewing, self)
        self._claiming = ClaimController(view, self._screen, self._preferences)
        trust = trust or SessionTrust()
        self._selftest = SelfTestController(view.selftest, self, trust)
        self._regeneration = RegenerationController(view, self, trust, self._preferences)
        self._regeneration.running.connect(self._on_running)
        self._regeneration.done.connect(self._on_regenerated)
        view.bar.set_viewing(viewing)
        view.queue.selected.connect(self._on_selected)
        view.queue.shown_changed.connect(self._on_listed)
        view.decision.action.connect(self.act)
        view.decision.done_typing.connect(view.queue.table.setFocus)
        view.k_changed.connect(lambda _k: self._show_current())
        view.reader_changed.connect(self._on_reader)
        viewing.failed.connect(partial(view.message.say, level="error"))
        viewing.partly.connect(partial(view.message.say, level="error"))

    @property
    def progress(self) -> tuple[int, int]:
        """How many volumes are read, of how many."""
        left = self._session.left if self._session is not None else None
        return (left.read, left.total) if left is not None else (0, 0)

    @property
    def items(self) -> dict[str, QueueItem]:
        """Sample to item, in reading order."""
        return self._session.items if self._session is not None else {}

    @property
    def session(self) -> ReviewSession | None:
        """The reader's session on the study that is open."""
        return self._session

    @property
    def result(self) -> ScanResult | None:
        """The scan that is read."""
        return self._result

    @property
    def busy(self) -> bool:
        """Whether a regeneration runs, or the detector is being measured."""
        return self._regeneration.busy or self._selftest.busy

    @property
    def unread_listed(self) -> bool:
        """Whether something that is listed must still be read."""
        return any(self.items[sample].unread for sample in self._view.queue.samples)

    @property
    def ready(self) -> bool:
        """Whether there is something to read."""
        return bool(self.items)

    def set_study(self, study: Study | None) -> None:
        """Read this study from now on."""
        from napari_memscan.review.session import ReviewSession

        self._regeneration.set_study(study)
        # napari takes half a second to build panes anew.
        self._screen.clear(keep=study is not None)
        self._view.message.say("")
        self._close()
        self._study, self._result = study, None
        self._view.queue.set_items([])
        self._view.queue.set_only(None)
        if study is not None:
            try:
                self._session = ReviewSession(study.store(), study.config.review.readers == "each")
                self._session.reader = self._reader()
                self._claiming.session = self._session
            except MemscanError as error:
                self._view.message.say(describe_error(error), "error")
                self._study = None
        self.reload()
        if not self.ready:
            self._screen.clear()

    def _close(self) -> None:
        session, self._session, self._claiming.session = self._session, None, None
        if session is not None:
            try:
                session.close()
            except MemscanError as error:
                self._view.message.say(describe_error(error), "warning")

    def reload(self) -> None:
        """Read the scan, the samples and the decisions again."""
        study = self._study
        try:
            self._result = study.result() if study else None
            rows = study.samples() if study else []
        except MemscanError as error:
            self._view.message.say(describe_error(error), "error")
            self._result, rows = None, []
        self._samples = {row.sample: row for row in rows}
        self._parents = {row.sample: row.parent for row in rows if row.parent}
        self._show_result()
        self._refresh()

    def _refresh(self) -> bool:
        """Read the decisions again; the scan did not change."""
        session, result = self._session, self._result
        if session is not None and result is not None:
            try:
                session.refresh(result, self._parents)
            except MemscanError as error:
                # What is listed stays: the queue is usable as soon as the store is.
                self._view.message.say(describe_error(error), "error")
                return False
        self._view.queue.set_items(list(self.items.values()) if result is not None else [])
        count, comma, left = str(session.left if session is not None else "").partition(",")
        self._view.queue.set_progress(f"{count} read{comma}{left}" if count else "")
        self._update_buttons()
        return True

    def _show_result(self) -> None:
        result = self._result
        self._selftest.show(self._study, result)
        show_result(self._view, result)
        if result is None:
            return
        most = max((len(sample.neighbours) for sample in result.samples), default=1)
        # Until somebody chooses, as many as the preferences say.
        k = self._view.k.value() if self._screen.active else self._preferences.k
        self._view.set_neighbours(min(k, most), most)

    def start_reading(self) -> None:
        """Show the panes: the selected volume, else the first unread one, else the first."""
        if not self.items:
            return
        self._screen.begin(self._preferences.layout)
        if self._view.queue.current:
            self._show_current()
            return
        self._view.queue.select(self._claiming.find_next(None) or next(iter(self.items)))

    def rest(self) -> None:
        """Let others read what is open here, until something is shown again."""
        if self._session is not None:
            with suppress(MemscanError):  # A claim ends by itself, too.
                self._session.rest()

    def stop_reading(self) -> None:
        """Take the panes away; the selection stays."""
        self._screen.clear()

    def show_only(self, samples: Sequence[str] | None) -> None:
        """List no other samples than these; None for all."""
        self._view.queue.set_only(samples)

    def read_these(self, samples: Sequence[str]) -> None:
        """List these samples, and select the first one that is to be read."""
        queue = self._view.queue
        queue.list_these(samples)
        if queue.samples:
            queue.select(self._claiming.find_next(None) or queue.samples[0])

    def act(self, action: Action) -> None:
        """Do what a button or key says."""
        if not self.items or not self._screen.active:
            return
        if isinstance(action, Decision):
            self._decide(action)
        elif isinstance(action, ConfidenceAction):
            self._view.decision.set_confidence(action.level)
        elif isinstance(action, ViewAction):
            self._view.bar.act(action)
        else:
            self._do(action)

    def _do(self, action: ReviewAction) -> None:
        match action:
            case ReviewAction.UNDO | ReviewAction.REDO:
                self._undo(undo=action == ReviewAction.UNDO)
            case ReviewAction.COMMENT:
                self._view.decision.comment.setFocus()
            case ReviewAction.SEARCH:
                self._view.queue.search.setFocus()
            case ReviewAction.REGENERATE | ReviewAction.REGENERATE_FLAGGED:
                current = self.items.get(self._view.queue.current)
                every = action == ReviewAction.REGENERATE_FLAGGED
                self._regeneration.start(current, self.items, every=every)
            case ReviewAction.NEXT | ReviewAction.PREVIOUS:
                self._step(1 if action == ReviewAction.NEXT else -1)

    def _decide(self, decision: Decision) -> None:
        sample, session, study = self._view.queue.current, self._session, self._study
        if not sample or session is None or self._result is None or study is None:
            return
        if refusal := self._screen.refusal(decision):
            self._view.message.say(refusal, "warning")
            return
        order = self._view.queue.samples
        view = self._view.decision
        try:
            session.decide(
                sample,
                decision,
                note=view.comment.text().strip(),
                evidence=self._screen.seen(
                    study,
                    self.items[sample],
                    self._result,
                    self._samples[sample],
                    self._view.k.value(),
                ),
                confidence=view.confidence,
                seconds=self._screen.seconds,
            )
        except MemscanError as error:
            self._view.message.say(f"Not recorded. {describe_error(error)}", "error")
            return
        self._view.message.say("")
        if not self._refresh():
            return
        following = self._claiming.find_next(sample, order)
        if following is None:
            left = session.left
            done = left.read >= left.total
            text = "All volumes are read." if done else "No unread volume is left in this list."
            self._view.message.say(text, "ok")
        if following is not None and self._preferences.auto_advance:
            self._view.queue.select(following)
        else:
            view.fresh()
        self.changed.emit()

    def _undo(self, undo: bool) -> None:
        assert self._session is not None
        try:
            event = self._session.undo() if undo else self._session.redo()
        except MemscanError as error:
            self._view.message.say(describe_error(error), "error")
            return
        if event is None:
            self._view.message.say(f"Nothing to {'undo' if undo else 'redo'}.", "info")
            return
        self._refresh()
        self._view.queue.select(event.sample)
        said = "withdrawn" if undo else f"made again: {event.decision}"
        self._view.message.say(f"Decision on {event.sample} {said}.", "info")
        self.changed.emit()

    def _step(self, by: int) -> None:
        samples = self._view.queue.samples
        current = self._view.queue.current
        at = samples.index(current) + by if current in samples else 0
        if 0 <= at < len(samples):
            self._view.queue.select(samples[at])

    def _on_running(self, running: bool) -> None:
        self._update_buttons()
        self.running.emit(running)

    def _on_regenerated(self, text: str, level: str, replaced: dict[str, str]) -> None:
        if self._study is None:
            return
        current = self._view.queue.current
        self.reload()
        if current in replaced:
            self._view.queue.select(replaced[current])
        self._view.message.say(text, level)
        self.changed.emit()

    def _on_selected(self, sample: str) -> None:
        self._view.decision.fresh()
        self.selected.emit(sample)
        self._show_current()

    def _on_listed(self) -> None:
        queue = self._view.queue
        samples = queue.samples
        self.listed.emit(None if len(samples) == len(self.items) else samples)
        if self._result is not None:
            self._claiming.expect(self._result)

    def _on_reader(self) -> None:
        if self._session is not None and self._session.reader != self._reader():
            self._session.reader = self._reader()
            self._refresh()
            self.changed.emit()

    def _show_current(self) -> None:
        item, study, result = self.items.get(self._view.queue.current), self._study, self._result
        self._update_buttons()
        if item is None or study is None or result is None:
            self._view.detail.setText("")
            return
        self._view.detail.setText(describe_sample(item, result))
        if not self._screen.active:
            return
        # Shown first: to claim may take as long as a server takes to answer.
        self._screen.show(study, item, result, self._view.k.value())
        self._claiming.claim(item.sample)
        self._claiming.expect(result)

    def _update_buttons(self) -> None:
        names = {*ACTIONS, ReviewAction.REGENERATE_FLAGGED} if self.items else set()
        item = self.items.get(self._view.queue.current)
        names -= self._regeneration.find_unavailable(self._study, item, self.items)
        self._view.decision.set_enabled_actions(names)

    def _reader(self) -> str:
        return self._view.reader.text().strip() or "unnamed reader"
