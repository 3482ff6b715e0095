"""Opens a blind reading, has its plan made, and closes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_memscan.errors import MemscanError
from napari_memscan.widgets.blind.case_controller import CaseController
from napari_memscan.widgets.blind.view import BlindView
from napari_memscan.widgets.common.hints import describe_error
from napari_memscan.widgets.common.preferences import Preferences
from napari_memscan.widgets.common.runner import JobOutcome, JobRunner
from napari_memscan.widgets.review.actions import Action
from napari_memscan.widgets.viewing import ViewerController

if TYPE_CHECKING:
    from napari_memscan.review.blind_plan import BlindPlan
    from napari_memscan.review.store import DecisionStore
    from napari_memscan.study import Study

START, CASES = range(2)


class BlindController(QObject):
    """Shows the first page, and then the cases.

    Attributes
    ----------
    changed : Signal()
        Another page, another case or another answer.
    closed : Signal()
        The reading was ended or not begun: step 3 is wanted again.
    cases : CaseController
    """

    changed = Signal()
    closed = Signal()

    def __init__(
        self,
        view: BlindView,
        viewing: ViewerController,
        parent: QObject | None = None,
        preferences: Preferences | None = None,
    ) -> None:
        super().__init__(parent)
        self._view = view
        self._study: Study | None = None
        self._store: DecisionStore | None = None
        self._wanted_for: Study | None = None
        self._reader = ""
        self.cases = CaseController(view.case, viewing, preferences or Preferences(), self)
        self.cases.changed.connect(self.changed)
        self._runner = JobRunner(self)
        self._runner.progressed.connect(self._on_progress)
        self._runner.finished.connect(self._on_finished)
        view.start.start_requested.connect(self.start)
        view.start.cancel_requested.connect(self.close)
        view.start.stop_requested.connect(self._runner.stop)
        view.start.kind_changed.connect(self._look)
        view.case.end_requested.connect(self.close)

    @property
    def opened(self) -> bool:
        """Whether the blind page stands in the place of step 3."""
        return self._study is not None

    @property
    def reading(self) -> bool:
        """Whether cases are read."""
        return self.cases.reading

    @property
    def busy(self) -> bool:
        """Whether a plan is made."""
        return self._runner.busy

    @property
    def next_step(self) -> str:
        """What the reader does next."""
        if not self.reading:
            return "Start the blind reading, or Cancel"
        done, total = self.cases.progress
        if self.cases.told and not self.cases.finished:
            return "Next case, or decide again"
        if done < total:
            return "answer the question"
        return "End blind reading" if self.cases.finished else "Reveal all"

    def open(self, study: Study, store: DecisionStore, reader: str) -> None:
        """Show the first page.

        Parameters
        ----------
        study : Study
        store : DecisionStore
            Open; stays the caller's.
        reader : str
            Who reads.
        """
        self._study, self._store, self._reader = study, store, reader
        self._view.start.message.say("")
        self._view.start.set_reader(reader)
        self._view.start.set_busy("")
        self._view.setCurrentIndex(START)
        self._look()
        self.changed.emit()

    def close(self) -> None:
        """End the reading; what is answered is on disk."""
        if self._study is None:
            return
        self._runner.stop()
        self.cases.end()
        self._study = self._store = None
        self._view.setCurrentIndex(START)
        self.closed.emit()

    def act(self, action: Action) -> None:
        """Do what a key says, while cases are read."""
        self.cases.act(action)

    def start(self) -> None:
        """Make the plan that is wanted, or go on with the one there is."""
        from napari_memscan.jobs.readers.blind_study import prepare_blind_plan, split_case_count

        study, reader, wanted = self._study, self._reader, self._view.start.wanted
        if study is None or self.busy:
            return
        options: dict[str, Any] = {"forced_choice": wanted.forced_choice}
        if wanted.new:
            options |= split_case_count(wanted.cases, wanted.forced_choice)
            options |= {"reveal": wanted.reveal, "washout_days": wanted.washout_days}
        self._view.start.message.say("")
        self._view.start.set_busy("Preparing ...")
        self._wanted_for = study
        self._runner.start(
            lambda: prepare_blind_plan(
                study, reader, again=wanted.new, n_planted=wanted.planted, **options
            )
        )

    def _look(self) -> None:
        """Say what became of the last reading of the chosen kind."""
        from napari_memscan.jobs.readers.blind_study import find_latest_plan, open_blind_session

        view = self._view.start
        if self._study is None or self._store is None:
            return
        view.set_last_reading("")
        try:
            made = find_latest_plan(self._study, self._reader, view.wanted.forced_choice)
            if made is None:
                return
            found = open_blind_session(self._study, made, self._store)
            done, total = found.progress
            revealed = len(found.revealed)
        except MemscanError as error:
            view.message.say(describe_error(error), "error")
            return
        finished = done == total and revealed == total
        if finished:
            text = f"Your last one is done: {total} cases. Its results can be looked at again."
        elif done == total:
            text = f"Your last one: all {total} cases are answered, and not revealed yet."
        else:
            text = f"Your last one is not done: {done} of {total} cases are answered."
        view.set_last_reading(text, finished)

    def _on_progress(self, news: Any) -> None:
        # Not what it is at: that names files.
        text = f"Preparing: {news.done} of {news.total}"
        self._view.start.set_busy(text, int(news.done), int(news.total))

    def _on_finished(self, outcome: JobOutcome) -> None:
        view = self._view.start
        view.set_busy("")
        # A late answer, for a study that was closed meanwhile, is dropped.
        if self._study is None or self._study is not self._wanted_for:
            return
        if outcome.failure:
            view.message.say(outcome.failure, "error")
        elif outcome.stopped:
            view.message.say("Stopped. Start begins again; what was computed is kept.", "info")
        else:
            self._begin(outcome.value)

    def _begin(self, made: BlindPlan) -> None:
        from napari_memscan.jobs.readers.blind_study import open_blind_session

        assert self._study is not None
        assert self._store is not None
        try:
            self._view.setCurrentIndex(CASES)
            self.cases.begin(self._study, open_blind_session(self._study, made, self._store))
        except MemscanError as error:
            self._view.setCurrentIndex(START)
            self._view.start.message.say(describe_error(error), "error")
        self.changed.emit()
