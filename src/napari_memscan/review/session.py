"""One reader at one queue: what is next, what was decided, who else is there."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from operator import is_
from typing import Any

from napari_memscan.detection.results.scan_result import ScanResult
from napari_memscan.errors import JobFailed
from napari_memscan.review.claims import CLAIM_MINUTES, ClaimRegistry
from napari_memscan.review.current_decisions import CurrentDecisions
from napari_memscan.review.events import ReadingEvent
from napari_memscan.review.queue import QueueItem, ReadingProgress, ReviewQueue
from napari_memscan.review.store import DecisionStore

CLAIM_PAUSE_SECONDS = 30.0
"""Seconds without claims after one failed: a server that is gone is waited for each time."""


class ReviewSession:
    """Reads a queue with a store behind it; no decision is anywhere else than on disk.

    Parameters
    ----------
    store : DecisionStore
        Closed with the session.
    each : bool
        Every reader reads every sample; else a sample is read by one of them.
    claim_minutes : float
        A claim that is not renewed ends after this.

    Attributes
    ----------
    queue : ReviewQueue or None
        As of the last `refresh`.
    items : dict of str to QueueItem
        Sample to item, in reading order.
    left : ReadingProgress
        How far the reader is.
    reader : str
        Who reads.
    """

    def __init__(
        self, store: DecisionStore, each: bool = False, claim_minutes: float = CLAIM_MINUTES
    ) -> None:
        self.store = store
        self.each = each
        self.reader = ""
        self.queue: ReviewQueue | None = None
        self.items: dict[str, QueueItem] = {}
        self.left = ReadingProgress(0, 0, None)
        self._claims = ClaimRegistry(store, claim_minutes)
        self._paused_until = 0.0
        self._events: list[ReadingEvent] = []
        # What the queue was made of: the same things are not gone through again.
        self._asked: tuple[Any, ...] | None = None
        self._read_by = ""

    def close(self) -> None:
        """Give up what this reader holds, and the store."""
        try:
            self.rest()
        finally:
            self.store.close()

    def refresh(self, result: ScanResult, lineage: Mapping[str, str]) -> None:
        """Read what was decided since, by anybody.

        Parameters
        ----------
        result, lineage
            As for `ReviewQueue`. What changed must come as another object.

        Raises
        ------
        JobFailed
            The store cannot be read now.
        """
        # Only what is new: after thousands of decisions the next one comes as quickly.
        last = self._events[-1].id if self._events else 0
        self._events += self.store.history(after=last)
        standing = CurrentDecisions(self._events)
        decided = standing.current(), standing.by_reader()
        asked = (result, lineage)
        same = self._asked is not None and all(map(is_, asked, self._asked))
        if self.queue is not None and same and self.reader == self._read_by:
            self.queue.follow(*decided)
        else:
            self.queue = ReviewQueue(*asked, *decided, reader=self.reader, each=self.each)
        self._asked, self._read_by = asked, self.reader
        self.items = {item.sample: item for item in self.queue.items}
        self.left = self.queue.left(standing.seconds(self.reader))

    def decide(self, sample: str, decision: str, **values: Any) -> ReadingEvent:
        """Record a decision and give up the claim; see `DecisionStore.record` for `values`."""
        with self._try_claims():
            made = self.store.record(sample, decision, self.reader, **values)
        # The decision is on disk: a claim that cannot be given up now ends by itself.
        self._paused_until = 0.0
        with suppress(JobFailed):
            self._claims.release(self.reader, sample)
        return made

    def undo(self) -> ReadingEvent | None:
        """Withdraw this reader's last decision; None where there is none."""
        return self.store.undo(self.reader)

    def redo(self) -> ReadingEvent | None:
        """Make the decision again that was withdrawn last; None where there is none."""
        return self.store.redo(self.reader)

    def open(self, sample: str, share: bool = False) -> str:
        """Claim a sample for this reader.

        Returns
        -------
        str
            Who else has it open; empty when it is this reader's, or shared, or nobody can say.

        Raises
        ------
        JobFailed
            The store cannot be used now. It is not asked again for `CLAIM_PAUSE_SECONDS` seconds,
            or until a decision was recorded: reading goes on without claims.
        """
        with self._try_claims() as may:
            if not may or self._claims.claim(sample, self.reader, share=share) is not None:
                return ""
            return self._claims.held_by_others(self.reader).get(sample, "")

    def rest(self) -> None:
        """Give up what this reader holds: the window was closed, or hidden."""
        with self._try_claims() as may:
            if may and self.reader:
                self._claims.release(self.reader)

    def find_next(
        self, order: Sequence[str], after: str | None = None, share: bool = False
    ) -> str | None:
        """Return the next unread sample that nobody else has open.

        Parameters
        ----------
        order : sequence of str
            Samples as they are listed.
        after : str, optional
            Look below this one first, then from the top.
        share : bool
            Also return what somebody else has open.

        Raises
        ------
        JobFailed
            As `open`.
        """
        start = order.index(after) + 1 if after in order else 0
        with self._try_claims() as may:
            held = self._claims.held_by_others(self.reader) if may and not share else {}
        for sample in (*order[start:], *order[:start]):
            item = self.items.get(sample)
            if item is not None and item.unread and sample not in held:
                return sample
        return None

    @contextmanager
    def _try_claims(self) -> Iterator[bool]:
        """Say whether claims may be asked for now; a failure ends that for a while."""
        try:
            yield time.monotonic() >= self._paused_until
        except JobFailed:
            self._paused_until = time.monotonic() + CLAIM_PAUSE_SECONDS
            raise
