"""Readers against the program or the truth, and against themselves after a reveal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from napari_memscan.detection.statistics.proportions import Proportion
from napari_memscan.review.agreement import DecisionsByReader
from napari_memscan.review.events import ReadingEvent
from napari_memscan.typing import Decision, Verdict


@dataclass(frozen=True)
class Accuracy:
    """One judge measured against a reference.

    Attributes
    ----------
    judge, reference : str
        For people, such as ``program`` and ``reader Ann``.
    sensitivity : Proportion
        Of the reference's copies, those that the judge called.
    specificity : Proportion
        Of those that are no copy to the reference, those that the judge did not call.
    n_left_out : int
        Cases with no answer of one of the two: unsure, undecided, unread, truth unknown.
    """

    judge: str
    reference: str
    sensitivity: Proportion
    specificity: Proportion
    n_left_out: int

    def __str__(self) -> str:
        text = (
            f"{self.judge} against {self.reference} (the reference): sensitivity "
            f"{self.sensitivity}; specificity {self.specificity}"
        )
        return (
            f"{text}; {self.n_left_out} left out, unsure or undecided" if self.n_left_out else text
        )


def compute_accuracy(
    judge: Mapping[str, bool | None],
    reference: Mapping[str, bool | None],
    names: tuple[str, str] = ("judge", "reference"),
) -> Accuracy:
    """Return sensitivity and specificity of a judge against a reference.

    Parameters
    ----------
    judge, reference : mapping of str to bool or None
        Case to whether it is a copy; None or absent where they do not say. Of the judge's cases
        only those count that the reference knows.
    names : (str, str)
        For people.
    """
    both = [c for c in judge if judge[c] is not None and reference.get(c) is not None]
    pairs = Counter((bool(reference[c]), bool(judge[c])) for c in both)
    return Accuracy(
        judge=names[0],
        reference=names[1],
        sensitivity=Proportion(pairs[True, True], pairs[True, True] + pairs[True, False]),
        specificity=Proportion(pairs[False, False], pairs[False, False] + pairs[False, True]),
        n_left_out=len([c for c in judge if c in reference]) - len(both),
    )


def binarise_decisions(decisions: Mapping[str, ReadingEvent]) -> dict[str, bool | None]:
    """Return what a reader says as yes, no, or None for unsure."""
    answers: dict[str, bool] = {Decision.COPY: True, Decision.NOT_A_COPY: False}
    return {case: answers.get(d.decision) for case, d in decisions.items()}


def binarise_verdicts(verdicts: Mapping[str, Verdict]) -> dict[str, bool | None]:
    """Return what the program says: yes for copy and near-duplicate, None for undecided."""
    return {c: None if v == Verdict.UNDECIDED else v.called for c, v in verdicts.items()}


@dataclass(frozen=True)
class DecisionChanges:
    """What a reader decided anew when the truth was in sight.

    Attributes
    ----------
    reader : str
        Who.
    n : int
        Cases with a blind and a revealed decision.
    changed : tuple of (str, str, str)
        Case, blind decision, revealed decision, where they differ.
    """

    reader: str
    n: int
    changed: tuple[tuple[str, str, str], ...]

    def __str__(self) -> str:
        text = f"{self.reader}: {len(self.changed)} of {self.n} decisions changed after the reveal"
        ways = Counter(f"{before} to {after}" for _, before, after in self.changed)
        return text + "".join(f"; {n} from {way}" for way, n in sorted(ways.items()))


def find_decision_changes(
    blind: DecisionsByReader, revealed: DecisionsByReader
) -> list[DecisionChanges]:
    """Return for each reader with both stages how many decisions changed, by name."""
    found = []
    for reader in sorted(set(blind) & set(revealed)):
        cases = sorted(set(blind[reader]) & set(revealed[reader]))
        pairs = [(c, blind[reader][c].decision, revealed[reader][c].decision) for c in cases]
        found.append(DecisionChanges(reader, len(cases), tuple(p for p in pairs if p[1] != p[2])))
    return found
