"""Goes through the cases of a blind reading: ask, record, reveal, decide again, and the end."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_memscan.errors import MemscanError
from napari_memscan.review.blind_case import BlindCase
from napari_memscan.typing import Decision
from napari_memscan.widgets.blind.answer_view import (
    CHOICE_LABELS,
    COPY_LABELS,
    MOVE_LABELS,
    SIDE_LABELS,
    UNDO_LABELS,
)
from napari_memscan.widgets.blind.case_view import CaseView
from napari_memscan.widgets.blind.screen import BlindScreen
from napari_memscan.widgets.common.hints import describe_error
from napari_memscan.widgets.common.preferences import Preferences
from napari_memscan.widgets.review.actions import Action, ConfidenceAction, ReviewAction
from napari_memscan.widgets.viewing import ViewAction, ViewerController

if TYPE_CHECKING:
    from napari_memscan.review.blind_session import BlindSession
    from napari_memscan.study import Study

AHEAD = 3
"""Cases that are loaded ahead."""
DECIDE_AGAIN_TEXT = (
    "Now that you know: is A a copy of B? A second decision is recorded beside the first."
)


class CaseController(QObject):
    """Shows a case, records what is answered, and says what it was when it may be said.

    Whatever the store or a file does is a message; the case on the screen stays.

    Attributes
    ----------
    changed : Signal()
        Another case, or another answer.
    case : BlindCase or None
        On the screen.
    """

    changed = Signal()

    def __init__(
        self,
        view: CaseView,
        viewing: ViewerController,
        preferences: Preferences,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._view, self._preferences = view, preferences
        self._screen = BlindScreen(view, viewing, self)
        self._reading: BlindSession | None = None
        self._answered: set[int] = set()
        self._revealed: set[int] = set()
        self._truths: dict[int, str] = {}
        self._second: dict[int, str] = {}
        self.case: BlindCase | None = None
        self._offered: set[Action] = set()
        view.answers.action.connect(self.act)
        view.answers.done_typing.connect(view.setFocus)
        view.reveal_requested.connect(partial(self._guarded, self._reveal_all))
        view.case_chosen.connect(partial(self._guarded, self._tell_row))

    @property
    def progress(self) -> tuple[int, int]:
        """Cases answered, and all; nothing of nothing while none are read."""
        reading = self._reading
        return (len(self._answered), len(reading.cases)) if reading is not None else (0, 0)

    @property
    def reading(self) -> bool:
        """Whether cases are read."""
        return self._reading is not None

    @property
    def told(self) -> bool:
        """Whether the reader knows what the case on the screen is."""
        return self.case is not None and self.case.number in self._revealed

    @property
    def finished(self) -> bool:
        """Whether the list at the end is shown."""
        return bool(self._view.list.count())

    @property
    def _current(self) -> BlindSession:
        assert self._reading is not None
        return self._reading

    def begin(self, study: Study, reading: BlindSession) -> None:
        """Go on with the first case without an answer.

        Raises
        ------
        MemscanError
            The store does not say which that is.
        """
        self._answered, self._revealed = set(reading.answered), set(reading.revealed)
        self._second = {number: d.decision for number, d in reading.again.items()}
        self._reading, self._truths = reading, {}
        self._screen.begin(study, reading, self._preferences.layout)
        self._guarded(self._go)

    def end(self) -> None:
        """Take everything away; answers are on disk already."""
        if self._reading is None:
            return
        self._reading = self.case = None
        self._truths, self._second = {}, {}
        self._screen.end()

    def act(self, action: Action) -> None:
        """Do what a button or key says."""
        self._guarded(self._act, action)

    def _guarded(self, do: Any, *arguments: Any) -> None:
        try:
            if self._reading is not None:
                do(*arguments)
        except MemscanError as error:
            self._view.message.say(describe_error(error), "error")
        self.changed.emit()

    def _act(self, action: Action) -> None:
        if isinstance(action, ViewAction):
            self._view.bar.act(action)
        elif isinstance(action, ConfidenceAction):
            self._view.answers.set_confidence(action.level)
        elif action == ReviewAction.COMMENT:
            self._view.answers.comment.setFocus()
        elif action not in self._offered:
            return
        elif isinstance(action, Decision):
            if self.case is not None:
                (self._decide_again if self.told else self._answer)(self.case, action)
        elif action in MOVE_LABELS:
            self._step(1 if action == ReviewAction.NEXT else -1)
        else:
            self._undo(undo=action == ReviewAction.UNDO)

    # One case after the other

    def _go(self, after: int = 0) -> None:
        """Show what comes next: a case without an answer, one not revealed yet, or the end."""
        reading = self._current
        pending = sorted(self._answered - self._revealed)
        left = [case for case in reading.cases if case.number not in self._answered]
        if pending and not reading.reveals_at_end:
            self._tell(reading.cases[pending[0] - 1])
        elif left:
            self._ask(next((case for case in left if case.number > after), left[0]))
        else:
            self._finish()

    def _ask(self, case: BlindCase) -> None:
        reading = self._current
        view = self._view
        view.truth.say("")
        view.set_list(())
        view.reveal.hide()
        several = len(reading.cases) - len(self._answered) > 1
        moves: dict[Action, str] = MOVE_LABELS | {ReviewAction.NEXT: "Skip ▶"} if several else {}
        undo = UNDO_LABELS if reading.reveals_at_end else {}
        self._head(case, case.question)
        self._offer({**(CHOICE_LABELS if reading.forced_choice else COPY_LABELS), **moves, **undo})
        self._show(case)

    def _answer(self, case: BlindCase, decision: Decision) -> None:
        reading = self._current
        refusal = self._screen.refusal(decision, Decision.UNSURE in self._offered)
        if refusal:
            self._view.message.say(refusal, "warning")
            return
        answer = SIDE_LABELS[decision] if reading.forced_choice else decision
        try:
            reading.answer(case.number, answer, **self._screen.seen())
        except MemscanError as error:
            self._view.message.say(f"Not recorded. {describe_error(error)}", "error")
            return
        self._answered.add(case.number)
        self._view.message.say("")
        self._view.answers.fresh()
        if reading.reveals_at_end:
            self._go(case.number)
        else:
            self._tell(case)

    def _decide_again(self, case: BlindCase, decision: Decision) -> None:
        reading = self._current
        try:
            reading.decide_again(case.number, decision, **self._screen.seen())
        except MemscanError as error:
            self._view.message.say(f"Not recorded. {describe_error(error)}", "error")
            return
        self._second[case.number] = decision
        self._view.answers.fresh()
        self._view.message.say(f"{case.title}: second decision recorded, {decision}.", "ok")
        if self.finished:
            self._list(case.number)
        else:
            self._go(case.number)

    def _tell(self, case: BlindCase) -> None:
        """Say what a case was, and let the reader decide again."""
        reading = self._current
        truth = self._truth(case)
        again = {} if reading.forced_choice else COPY_LABELS
        onward: dict[Action, str] = {ReviewAction.NEXT: "Next case ▶"}
        moves = MOVE_LABELS if self.finished else onward
        self._head(case, "" if reading.forced_choice else DECIDE_AGAIN_TEXT)
        self._view.truth.say(truth, "info")
        self._offer({**again, **moves})
        if not self._screen.is_showing(case):
            self._show(case)

    def _truth(self, case: BlindCase) -> str:
        if case.number not in self._truths:
            self._truths[case.number] = str(self._current.reveal(case.number))
            self._revealed.add(case.number)
        second = self._second.get(case.number)
        return self._truths[case.number] + (f" Then: {second}." if second else "")

    def _undo(self, undo: bool) -> None:
        reading = self._current
        number = reading.undo() if undo else reading.redo()
        if number is None:
            self._view.message.say(f"Nothing to {'undo' if undo else 'redo'}.", "info")
            return
        if undo:
            self._answered.discard(number)
            self._ask(reading.cases[number - 1])
        else:
            self._answered.add(number)
            self._go(number)
        said = "withdrawn" if undo else "given again"
        self._view.message.say(f"Answer to Case {number} {said}.", "info")

    def _step(self, by: int) -> None:
        reading, case = self._current, self.case
        if self.finished:
            row = self._view.list.currentRow() + by
            if 0 <= row < self._view.list.count():
                self._view.list.setCurrentRow(row)
        elif case is not None and case.number not in self._answered:
            left = [c for c in reading.cases if c.number not in self._answered]
            self._view.message.say("")
            self._ask(left[(left.index(case) + by) % len(left)])
        else:
            self._view.message.say("")
            self._go(case.number if case is not None else 0)

    # The end

    def _finish(self) -> None:
        """Let the reader reveal all; where all is revealed, list it."""
        reading = self._current
        if len(self._revealed) == len(reading.cases):
            self._reveal_all()
            return
        self.case = None
        self._screen.clear()
        self._head(None, "Undo takes answers back as long as nothing is revealed.")
        self._view.truth.say("")
        self._view.set_list(())
        self._view.reveal.show()
        self._offer(UNDO_LABELS)

    def _reveal_all(self) -> None:
        reading = self._current
        for case in reading.cases:
            self._truth(case)
        self._view.reveal.hide()
        self._list(1)
        self._tell(reading.cases[0])

    def _tell_row(self, row: int) -> None:
        self._tell(self._current.cases[row])

    def _list(self, number: int) -> None:
        self._view.set_list([self._truth(case) for case in self._current.cases], number - 1)
        self._view.truth.say(self._truth(self._current.cases[number - 1]))

    # What is seen

    def _head(self, case: BlindCase | None, question: str) -> None:
        self.case = case
        self._screen.head(case, question, *self.progress)

    def _offer(self, texts: dict[Action, str]) -> None:
        self._offered = set(texts)
        self._view.answers.offer(texts)
        self._view.answers.set_enabled_actions(self._offered)

    def _show(self, case: BlindCase) -> None:
        soon = [c for c in self._current.cases if c.number not in self._answered]
        soon = [c for c in soon if c.number > case.number] + soon
        self._screen.show(case, soon[:AHEAD])
