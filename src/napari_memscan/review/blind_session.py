"""A reader going through a blind study: answer, then reveal, then decide again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from napari_memscan.errors import BadInput, JobFailed, MemscanError
from napari_memscan.review.blind_case import BlindCase
from napari_memscan.review.blind_plan import ArrayLocation, BlindPlan, ExhibitKind, HiddenCase
from napari_memscan.review.current_decisions import CurrentDecisions
from napari_memscan.review.events import ForcedChoice, ReadingEvent
from napari_memscan.review.store import DecisionStore
from napari_memscan.typing import Stage, Verdict


@dataclass(frozen=True)
class RevealedCase:
    """What a case was; only after the blind decision.

    Attributes
    ----------
    number : int
        Of the case.
    name, kind, verdict, value
        As in `Exhibit`.
    partner : str
        Name of the training volume nearest to it.
    synthetic : str
        The pane that showed the exhibit.
    answer : str
        What the reader said.
    """

    number: int
    name: str
    kind: ExhibitKind
    verdict: Verdict | None
    value: float | None
    partner: str
    synthetic: str
    answer: str

    def __str__(self) -> str:
        what = {
            ExhibitKind.SYNTHETIC: f"synthetic, {self.name}",
            ExhibitKind.PLANTED: f"a copy made on purpose, {self.name}",
            ExhibitKind.DISTRACTOR: f"a real volume set aside for validation, {self.name}: no copy",
        }[self.kind]
        text = f"Case {self.number}: {self.synthetic} was {what}"
        if self.verdict:
            text += f"; the program says {self.verdict}"
            text += f" ({self.value:.3f})" if self.value is not None else ""
        return f"{text}. You said: {self.answer}."


class BlindSession:
    """Gives a front end cases and arrays, takes answers, and keeps what they are to itself.

    Parameters
    ----------
    plan : BlindPlan
        Of this reader.
    store : DecisionStore
        Where answers go.
    load : callable
        Returns the array of a `ArrayLocation`.

    Attributes
    ----------
    cases : tuple of BlindCase
        In the order of reading.
    reader : str
        Who reads.
    forced_choice, at_end : bool
        Which one is real is asked; cases are revealed after the last one.

    Raises
    ------
    BadInput
        Answers were given to another version of this plan.
    """

    def __init__(
        self, plan: BlindPlan, store: DecisionStore, load: Callable[[ArrayLocation], Any]
    ) -> None:
        self._plan, self._store, self._load = plan, store, load
        self._sha256 = plan.sha256
        self._secrets = {secret.number: secret for secret in plan.secrets}
        self._held = {key: held for s in plan.secrets for key, held in s.keys.items()}
        self.cases, self.reader = plan.cases, plan.reader
        self.forced_choice, self.reveals_at_end = plan.forced_choice, plan.reveal == "end"
        for event in store.history():
            seen = event.evidence.get("plan")
            if event.evidence.get("plan_id") == plan.id and seen != self._sha256:
                raise BadInput(
                    "the plan of this blind study was changed after answers were given. Restore "
                    "it: they can be revealed only with the plan that they were given to."
                )

    def __repr__(self) -> str:
        return f"BlindReading({len(self.cases)} cases)"

    @property
    def progress(self) -> tuple[int, int]:
        """Cases answered, and all."""
        return len(self._answers()), len(self.cases)

    @property
    def answered(self) -> frozenset[int]:
        """Numbers of the cases with an answer."""
        return frozenset(self._answers())

    @property
    def revealed(self) -> frozenset[int]:
        """Numbers of the cases of which the reader knows what they are."""
        return frozenset(self._find_revealed(self._store.standing()))

    @property
    def again(self) -> dict[int, ReadingEvent]:
        """Number of a case to the latest decision made with the truth in sight."""
        return self._answers(stage=Stage.REVEALED)

    def find_next(self) -> BlindCase | None:
        """Return the first case without an answer; None when all have one."""
        answers = self._answers()
        return next((case for case in self.cases if case.number not in answers), None)

    def array(self, key: str) -> Any:
        """Return the volume of a pane.

        Raises
        ------
        JobFailed
            It cannot be read; says which pane, and not which file.
        """
        try:
            return self._load(self._held[key])
        except (MemscanError, OSError, KeyError):
            where = [f"{c.title}, {p.title}" for c in self.cases for p in c.panes if p.key == key]
        # Not 'from' the error: that names the file.
        raise JobFailed(
            f"{where[0] if where else 'this pane'} cannot be read. Go on with the next case; who "
            "runs the study finds its file in the plan."
        )

    def answer(
        self,
        number: int,
        answer: str,
        *,
        confidence: int | None = None,
        seconds: float | None = None,
        note: str = "",
        evidence: Mapping[str, Any] | None = None,
    ) -> None:
        """Record the answer to a case; on disk when this returns.

        Parameters
        ----------
        number : int
            Of the case.
        answer : str
            One of its answers; a later one takes the place of an earlier, until the reveal.
        confidence, seconds, note, evidence
            As in `DecisionStore.record`; evidence is what was on screen.
        """
        secret = self._secret(number)
        case = self.cases[number - 1]
        if answer not in case.answers:
            raise BadInput(f"{case.title}: one of {', '.join(case.answers)} is expected.")
        if number in self._find_revealed(self._store.standing()):
            raise BadInput(f"{case.title}: was revealed; a second decision is recorded as such.")
        if self._plan.forced_choice:
            # Recorded is for what the synthetic one was taken.
            decision: str = (
                ForcedChoice.REAL if answer == secret.synthetic else ForcedChoice.SYNTHETIC
            )
        else:
            decision = answer
        self._store.record(
            secret.exhibit.name,
            decision,
            self.reader,
            note,
            self._evidence(number, evidence, blind=True),
            confidence=confidence,
            seconds=seconds,
            stage=self._plan.stage,
        )

    def undo(self) -> int | None:
        """Take back the last answer; return its case. None where it is revealed, or none is."""
        standing = self._store.standing()
        last = standing.find_undoable(self.reader, self._plan.stage)
        number = self._number(last)
        if last is None or number is None or number in self._find_revealed(standing):
            return None
        self._store.undo(self.reader, self._plan.stage)
        return number

    def redo(self) -> int | None:
        """Give the answer again that was taken back last; return its case, None without one."""
        standing = self._store.standing()
        undone = standing.find_redoable(self.reader, self._plan.stage)
        number = self._number(undone)
        if number is None or number in self._find_revealed(standing):
            return None
        self._store.redo(self.reader, self._plan.stage)
        return number

    def reveal(self, number: int) -> RevealedCase:
        """Return what a case was, and record that the reader knows now.

        Raises
        ------
        BadInput
            There is no answer yet; or the plan reveals at the end and cases are left.
        """
        secret, standing = self._secret(number), self._store.standing()
        answers = self._answers(standing)
        if number not in answers:
            raise BadInput(f"Case {number}: decide first; what it is comes after.")
        left = len(self.cases) - len(answers)
        if self._plan.reveal == "end" and left:
            raise BadInput(f"Case {number}: revealed when all are decided; {left} are left.")
        if number not in self._find_revealed(standing):
            evidence = self._evidence(number, None, blind=False)
            self._store.record_reveal(secret.exhibit.name, self.reader, evidence)
        one = secret.exhibit
        said: str = answers[number].decision
        if self._plan.forced_choice:
            other = {"A": "B", "B": "A"}[secret.synthetic]
            said = f"{secret.synthetic if said == ForcedChoice.REAL else other} is real"
        return RevealedCase(
            number=number,
            name=one.name,
            kind=one.kind,
            verdict=one.verdict,
            value=one.value,
            partner=one.partner.name,
            synthetic=secret.synthetic,
            answer=said,
        )

    def decide_again(self, number: int, decision: str, **values: Any) -> ReadingEvent:
        """Record the decision made with the truth in sight; `values` as `DecisionStore.record`.

        Raises
        ------
        BadInput
            The case is not revealed.
        """
        secret = self._secret(number)
        if number not in self._find_revealed(self._store.standing()):
            raise BadInput(f"Case {number}: not revealed yet.")
        evidence = self._evidence(number, values.pop("evidence", None), blind=False)
        return self._store.record(
            secret.exhibit.name,
            decision,
            self.reader,
            evidence=evidence,
            stage=Stage.REVEALED,
            **values,
        )

    def _secret(self, number: int) -> HiddenCase:
        if number not in self._secrets:
            raise BadInput(f"Case {number}: there are 1 to {len(self._secrets)}.")
        return self._secrets[number]

    def _evidence(
        self, number: int, evidence: Mapping[str, Any] | None, blind: bool
    ) -> dict[str, Any]:
        own = {"blind": blind, "plan": self._sha256, "plan_id": self._plan.id, "case": number}
        return {**(evidence or {}), **own}

    def _answers(
        self, standing: CurrentDecisions | None = None, stage: str = ""
    ) -> dict[int, ReadingEvent]:
        standing = standing or self._store.standing()
        stage = stage or self._plan.stage
        numbered = ((self._number(d), d) for d in standing.of(self.reader, stage))
        return {number: d for number, d in numbered if number is not None}

    def _find_revealed(self, standing: CurrentDecisions) -> set[int]:
        numbers = (self._number(event) for event in standing.find_reveals(self.reader))
        return {number for number in numbers if number is not None}

    def _number(self, event: ReadingEvent | None) -> int | None:
        """Return the case of this plan that an event is about; None for others."""
        if event is None or event.evidence.get("plan") != self._sha256:
            return None
        return int(event.evidence["case"])
