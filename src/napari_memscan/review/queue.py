"""What a reader goes through: nearest samples first, with what was decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from napari_memscan.detection.result import Neighbour, ScanResult
from napari_memscan.review.store import Decision


@dataclass(frozen=True)
class QueueItem:
    """One synthetic volume to read.

    Attributes
    ----------
    sample : str
        Such as ``s000003``.
    path : str
        Of the volume.
    similarity : float
        Largest of the embeddings, in [-1, 1], larger is nearer.
    verdict, reason : str
        What the program says, and why where it is undecided.
    neighbours : tuple of Neighbour
        Nearest first.
    decision : Decision or None
        What was decided last.
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
    """

    sample: str
    path: str
    similarity: float
    verdict: str
    reason: str
    neighbours: tuple[Neighbour, ...]
    decision: Decision | None
    parent: str | None
    replaced_by: str | None
    value: float
    score: float | None = None
    p_value: float | None = None

    @property
    def unread(self) -> bool:
        """Whether somebody still has to decide: undecided, and not replaced by another sample."""
        return self.decision is None and self.replaced_by is None


class ReviewQueue:
    """The samples of a scan, nearest first by what decides.

    Parameters
    ----------
    result : ScanResult
        Of the last scan.
    samples : mapping of str to str
        Path to sample.
    lineage : mapping of str to str
        Sample to the parent it replaces.
    decisions : mapping of str to Decision
        Sample to its standing decision.

    Attributes
    ----------
    items : tuple of QueueItem
        In reading order. Samples made after the scan are not in it.
    """

    def __init__(
        self,
        result: ScanResult,
        samples: Mapping[str, str],
        lineage: Mapping[str, str],
        decisions: Mapping[str, Decision],
    ) -> None:
        children = {parent: sample for sample, parent in lineage.items()}
        self.items = tuple(
            QueueItem(
                sample=samples[s.path],
                path=s.path,
                similarity=s.similarity,
                verdict=s.verdict,
                reason=s.reason,
                neighbours=s.neighbours,
                decision=decisions.get(samples[s.path]),
                parent=lineage.get(samples[s.path]),
                replaced_by=children.get(samples[s.path]),
                value=result.value(s),
                score=s.score,
                p_value=s.p_value,
            )
            for s in result.samples
            if s.path in samples
        )

    @property
    def progress(self) -> tuple[int, int]:
        """Samples read or replaced, and all of them."""
        return sum(not item.unread for item in self.items), len(self.items)

    def next_unread(self, after: str | None = None) -> str | None:
        """Return the first unread sample below `after`, else the first one; None when all are."""
        names = [item.sample for item in self.items]
        start = names.index(after) + 1 if after in names else 0
        for item in (*self.items[start:], *self.items[:start]):
            if item.unread:
                return item.sample
        return None
