"""What a reader study found, in one object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from napari_memscan.detection.statistics.proportions import Proportion
from napari_memscan.review.accuracy import (
    Accuracy,
    DecisionChanges,
    binarise_decisions,
    binarise_verdicts,
    compute_accuracy,
    find_decision_changes,
)
from napari_memscan.review.agreement import (
    DecisionsByReader,
    Kappa,
    compute_kappa,
    compute_pairwise_kappas,
)
from napari_memscan.review.current_decisions import CurrentDecisions
from napari_memscan.review.truth import Truth
from napari_memscan.typing import Stage, Verdict


@dataclass(frozen=True)
class ReaderActivity:
    """How much one reader did.

    Attributes
    ----------
    name : str
        Who.
    decisions : dict of str to int
        Stage to standing decisions.
    seconds : float or None
        Median reading time of the latest; None where none was taken.
    """

    name: str
    decisions: dict[Stage, int]
    seconds: float | None

    def __str__(self) -> str:
        done = ", ".join(f"{n} {stage}" for stage, n in self.decisions.items()) or "none"
        pace = "" if self.seconds is None else f", {self.seconds:.0f} s each (median)"
        return f"{self.name}: {done}{pace}"


@dataclass(frozen=True)
class ReaderStudyFindings:
    """What a reader study found.

    Attributes
    ----------
    readers : tuple of ReaderActivity
        By name.
    agreement : dict of str to tuple of Kappa
        Stage to the kappa of all readers and, of three or more, of every two. ``open`` holds what
        counts: open and revealed decisions.
    against_program : tuple of Accuracy
        The program against each reader, who is the reference.
    against_truth : tuple of Accuracy
        Each reader, and the program, against what is known.
    changes : tuple of DecisionChanges
        What was decided anew after a reveal.
    choices : dict of str to Proportion
        Reader to forced choices in which the synthetic volume was recognised; chance is a half.
    truth : str
        What is known, and from where.
    """

    readers: tuple[ReaderActivity, ...]
    agreement: dict[str, tuple[Kappa, ...]]
    against_program: tuple[Accuracy, ...]
    against_truth: tuple[Accuracy, ...]
    changes: tuple[DecisionChanges, ...]
    choices: dict[str, Proportion]
    truth: str

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values, shares with their intervals."""
        value = asdict(self)
        for mine, out in (
            *zip(self.against_program, value["against_program"], strict=True),
            *zip(self.against_truth, value["against_truth"], strict=True),
        ):
            out["sensitivity"] = _rate_to_dict(mine.sensitivity)
            out["specificity"] = _rate_to_dict(mine.specificity)
        value["choices"] = {reader: _rate_to_dict(share) for reader, share in self.choices.items()}
        return value

    def __str__(self) -> str:
        lines = [str(reader) for reader in self.readers] or ["nobody has decided yet"]
        for stage, kappas in self.agreement.items():
            lines += [f"{stage}: {one}" for one in kappas]
        lines += [str(one) for one in (*self.against_program, *self.against_truth, *self.changes)]
        for reader, share in self.choices.items():
            lines.append(f"{reader}: recognised the synthetic volume in {share}; chance is 50%")
        return "\n".join(lines)


def analyse_reader_study(
    standing: CurrentDecisions, verdicts: Mapping[str, Verdict], truth: Truth
) -> ReaderStudyFindings:
    """Return what a reader study found.

    Parameters
    ----------
    standing : CurrentDecisions
        Of the store.
    verdicts : mapping of str to Verdict
        Sample to the program's verdict.
    truth : Truth
        What is known; may be empty.
    """
    names = sorted({event.reader for event in standing.events})
    stages: dict[Stage, DecisionsByReader] = {stage: standing.by_reader(stage) for stage in Stage}
    counting, blind = standing.by_reader(), stages[Stage.BLIND]
    readers = []
    for name in names:
        done = {s: len(of[name]) for s, of in stages.items() if of.get(name)}
        readers.append(ReaderActivity(name, done, standing.seconds(name)))
    program = binarise_verdicts(verdicts)
    known = truth.known()
    against = [
        compute_accuracy(binarise_decisions(of), known, (f"{name} ({stage})", truth.source))
        for stage, readings in ((Stage.OPEN, counting), (Stage.BLIND, blind))
        for name, of in sorted(readings.items())
        if known
    ]
    if known and set(program) & set(known):
        against.append(compute_accuracy(program, known, ("program", truth.source)))
    return ReaderStudyFindings(
        readers=tuple(readers),
        agreement={
            stage: tuple(_compute_kappas(readings))
            for stage, readings in ((Stage.OPEN, counting), (Stage.BLIND, blind))
            if len(readings) > 1
        },
        against_program=tuple(
            compute_accuracy(program, binarise_decisions(of), ("program", f"reader {name}"))
            for name, of in sorted(counting.items())
        ),
        against_truth=tuple(one for one in against if one.sensitivity.n or one.specificity.n),
        changes=tuple(find_decision_changes(blind, stages[Stage.REVEALED])),
        choices={
            name: Proportion(sum(d.decision == "synthetic" for d in of.values()), len(of))
            for name, of in sorted(stages[Stage.FORCED_CHOICE].items())
        },
        truth=truth.source if known else "nothing is known",
    )


def _compute_kappas(readings: DecisionsByReader) -> list[Kappa]:
    every = compute_kappa(readings)
    return [every] if len(readings) == 2 else [every, *compute_pairwise_kappas(readings)]


def _rate_to_dict(share: Proportion) -> dict[str, Any]:
    return {
        "k": share.k,
        "n": share.n,
        "value": share.value,
        "interval": list(share.interval) if share.n else None,
    }
