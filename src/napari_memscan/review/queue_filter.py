"""Filter and search a queue; pure functions, quick enough for every key that is typed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from napari_memscan.review.queue import QueueItem
from napari_memscan.typing import Verdict

QUEUE_FILTERS: dict[str, Callable[[QueueItem], bool]] = {
    "all": lambda _: True,
    "unread": lambda item: item.unread,
    "flagged": lambda item: item.flagged,
    "readers disagree": lambda item: item.readers_disagree,
    "program disagrees": lambda item: item.program_disagrees,
}
"""What a filter can show, and what it asks of an item."""


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
    verdict: Verdict | None = None
    text: str = ""

    def matches(self, item: QueueItem) -> bool:
        """Whether an item is shown."""
        if self.verdict and item.verdict != self.verdict:
            return False
        if not QUEUE_FILTERS[self.show](item):
            return False
        return not self.text or all(word in item.words for word in self.text.casefold().split())
