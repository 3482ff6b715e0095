"""Which decisions stand, worked out from all events; no database."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from napari_memscan.review.events import EventKind, ReadingEvent
from napari_memscan.typing import Stage

PACE_WINDOW = 20
"""Latest decisions of a reader that the time left is worked out from."""


class CurrentDecisions:
    """What stands after all events; made from one read of the store.

    Parameters
    ----------
    events : iterable of ReadingEvent
        All of them, oldest first.

    Attributes
    ----------
    events : tuple of ReadingEvent
        As given.
    """

    def __init__(self, events: Iterable[ReadingEvent]) -> None:
        self.events = tuple(events)
        withdrawn = {e.withdraws for e in self.events}
        self._standing = [
            e
            for e in self.events
            if not isinstance(e.decision, EventKind) and e.id not in withdrawn
        ]

    def current(
        self, reader: str | None = None, stage: str | None = None
    ) -> dict[str, ReadingEvent]:
        """Return the latest standing decision of each sample that has one.

        Parameters
        ----------
        reader : str, optional
            Only this one's; else the latest of anybody.
        stage : str, optional
            Else all stages that count: a blind answer clears no sample.
        """
        result: dict[str, ReadingEvent] = {}
        for decision in self._of(stage):
            if reader is None or decision.reader == reader.strip():
                result[decision.sample] = decision
        return result

    def by_reader(self, stage: str | None = None) -> dict[str, dict[str, ReadingEvent]]:
        """Return reader to sample to decision: what several readers say stands side by side."""
        result: dict[str, dict[str, ReadingEvent]] = {}
        for decision in self._of(stage):
            result.setdefault(decision.reader, {})[decision.sample] = decision
        return result

    def find_undoable(self, reader: str, stage: str = Stage.OPEN) -> ReadingEvent | None:
        """Return what an undo of this reader would take back."""
        own = [d for d in self._standing if d.reader == reader.strip() and d.stage == stage]
        return own[-1] if own else None

    def find_redoable(self, reader: str, stage: str = Stage.OPEN) -> ReadingEvent | None:
        """Return what a redo of this reader would make again; None after a new decision."""
        undone: list[int] = []
        by_id: dict[int, ReadingEvent] = {}
        for event in self.events:
            if event.reader != reader.strip() or event.stage != stage:
                continue
            by_id[event.id] = event
            if event.decision == EventKind.WITHDRAWN:
                if event.withdraws is not None:
                    undone.append(event.withdraws)
            elif event.decision == EventKind.REVEALED:
                continue
            elif event.restores is not None:
                undone = undone[:-1]
            else:
                undone = []
        return by_id.get(undone[-1]) if undone else None

    def of(self, reader: str, stage: str) -> list[ReadingEvent]:
        """Return every standing decision of a reader in a stage, oldest first."""
        return [d for d in self._of(stage) if d.reader == reader.strip()]

    def find_reveals(self, reader: str) -> list[ReadingEvent]:
        """Return the events since which this reader knows what a case of a blind study is."""
        return [
            e
            for e in self.events
            if e.decision == EventKind.REVEALED and e.reader == reader.strip()
        ]

    def last_seen(self, reader: str) -> dict[str, str]:
        """Return sample to the time of this reader's last event on it, taken back or not."""
        return {e.sample: e.time for e in self.events if e.reader == reader.strip()}

    def seconds(self, reader: str) -> float | None:
        """Return the median reading time of this reader's latest decisions; None without any.

        A median: a telephone call in the middle of a reading does not count.
        """
        times = [
            e.seconds
            for e in self._standing
            if e.reader == reader.strip() and e.seconds is not None and e.restores is None
        ]
        return float(median(times[-PACE_WINDOW:])) if times else None

    def _of(self, stage: str | None) -> list[ReadingEvent]:
        return [
            d for d in self._standing if (d.stage.counts if stage is None else d.stage == stage)
        ]
