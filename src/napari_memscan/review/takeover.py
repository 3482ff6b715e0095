"""Decisions of earlier versions, without hashes, as they go into the chain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, select, text

from napari_memscan.review.database import EVENTS_TABLE, LEGACY_TABLE
from napari_memscan.typing import Stage

OLD_COLUMNS = ("sample", "decision", "reader", "time", "note", "evidence", "withdraws")


def origin(old_id: int) -> str:
    """Return what a taken-over event says of where it was recorded first."""
    return f"{LEGACY_TABLE}:{old_id}"


def take_over(connection: Connection, tables: set[str]) -> Iterator[dict[str, Any]]:
    """Yield the old rows that are not in the chain yet, oldest first, without number and hashes.

    The old table stays as it is. An earlier version that writes to it again loses nothing: what
    is new there is taken over next time. Each row must be stored before the next is asked for.

    Parameters
    ----------
    connection : Connection
        Of a transaction that writes.
    tables : set of str
        Tables that are there.
    """
    if LEGACY_TABLE not in tables:
        return
    query = select(EVENTS_TABLE.c.origin, EVENTS_TABLE.c.id).where(EVENTS_TABLE.c.origin != "")
    taken = {row[0]: row[1] for row in connection.execute(query)}
    for old_id, values in old_rows(connection).items():
        if origin(old_id) in taken:
            continue
        withdraws = values["withdraws"]
        yield values | {
            "withdraws": None if withdraws is None else taken.get(origin(withdraws)),
            "confidence": None,
            "seconds": None,
            "stage": Stage.OPEN,
            "version": "",
            "restores": None,
            "origin": origin(old_id),
        }
        last = select(EVENTS_TABLE.c.id).where(EVENTS_TABLE.c.origin == origin(old_id))
        taken[origin(old_id)] = connection.execute(last).scalar_one()


def old_rows(connection: Connection) -> dict[int, dict[str, Any]]:
    """Return the rows of earlier versions, by their number."""
    query = text(f"SELECT id, {', '.join(OLD_COLUMNS)} FROM {LEGACY_TABLE} ORDER BY id")
    return {
        int(row["id"]): {name: row[name] for name in OLD_COLUMNS}
        for row in connection.execute(query).mappings()
    }
