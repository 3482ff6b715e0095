"""Lineage of a study's samples: which were rejected, what replaced them, and what came of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_memscan.study import SampleRow, Study
from napari_memscan.typing import Decision, Verdict

if TYPE_CHECKING:
    from napari_memscan.detection.results.scan_result import SampleResult, ScanResult


@dataclass(frozen=True)
class Attempt:
    """One replacement that was drawn.

    Attributes
    ----------
    sample, parent : str
        Its name, and the sample it replaces: the one rejected, or the attempt before.
    seed : int
        Of its noise.
    verdict, reason : Verdict, str
        What the program says of it.
    value : float
        What the verdict rests on, score or similarity, in [-1, 1], larger is nearer.
    p_value : float or None
        How often a new patient's volume would be as near; None where the rule knows none.
    """

    sample: str
    parent: str
    seed: int
    verdict: Verdict
    reason: str
    value: float
    p_value: float | None

    @property
    def called(self) -> bool:
        """Whether the program calls it a copy or a near-duplicate."""
        return self.verdict.called


@dataclass(frozen=True)
class Replacement:
    """What became of a rejected sample. As text, the name of its last replacement.

    Attributes
    ----------
    rejected : str
        The sample that was to be replaced; it is kept.
    attempts : tuple of Attempt
        At least one; each is the parent of the next.
    unguided : str
        Why those drawn now were drawn without the guidance that was asked for; empty where they
        were not.
    """

    rejected: str
    attempts: tuple[Attempt, ...]
    unguided: str = ""

    def __str__(self) -> str:
        return self.sample

    @property
    def sample(self) -> str:
        """Name of the last attempt."""
        return self.attempts[-1].sample

    @property
    def replaced(self) -> bool:
        """Whether the last attempt is not called."""
        return not self.gave_up

    @property
    def gave_up(self) -> bool:
        """Whether the last attempt is called as well, and no other is tried."""
        return self.attempts[-1].called


def list_flagged(study: Study, *, decided: bool = True, called: bool = False) -> list[str]:
    """Return the samples to replace, in order.

    Of a sample and its replacements it is the last that any reader decided to be a copy. It stays
    in the list after it was replaced, so that the same command goes on where it stopped; then
    `regenerate_samples` only reports it.

    Parameters
    ----------
    study : Study
        Its samples, scan and decisions.
    decided : bool
        Those that readers decided to be copies.
    called : bool
        Those that the program calls copy or near-duplicate and no reader has read.
    """
    rows = study.samples()
    store = study.store()
    try:
        # Of each reader the last word; one who says copy is enough, as in a release.
        said = [d for decisions in store.by_reader().values() for d in decisions.values()]
    finally:
        store.close()
    read = {d.sample for d in said}
    copied = {d.sample for d in said if d.decision == Decision.COPY}
    judged = collect_scan_results(study.result(), rows)
    result = []
    for row in rows:
        if row.parent:
            continue
        family = [row, *trace_replacements(row.sample, rows)]
        copies = [r.sample for r in family if r.sample in copied]
        if copies and decided:
            result.append(copies[-1])
        elif called and row.sample not in read and is_called(row, judged):
            result.append(row.sample)
    return result


def trace_replacements(sample: str, rows: Sequence[SampleRow]) -> list[SampleRow]:
    """Return what replaced a sample, then what replaced that, and so on."""
    children = {row.parent: row for row in rows if row.parent}
    chain: list[SampleRow] = []
    while sample in children and len(chain) <= len(rows):
        chain.append(children[sample])
        sample = children[sample].sample
    return chain


def collect_scan_results(
    result: ScanResult | None, rows: Sequence[SampleRow]
) -> dict[str, SampleResult]:
    """Return sample to what a scan says of it, for those that it knows."""
    found = {s.name: s for s in result.samples} if result is not None else {}
    return {row.sample: found[row.sample] for row in rows if row.sample in found}


def is_called(row: SampleRow, judged: Mapping[str, SampleResult]) -> bool:
    """Return whether the last scan calls a sample copy or near-duplicate."""
    return row.sample in judged and judged[row.sample].verdict.called


def build_replacement(
    result: ScanResult, name: str, chain: Sequence[SampleRow], judged: Mapping[str, SampleResult]
) -> Replacement:
    """Return what became of a rejected sample, from all that replaced it, all scanned."""
    attempts = []
    for row in chain:
        one = judged[row.sample]
        attempts.append(
            Attempt(
                row.sample,
                row.parent,
                int(row.seed),
                one.verdict,
                one.reason,
                result.value(one),
                one.p_value,
            )
        )
    return Replacement(name, tuple(attempts))
