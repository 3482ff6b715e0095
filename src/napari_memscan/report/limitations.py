"""What a report does not know, said in plain words; worked out from what is there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_memscan.detection.planting.selftest import WEAK_SENSITIVITY
from napari_memscan.report.conclusion import explain_no_power, is_selftest_stale
from napari_memscan.typing import Verdict

if TYPE_CHECKING:
    from napari_memscan.detection.planting.selftest import SelfTest
    from napari_memscan.detection.results.scan_result import ScanResult
    from napari_memscan.report.supplementary import SupplementaryResults

UNTESTABLE = (
    "What else the model can make: these volumes were looked at, not the model. Others that it "
    "makes may be copies.",
    "Training data that is not in this cohort, such as that of a model it was fine-tuned from.",
    "A copy of a part alone, such as one lesion in the body of somebody else: whole volumes are "
    "compared.",
    "Whether a volume says who a person is. A copy may be of somebody whom nobody can name; "
    "that is a matter of law, and no number here answers it.",
)
"""What no study of this program answers."""


@dataclass(frozen=True)
class Limitation:
    """Something that was not tested.

    Attributes
    ----------
    what : str
        In plain words, as the start of a sentence.
    why : str
        What is the case, and what follows.
    command : str
        What would test it; empty where no command does.
    """

    what: str
    why: str
    command: str = ""


def list_limitations(
    result: ScanResult, attached: SupplementaryResults, n_read: int
) -> tuple[Limitation, ...]:
    """Return what was not tested in a study, what matters most first.

    Parameters
    ----------
    result : ScanResult
    attached : SupplementaryResults
        What there is beside it.
    n_read : int
        Synthetic volumes that somebody has read.
    """
    return (
        *_check_power(result),
        *_check_detector(result, attached.selftest),
        *_check_assumption(result),
        *_check_reading(result, attached, n_read),
        *_check_cohort(attached),
        *_check_other_evidence(attached),
    )


def _check_power(result: ScanResult) -> Iterator[Limitation]:
    why, c = explain_no_power(result), result.calibration
    if why:
        yield Limitation("Whether any volume is a copy", f"The program could call none: {why}.")
    elif c is not None and result.rule == "conformal" and c.least_discoveries > 1:
        few = c.least_discoveries
        text = (
            f"With {c.n_null} validation subjects {few} volumes must be nearer than all of them "
            f"before any is called; fewer copies than {few} stay undecided. "
        )
        text += (
            f"There are only {result.n_synthetic}: none could be called."
            if few > result.n_synthetic
            else f"{c.least_validation} subjects would let a single one be called."
        )
        yield Limitation("A single copy", text)
    if result.measure != "score":
        yield Limitation(
            "The images themselves",
            "Only vectors of an embedder were compared; no pair was laid over each other.",
        )
    for reason in c.limit_reasons if c is not None else ():
        yield Limitation("Where one class ends and the next begins", f"{reason}.")


def _check_detector(result: ScanResult, test: SelfTest | None) -> Iterator[Limitation]:
    if test is None:
        yield Limitation(
            "How many copies the program misses",
            "No self-test was made; it may miss any share of them.",
            "memscan selftest",
        )
        return
    if is_selftest_stale(result, test):
        yield Limitation(
            "How many copies this search misses",
            "The self-test measured another detector than the one that scanned.",
            "memscan selftest",
        )
    missed = [
        f"{row.kind} ({row.found.k} of {row.n} found)"
        for row in test.kinds
        if row.label != Verdict.NOVEL and row.n and row.found.k / row.n < WEAK_SENSITIVITY
    ]
    if missed:
        yield Limitation(
            "Copies that this detector misses",
            f"In the self-test fewer than {WEAK_SENSITIVITY:.0%} were found of:"
            f" {', '.join(missed)}.",
        )


def _check_assumption(result: ScanResult) -> Iterator[Limitation]:
    c, name = result.calibration, "Whether the error rate holds for this model"
    if c is None:
        yield Limitation(
            name,
            "The rule compares embeddings only; that novel volumes lie as far from training "
            "volumes as new patients do is assumed.",
        )
    elif c.assumption_shifted:
        yield Limitation(
            name, "What it assumes was tested and failed; the stated rate does not hold."
        )
    elif c.assumption_p is None:
        yield Limitation(
            name,
            "It assumes that novel synthetic volumes are as near to training volumes as new "
            "patients are. There are too few volumes to test that.",
        )


def _check_reading(
    result: ScanResult, attached: SupplementaryResults, n_read: int
) -> Iterator[Limitation]:
    n, unread = result.n_synthetic, result.n_synthetic - n_read
    if not n_read:
        yield Limitation(
            "What a radiologist sees", f"Nobody has read any of the {n}.", "memscan review"
        )
    elif unread:
        yield Limitation("What a radiologist sees in the others", f"{unread} of {n} were not read.")
    undecided = result.count(Verdict.UNDECIDED)
    if undecided:
        yield Limitation(
            f"What the undecided volumes are ({undecided})",
            "The program can call them neither near nor novel.",
        )
    if attached.disagreed:
        yield Limitation(
            f"Which reader is right ({len(attached.disagreed)})",
            "Readers say different things of these volumes; nobody has settled it.",
        )
    if n_read and attached.readers is not None and not attached.readers.agreement:
        yield Limitation("Whether another reader would agree", "One person has read them.")


def _check_cohort(attached: SupplementaryResults) -> Iterator[Limitation]:
    if attached.twice is None:
        yield Limitation(
            "Whether a patient is in the training data twice, or in validation as well",
            "The cohort was not searched. What is twice is learnt by heart first; what is in both "
            "splits hides copies.",
            "memscan dedup",
        )
    elif attached.twice.leaks:
        yield Limitation(
            "Copies that are no nearer than the leaks",
            f"Pairs of a validation and a training volume that are alike: {attached.twice.leaks}. "
            "While they are in the null, copies hide behind them.",
        )
    if attached.n_unknown_subjects:
        yield Limitation(
            "Which volumes are of one patient",
            f"{attached.n_unknown_subjects} training and validation volumes have no subject; each"
            " counts as a person of its own.",
        )


def _check_other_evidence(attached: SupplementaryResults) -> Iterator[Limitation]:
    if attached.membership is None:
        why = "Nobody asked the denoiser whether it knows its training volumes."
        if attached.generator == "folder":
            why = "The volumes were made elsewhere and the model is not here."
        command = "" if attached.generator == "folder" else "memscan membership"
        yield Limitation("Whether the model itself betrays who was in its training", why, command)
    if attached.evidence is None:
        yield Limitation(
            "Other measures of copying",
            "Published metrics were not computed; all rests on one detector.",
            "memscan evidence",
        )
    elif attached.evidence.stale:
        yield Limitation(
            "Other measures of copying for this scan",
            "The metrics there are belong to an earlier one.",
            "memscan evidence",
        )
