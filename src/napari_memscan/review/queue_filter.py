"""Filter, search and sort a queue; pure functions, quick enough for every key that is typed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from napari_memscan.review.queue import QueueItem

QUEUE_FILTERS: dict[str, Callable[[QueueItem], bool]] = {
    "all": lambda _: True,
    "unread": lambda item: item.unread,
    "flagged": lambda item: item.flagged,
    "readers disagree": lambda item: item.readers_disagree,
    "program disagrees": lambda item: item.program_disagrees,
}
"""What a filter can show, and what it asks of an item."""

QUEUE_SORT_KEYS: dict[str, Callable[[QueueItem], Any]] = {
    "sample": lambda item: (len(item.sample), item.sample),
    "value": lambda item: item.value,
    "similarity": lambda item: item.similarity,
    "score": lambda item: item.score,
    "p-value": lambda item: item.p_value,
    "verdict": lambda item: item.verdict,
    "decision": lambda item: item.decision.decision if item.decision is not None else None,
    "confidence": lambda item: item.confidence,
    "time": lambda item: item.decision.id if item.decision is not None else None,
}
"""What a queue can be sorted by."""


@dataclass(frozen=True)
class QueueFilter:
    """Which items of a queue are shown.

    Attributes
    ----------
    show : str
        One of `QUEUE_FILTERS`.
    verdict : str
        Only this verdict of the program; empty for any.
    text : str
        All its words must be in sample, file names, notes or readers; case does not count.
    """

    show: str = "all"
    verdict: str = ""
    text: str = ""

    def matches(self, item: QueueItem) -> bool:
        """Whether an item is shown."""
        if self.verdict and item.verdict != self.verdict:
            return False
        if not QUEUE_FILTERS[self.show](item):
            return False
        return not self.text or all(word in item.words for word in self.text.casefold().split())


def filter_queue(
    items: Iterable[QueueItem], choice: QueueFilter, by: str | None = None, descending: bool = False
) -> list[QueueItem]:
    """Return the items that match, sorted.

    Parameters
    ----------
    items : iterable of QueueItem
        In reading order.
    choice : Choice
        Which ones.
    by : str, optional
        One of `QUEUE_SORT_KEYS`; else they stay in reading order. Equal ones stay in it, too.
    descending : bool
        Largest first; what has no value comes last either way.
    """
    found = [item for item in items if choice.matches(item)]
    if by is None:
        return found
    key = QUEUE_SORT_KEYS[by]
    with_value = [item for item in found if key(item) is not None]
    without = [item for item in found if key(item) is None]
    return sorted(with_value, key=key, reverse=descending) + without
