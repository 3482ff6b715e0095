"""Decisions on disk the moment they are made; appended, never changed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    DDL,
    URL,
    Column,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    select,
)
from sqlalchemy import event as events
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.schema import CreateIndex, CreateTable

from napari_memscan.errors import BadInput, JobFailed

DECISIONS = ("copy", "not a copy", "unsure")
"""What a reader can say of a sample."""
WITHDRAWN = "withdrawn"
"""An event that takes back the reader's latest decision."""

_METADATA = MetaData()
_EVENTS = Table(
    "decisions",
    _METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("sample", String(64), nullable=False, index=True),
    Column("decision", String(16), nullable=False),
    Column("reader", String(128), nullable=False),
    Column("time", String(40), nullable=False),
    Column("note", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("withdraws", Integer, nullable=True),
)
# Append-only is kept by the database itself, not by good manners of its users.
_TRIGGERS = tuple(
    f"CREATE TRIGGER IF NOT EXISTS decisions_no_{verb.lower()} BEFORE {verb} ON decisions "
    "BEGIN SELECT RAISE(ABORT, 'decisions are append-only'); END"
    for verb in ("UPDATE", "DELETE")
)


@dataclass(frozen=True)
class Decision:
    """What a person said of a sample, or took back.

    Attributes
    ----------
    id : int
        Ascending in the order of recording.
    sample : str
        Such as ``s000003``.
    decision : str
        One of `DECISIONS`, or `WITHDRAWN`.
    reader : str
        Who.
    time : str
        UTC, ISO 8601.
    note : str
        Free text.
    evidence : dict
        What was on screen: similarity, neighbour, threshold, hashes.
    withdraws : int or None
        For a withdrawal: the id of what it takes back.
    """

    id: int
    sample: str
    decision: str
    reader: str
    time: str
    note: str
    evidence: dict[str, Any]
    withdraws: int | None = None


class DecisionStore:
    """An append-only store of decisions: SQLite in a file, or any database by URL.

    Parameters
    ----------
    where : path or str
        A file (made if missing), or an SQLAlchemy URL.

    Raises
    ------
    BadInput
        The file is no such store.
    JobFailed
        It cannot be opened or written.
    """

    def __init__(self, where: str | Path) -> None:
        text = str(where)
        self.where = text
        # Not put together as text: a folder's name may hold '?' or '%'.
        url = text if "://" in text else URL.create("sqlite", database=text)
        self._engine: Engine = create_engine(url)
        if self._engine.dialect.name == "sqlite":
            events.listen(self._engine, "connect", _durable)
        with _Explained(text):
            self._prepare()

    def _prepare(self) -> None:
        # Each statement says "if not exists": two programs may come first at the same time, and
        # one that was killed half way leaves the rest to the next.
        with self._engine.begin() as connection:
            connection.execute(CreateTable(_EVENTS, if_not_exists=True))
            for index in sorted(_EVENTS.indexes, key=lambda i: str(i.name)):
                connection.execute(CreateIndex(index, if_not_exists=True))
            if self._engine.dialect.name == "sqlite":
                for trigger in _TRIGGERS:
                    connection.execute(DDL(trigger))  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Give the file free; everything recorded is on disk already."""
        self._engine.dispose()

    def record(
        self,
        sample: str,
        decision: str,
        reader: str,
        note: str = "",
        evidence: Mapping[str, Any] | None = None,
    ) -> Decision:
        """Append a decision; it is on disk when this returns.

        Raises
        ------
        BadInput
            `decision` is none of `DECISIONS`, or the reader has no name.
        JobFailed
            It could not be written: nothing is recorded.
        """
        if decision not in DECISIONS:
            raise BadInput(f"decision '{decision}': one of {', '.join(DECISIONS)} is expected.")
        if not reader.strip():
            raise BadInput("a decision needs the reader's name.")
        return self._append(sample, decision, reader.strip(), note, dict(evidence or {}), None)

    def undo(self, reader: str) -> Decision | None:
        """Take back the reader's latest decision that still stands; once more goes further back.

        Returns
        -------
        Decision or None
            The withdrawal, or None when there is nothing to take back.
        """
        standing = self._standing()
        own = [d for d in standing.values() if d.reader == reader.strip()]
        if not own:
            return None
        last = max(own, key=lambda d: d.id)
        return self._append(last.sample, WITHDRAWN, last.reader, "", {}, last.id)

    def current(self) -> dict[str, Decision]:
        """Return the latest standing decision of each sample that has one."""
        result: dict[str, Decision] = {}
        for decision in self._standing().values():
            result[decision.sample] = decision
        return result

    def history(self, sample: str | None = None) -> list[Decision]:
        """Return every event, or those of one sample, oldest first."""
        query = select(_EVENTS).order_by(_EVENTS.c.id)
        if sample is not None:
            query = query.where(_EVENTS.c.sample == sample)
        with _Explained(self.where), self._engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
        return [Decision(**{**row, "evidence": json.loads(row["evidence"])}) for row in rows]

    def _standing(self) -> dict[int, Decision]:
        events_ = self.history()
        withdrawn = {e.withdraws for e in events_}
        return {e.id: e for e in events_ if e.decision != WITHDRAWN and e.id not in withdrawn}

    def _append(
        self,
        sample: str,
        decision: str,
        reader: str,
        note: str,
        evidence: dict[str, Any],
        withdraws: int | None,
    ) -> Decision:
        values: dict[str, Any] = {
            "sample": sample,
            "decision": decision,
            "reader": reader,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "note": note,
            "evidence": json.dumps(evidence, sort_keys=True, ensure_ascii=False),
            "withdraws": withdraws,
        }
        with _Explained(self.where), self._engine.begin() as connection:
            key = connection.execute(_EVENTS.insert().values(values)).inserted_primary_key
        assert key is not None
        return Decision(**{**values, "id": int(key[0]), "evidence": evidence})


def _durable(connection: sqlite3.Connection, _: Any) -> None:
    cursor = connection.cursor()
    # Readers are never blocked by a writer, and a commit has reached the disk when it returns.
    cursor.execute("PRAGMA busy_timeout=3000")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


class _Explained:
    """Turns what the database says into what a reader can do."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, OperationalError):
            raise JobFailed(
                f"{self.where}: the store of decisions cannot be used now ({error.orig}). Check "
                "that the folder can be written, the disk is not full and no other program holds "
                "the file; then decide again."
            ) from error
        if isinstance(error, DatabaseError):
            raise BadInput(
                f"{self.where}: not a store of decisions, or damaged ({error.orig}). Restore it "
                "from a backup, or move it away to start a new one."
            ) from error
