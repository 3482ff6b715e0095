"""Decisions on disk the moment they are made; appended, chained by hashes, never changed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from napari_memscan.errors import BadInput
from napari_memscan.review.address import parse_store_address
from napari_memscan.review.current_decisions import CurrentDecisions
from napari_memscan.review.database import ABOUT_TABLE, EVENTS_TABLE, Database
from napari_memscan.review.events import (
    GENESIS_HASH,
    EventKind,
    ReadingEvent,
    check_decision,
    compute_event_hash,
    get_program_version,
    make_storable,
    serialise_evidence,
)
from napari_memscan.typing import Stage


class DecisionStore:
    """An append-only store of decisions: SQLite in a file, or a PostgreSQL database by URL.

    Every event names the hash of the one before, and is hashed itself: `audit.audit_store` finds
    what was changed.

    Parameters
    ----------
    where : path or str
        A file (made if missing), or a URL; see `address.parse_store_address`.
    study : str
        Name of the study. A server's database then refuses another study: names of samples would
        mean two volumes.
    read_only : bool
        For an audit: nothing is made.

    Attributes
    ----------
    where : str
        For people; never shows a password.

    Raises
    ------
    BadInput
        The file is no such store, or no such URL.
    JobFailed
        It cannot be opened or written.
    """

    def __init__(self, where: str | Path, study: str = "", read_only: bool = False) -> None:
        address = parse_store_address(where)
        self.where = address.shown
        self.database = Database(address, read_only)
        self._engine = self.database.engine
        if read_only:
            with self.database.reading() as connection:
                self._check_tables(connection)
            return
        with self.database.writing() as connection:
            self.database.prepare(connection)
            if address.shared and study:
                self._check_owner(connection, study)

    def _check_tables(self, connection: Connection) -> None:
        if EVENTS_TABLE.name not in self.database.tables(connection):
            raise BadInput(f"{self.where}: no store of decisions.")

    def _check_owner(self, connection: Connection, study: str) -> None:
        owner = connection.execute(
            select(ABOUT_TABLE.c.value).where(ABOUT_TABLE.c.name == "study")
        ).scalar()
        if owner is None:
            connection.execute(
                ABOUT_TABLE.insert().values(name="study", value=make_storable(study))
            )
        elif owner != make_storable(study):
            raise BadInput(
                f"{self.where}: holds the decisions of study '{owner}', this one is '{study}'. "
                "Each study needs a database of its own. If it was renamed, write its old name "
                "into study.toml again."
            )

    def close(self) -> None:
        """Give the file free; everything recorded is on disk already."""
        self.database.close()

    def record(
        self,
        sample: str,
        decision: str,
        reader: str,
        note: str = "",
        evidence: Mapping[str, Any] | None = None,
        *,
        confidence: int | None = None,
        seconds: float | None = None,
        stage: str = Stage.OPEN,
    ) -> ReadingEvent:
        """Append a decision; it is on disk when this returns.

        Parameters
        ----------
        sample, decision, reader, note, evidence, confidence, seconds, stage
            As in `ReadingEvent`.

        Raises
        ------
        BadInput
            The decision is no `Decision` (no `ForcedChoice` in a forced choice), the reader has
            no name, or another value does not fit.
        JobFailed
            It could not be written: nothing is recorded.
        """
        check_decision(decision, reader, stage, confidence, seconds)
        return self._append(
            sample=sample,
            decision=decision,
            reader=reader,
            note=note,
            evidence=serialise_evidence(evidence or {}),
            confidence=confidence,
            seconds=None if seconds is None else round(float(seconds), 3),
            stage=stage,
        )

    def undo(self, reader: str, stage: str = Stage.OPEN) -> ReadingEvent | None:
        """Take back the reader's latest decision that still stands; once more goes further back.

        Parameters
        ----------
        reader : str
            Who.
        stage : str
            Only decisions of this stage: an undo in the queue takes back no answer to a test.

        Returns
        -------
        ReadingEvent or None
            The withdrawal, or None when there is nothing to take back.
        """
        with self.database.writing() as connection:
            last = CurrentDecisions(self._read(connection)).find_undoable(reader, stage)
            if last is None:
                return None
            return self._add(
                connection,
                sample=last.sample,
                decision=EventKind.WITHDRAWN,
                reader=last.reader,
                stage=stage,
                withdraws=last.id,
            )

    def redo(self, reader: str, stage: str = Stage.OPEN) -> ReadingEvent | None:
        """Make the decision again that the reader undid last; nothing after a new decision.

        Returns
        -------
        ReadingEvent or None
            The decision, a new event with all that the undone one held; None when there is none.
        """
        with self.database.writing() as connection:
            undone = CurrentDecisions(self._read(connection)).find_redoable(reader, stage)
            if undone is None:
                return None
            return self._add(
                connection,
                sample=undone.sample,
                decision=undone.decision,
                reader=undone.reader,
                note=undone.note,
                evidence=serialise_evidence(undone.evidence),
                confidence=undone.confidence,
                seconds=undone.seconds,
                stage=stage,
                restores=undone.id,
            )

    def record_reveal(
        self, sample: str, reader: str, evidence: Mapping[str, Any] | None = None
    ) -> ReadingEvent:
        """Record that from now on the reader knows what a case of a blind study is."""
        return self._append(
            sample=sample,
            decision=EventKind.REVEALED,
            reader=reader,
            evidence=serialise_evidence(evidence or {}),
            stage=Stage.REVEALED,
        )

    def current(
        self, reader: str | None = None, stage: str | None = None
    ) -> dict[str, ReadingEvent]:
        """Return the latest standing decision of each sample; see `Standing.current`."""
        return self.standing().current(reader, stage)

    def by_reader(self, stage: str | None = None) -> dict[str, dict[str, ReadingEvent]]:
        """Return reader to sample to standing decision; see `Standing.by_reader`."""
        return self.standing().by_reader(stage)

    def standing(self) -> CurrentDecisions:
        """Return all events, read once, and what stands after them."""
        return CurrentDecisions(self.history())

    def history(self, sample: str | None = None, after: int = 0) -> list[ReadingEvent]:
        """Return every event, or those of one sample, oldest first; only those above `after`."""
        with self.database.reading() as connection:
            return self._read(connection, sample, after)

    def head(self) -> tuple[int, str]:
        """Return number and hash of the last event: to be noted elsewhere, as proof."""
        with self.database.reading() as connection:
            return self._head(connection)

    def _read(
        self, connection: Connection, sample: str | None = None, after: int = 0
    ) -> list[ReadingEvent]:
        query = select(EVENTS_TABLE).where(EVENTS_TABLE.c.id > after).order_by(EVENTS_TABLE.c.id)
        if sample is not None:
            query = query.where(EVENTS_TABLE.c.sample == sample)
        return [
            ReadingEvent.of(dict(row), self.where) for row in connection.execute(query).mappings()
        ]

    def _head(self, connection: Connection) -> tuple[int, str]:
        query = (
            select(EVENTS_TABLE.c.id, EVENTS_TABLE.c.hash)
            .order_by(EVENTS_TABLE.c.id.desc())
            .limit(1)
        )
        last = connection.execute(query).first()
        return (0, GENESIS_HASH) if last is None else (int(last[0]), str(last[1]))

    def _append(self, **values: Any) -> ReadingEvent:
        with self.database.writing() as connection:
            return self._add(connection, **values)

    def _add(self, connection: Connection, **values: Any) -> ReadingEvent:
        row: dict[str, Any] = {
            "note": "",
            "evidence": "{}",
            "confidence": None,
            "seconds": None,
            "withdraws": None,
            "restores": None,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "version": get_program_version(),
        } | values
        for name in ("sample", "decision", "reader", "note", "stage"):
            row[name] = make_storable(row[name])
        row["reader"] = row["reader"].strip()
        return self._chain(connection, row)

    def _chain(self, connection: Connection, row: dict[str, Any]) -> ReadingEvent:
        """Append a row at the end of the chain; the caller holds the lock."""
        last, previous = self._head(connection)
        # Numbers are given here and not by the database, whose own have gaps after a failure.
        row = row | {"id": last + 1, "previous": previous}
        row["hash"] = compute_event_hash(row | {"hash": ""})
        connection.execute(EVENTS_TABLE.insert().values(row))
        return ReadingEvent.of(row)
