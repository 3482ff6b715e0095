"""Whether what was recorded is still what is there: every hash, every link, every number."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select

from napari_memscan.errors import BadInput
from napari_memscan.review.database import APPEND_ONLY_TRIGGERS, EVENTS_TABLE
from napari_memscan.review.events import GENESIS_HASH, SAID, ReadingEvent, compute_event_hash
from napari_memscan.review.plan_files import find_plan_mismatches
from napari_memscan.review.store import DecisionStore
from napari_memscan.typing import Stage

MIN_HEAD_DIGITS = 12
"""Hexadecimal digits of a noted head that are enough to recognise it."""
CLOCK_TOLERANCE_SECONDS = 1.0
"""Seconds that the clocks of two readers may differ unsaid."""


@dataclass(frozen=True)
class AuditFault:
    """Something that does not fit.

    Attributes
    ----------
    event : int
        Number of the event; 0 for the store as a whole.
    what : str
        In words.
    """

    event: int
    what: str

    def __str__(self) -> str:
        return f"event {self.event}: {self.what}" if self.event else self.what


@dataclass(frozen=True)
class AuditReport:
    """What an audit found.

    Attributes
    ----------
    where : str
        The store.
    n_events, n_readers : int
        All events, and how many people decided.
    first, last : str
        Times of the first and last event; empty without any.
    head : str
        Hash of the last event: stands for everything before it.
    expected : str
        The head that was noted elsewhere; empty where none was given.
    since : int or None
        Events after the expected head; None where it is not in the chain.
    faults : tuple of AuditFault
        What breaks the chain.
    doubts : tuple of AuditFault
        What does not break it and is still to be explained, such as a clock that ran backwards.
    """

    where: str
    n_events: int
    n_readers: int
    first: str
    last: str
    head: str
    expected: str
    since: int | None
    faults: tuple[AuditFault, ...]
    doubts: tuple[AuditFault, ...]

    @property
    def intact(self) -> bool:
        """Whether nothing was found changed, missing or out of order."""
        return not self.faults

    def to_json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self) | {"intact": self.intact}, indent=2, sort_keys=True)

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.n_events} events of {self.n_readers} readers"]
        if self.n_events:
            lines[0] += f", {self.first} to {self.last}"
        lines += [f"broken   {fault}" for fault in self.faults]
        lines += [f"careful  {doubt}" for doubt in self.doubts]
        if self.intact and self.since is not None:
            lines.append(f"intact   with the noted head in it, and {self.since} events since")
        elif self.intact:
            lines.append("intact   as far as it goes: an end that was cut off does not show")
        lines.append(f"head     {self.head}")
        return "\n".join(lines)


def audit_store(
    store: DecisionStore, expect: str = "", plans: str | Path | None = None
) -> AuditReport:
    """Verify every event of a store.

    Parameters
    ----------
    store : DecisionStore
        Best opened with ``read_only=True``.
    expect : str
        A head noted earlier, or its first digits (`MIN_HEAD_DIGITS` at least): it must be in the
        chain.
    plans : path, optional
        Folder of the plans of blind studies: each must be the one that was answered.

    Raises
    ------
    BadInput
        `expect` is no hash.
    """
    expect = expect.strip().lower()
    if expect and (len(expect) < MIN_HEAD_DIGITS or set(expect) - set("0123456789abcdef")):
        raise BadInput(
            f"head '{expect}': at least {MIN_HEAD_DIGITS} hexadecimal digits are expected."
        )
    database = store.database
    with database.reading() as connection:
        query = select(EVENTS_TABLE).order_by(EVENTS_TABLE.c.id)
        rows = [dict(row) for row in connection.execute(query).mappings()]
        lost = APPEND_ONLY_TRIGGERS - database.triggers(connection)
    faults, doubts = verify_chain(rows)
    if plans is not None and not faults:  # What is broken may not even be JSON.
        wrong = find_plan_mismatches(plans, map(ReadingEvent.of, rows))
        faults += [AuditFault(event, text) for event, text in wrong]
    if lost:
        doubts.append(
            AuditFault(0, "the database no longer refuses changes: its triggers are gone")
        )
    since = _count_since(rows, expect)
    if expect and since is None:
        text = "the noted head is not in the chain: events were cut off, or written anew"
        faults.append(AuditFault(0, text))
    return AuditReport(
        where=store.where,
        n_events=len(rows),
        n_readers=len({row["reader"] for row in rows}),
        first=rows[0]["time"] if rows else "",
        last=rows[-1]["time"] if rows else "",
        head=rows[-1]["hash"] if rows else GENESIS_HASH,
        expected=expect,
        since=since,
        faults=tuple(faults),
        doubts=tuple(doubts),
    )


def verify_chain(rows: Sequence[dict[str, Any]]) -> tuple[list[AuditFault], list[AuditFault]]:
    """Return what breaks a chain, and what is to be explained.

    Parameters
    ----------
    rows : sequence of dict
        As the database holds them, by number.
    """
    faults: list[AuditFault] = []
    doubts: list[AuditFault] = []
    number, previous, latest = 0, GENESIS_HASH, None
    by_id: dict[int, dict[str, Any]] = {}
    for row in rows:
        at = int(row["id"])
        if at != number + 1:
            gone = f"{number + 1} to {at - 1}" if at > number + 2 else f"{at - 1}"
            missing = at > number + 1
            faults.append(
                AuditFault(at, f"{gone} missing before it" if missing else "number too low")
            )
        if row["previous"] != previous:
            faults.append(AuditFault(at, "does not follow on the event before it"))
        if row["hash"] != compute_event_hash(row):
            faults.append(
                AuditFault(at, f"was changed after it was recorded ({_describe_event(row)})")
            )
        faults += [AuditFault(at, text) for text in _check_event(row, by_id)]
        moment = _parse_time(row["time"])
        if moment is None:
            faults.append(AuditFault(at, f"'{row['time']}' is no time"))
        elif latest is not None and moment < latest - CLOCK_TOLERANCE_SECONDS:
            back = latest - moment
            doubts.append(AuditFault(at, f"the clock stood {back:.0f} s before the event before"))
        latest = moment if moment is not None else latest
        number, previous = at, row["hash"]
        by_id[at] = row
    return faults, doubts


def _check_event(row: dict[str, Any], before: dict[int, dict[str, Any]]) -> list[str]:
    """Return what a store of this program would never have recorded."""
    faults = []
    if row["stage"] not in list(Stage):
        faults.append(f"stage '{row['stage']}' is unknown")
    if row["decision"] not in SAID:
        faults.append(f"decision '{row['decision']}' is unknown")
    for name in ("withdraws", "restores"):
        if row[name] is not None:
            other = before.get(int(row[name]))
            if other is None or (other["reader"], other["sample"]) != (
                row["reader"],
                row["sample"],
            ):
                faults.append(f"{name} {row[name]}, which is no earlier event of that reader")
    return faults


def _count_since(rows: Sequence[dict[str, Any]], expect: str) -> int | None:
    if not expect:
        return None
    if GENESIS_HASH.startswith(expect):
        return len(rows)
    for back, row in enumerate(reversed(rows)):
        if str(row["hash"]).startswith(expect):
            return back
    return None


def _describe_event(row: dict[str, Any]) -> str:
    return f"{row['sample']}, {row['decision']}, {row['reader']}, {row['time']}"


def _parse_time(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
