"""What a reader goes through: nearest samples first, with what was decided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from napari_memscan.detection.results.scan_result import Neighbour, ScanResult
from napari_memscan.review.events import ReadingEvent
from napari_memscan.typing import Decision, Verdict


@dataclass(frozen=True)
class ReadingProgress:
    """How far a reader is.

    Attributes
    ----------
    read, total : int
        Samples that need no more reading, and all.
    seconds : float or None
        Expected for the rest; None where no reading time is known yet.
    """

    read: int
    total: int
    seconds: float | None

    def __str__(self) -> str:
        text = f"{self.read} of {self.total}"
        if self.read >= self.total or self.seconds is None:
            return text
        if self.seconds < 60:
            return f"{text}, less than 1 min left"
        minutes = round(self.seconds / 60)
        hours = f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
        return f"{text}, {hours} left"


@dataclass(frozen=True)
class QueueItem:
    """One synthetic volume to read.

    Attributes
    ----------
    sample : str
        Such as ``s000003``.
    similarity : float
        Largest of the embeddings, in [-1, 1], larger is nearer.
    verdict, reason : Verdict, str
        What the program says, and why where it is undecided.
    neighbours : tuple of Neighbour
        Nearest first.
    decision : ReadingEvent or None
        What was decided last, by anybody.
    parent : str or None
        The sample it replaces.
    replaced_by : str or None
        The sample that replaces it.
    value : float
        What the verdict rests on, score or similarity, in [-1, 1], larger is nearer.
    score : float or None
        Largest after registration; None without registration.
    p_value : float or None
        How often a new patient's volume would be as near; None where the rule knows none.
    decisions : tuple of ReadingEvent
        What each reader decided last, in the order of deciding.
    own : ReadingEvent or None
        What the present reader decided last.
    each : bool
        Every reader reads every sample: a decision of another one does not make it read.
    """

    sample: str
    similarity: float
    verdict: Verdict
    reason: str
    neighbours: tuple[Neighbour, ...]
    decision: ReadingEvent | None
    parent: str | None
    replaced_by: str | None
    value: float
    score: float | None = None
    p_value: float | None = None
    decisions: tuple[ReadingEvent, ...] = ()
    own: ReadingEvent | None = None
    each: bool = False

    @property
    def unread(self) -> bool:
        """Whether somebody still has to decide: undecided, and not replaced by another sample."""
        decided = self.own if self.each else self.decision
        return decided is None and self.replaced_by is None

    @property
    def called(self) -> bool:
        """Whether the program calls it: copy or near-duplicate."""
        return self.verdict.called

    @property
    def flagged(self) -> bool:
        """Whether a reader decided copy, or the program calls it."""
        return self.called or any(d.decision == Decision.COPY for d in self._all)

    @property
    def readers_disagree(self) -> bool:
        """Whether two readers decided differently; unsure is an opinion, too."""
        return len({d.decision for d in self._all}) > 1

    @property
    def program_disagrees(self) -> bool:
        """Whether a reader contradicts the program.

        Not a copy where the verdict is copy, or copy where it is novel. Between them, at
        near-duplicate and undecided, the program says too little to be contradicted.
        """
        contrary = {Verdict.COPY: Decision.NOT_A_COPY, Verdict.NOVEL: Decision.COPY}.get(
            self.verdict
        )
        return any(d.decision == contrary for d in self._all)

    @cached_property
    def words(self) -> str:
        """All that a search looks at, in lower case: sample, files, notes and readers."""
        parts = [self.sample, *(near.name for near in self.neighbours)]
        parts += [text for d in self._all for text in (d.note, d.reader)]
        return "\n".join(parts).casefold()

    @property
    def _all(self) -> tuple[ReadingEvent, ...]:
        return self.decisions or ((self.decision,) if self.decision is not None else ())


class ReviewQueue:
    """The samples of a scan, nearest first by what decides.

    Parameters
    ----------
    result : ScanResult
        Of the last scan.
    lineage : mapping of str to str
        Sample to the parent it replaces.
    decisions : mapping of str to ReadingEvent
        Sample to its standing decision, whoever's.
    by_reader : mapping, optional
        Reader to sample to standing decision; see `Standing.by_reader`.
    reader : str
        Who reads now.
    each : bool
        Every reader reads every sample; else a sample is read by one of them.

    Attributes
    ----------
    items : tuple of QueueItem
        In reading order. Samples made after the scan are not in it.
    """

    def __init__(
        self,
        result: ScanResult,
        lineage: Mapping[str, str],
        decisions: Mapping[str, ReadingEvent],
        by_reader: Mapping[str, Mapping[str, ReadingEvent]] | None = None,
        *,
        reader: str = "",
        each: bool = False,
    ) -> None:
        children = {parent: sample for sample, parent in lineage.items()}
        self._reader = reader.strip()
        undecided = (
            QueueItem(
                sample=s.name,
                similarity=s.similarity,
                verdict=s.verdict,
                reason=s.reason,
                neighbours=s.neighbours,
                decision=None,
                parent=lineage.get(s.name),
                replaced_by=children.get(s.name),
                value=result.value(s),
                score=s.score,
                p_value=s.p_value,
                each=each,
            )
            for s in result.samples
        )
        self.items = self._decided(undecided, decisions, by_reader or {})

    def follow(
        self,
        decisions: Mapping[str, ReadingEvent],
        by_reader: Mapping[str, Mapping[str, ReadingEvent]],
    ) -> None:
        """Take over what stands now; the scan, the samples and the reader are the same.

        Parameters
        ----------
        decisions, by_reader
            As for the class.
        """
        self.items = self._decided(self.items, decisions, by_reader)

    def _decided(
        self,
        items: Iterable[QueueItem],
        decisions: Mapping[str, ReadingEvent],
        by_reader: Mapping[str, Mapping[str, ReadingEvent]],
    ) -> tuple[QueueItem, ...]:
        """Return the items with these decisions; those that they do not change as they are."""
        every: dict[str, list[ReadingEvent]] = {}
        for of_one in by_reader.values():
            for sample, decision in of_one.items():
                every.setdefault(sample, []).append(decision)
        own = by_reader.get(self._reader, {})
        result = []
        for item in items:
            last, mine = decisions.get(item.sample), own.get(item.sample)
            said = tuple(sorted(every.get(item.sample, ()), key=lambda d: d.id))
            same = last == item.decision and mine == item.own and said == item.decisions
            result.append(item if same else replace(item, decision=last, own=mine, decisions=said))
        return tuple(result)

    @property
    def progress(self) -> tuple[int, int]:
        """Samples read or replaced, and all of them."""
        return sum(not item.unread for item in self.items), len(self.items)

    def left(self, seconds: float | None) -> ReadingProgress:
        """Return how far the reading is.

        Parameters
        ----------
        seconds : float or None
            For one sample; see `Standing.seconds`.
        """
        read, total = self.progress
        return ReadingProgress(read, total, None if seconds is None else seconds * (total - read))
