"""The database under the store: tables, triggers, locks, and what to do when it fails."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import (
    DDL,
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    inspect,
    text,
)
from sqlalchemy import event as events
from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError

from napari_memscan.errors import BadInput, JobFailed
from napari_memscan.review.address import StoreAddress

PATIENCE = 5
"""Seconds to wait for a server to answer, and for another writer to end."""
_ADVISORY_LOCK = 0x6D656D7363616E
"""Number of PostgreSQL's advisory lock: 'memscan' in hexadecimal."""

METADATA = MetaData()
EVENTS_TABLE = Table(
    "memscan_events",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("sample", Text, nullable=False),
    Column("decision", Text, nullable=False),
    Column("reader", Text, nullable=False),
    Column("time", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("withdraws", Integer, nullable=True),
    Column("confidence", Integer, nullable=True),
    Column("seconds", Float(53), nullable=True),
    Column("stage", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("restores", Integer, nullable=True),
    # Two events cannot name the same one before them: the chain cannot fork, whoever writes.
    Column("previous", String(64), nullable=False, unique=True),
    Column("hash", String(64), nullable=False, unique=True),
)
CLAIMS_TABLE = Table(
    "memscan_claims",
    METADATA,
    Column("sample", Text, primary_key=True),
    Column("reader", Text, primary_key=True),
    Column("until", Float(53), nullable=False),
)
ABOUT_TABLE = Table(
    "memscan_about",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

# Append-only is kept by the database itself, not by good manners of its users.
_SQLITE_TRIGGERS = tuple(
    f"CREATE TRIGGER IF NOT EXISTS {EVENTS_TABLE.name}_no_{verb.lower()} BEFORE {verb} ON"
    f" {EVENTS_TABLE.name} BEGIN SELECT RAISE(ABORT, 'decisions are append-only'); END"
    for verb in ("UPDATE", "DELETE")
)
_POSTGRESQL_TRIGGERS = (
    (
        f"CREATE OR REPLACE FUNCTION {EVENTS_TABLE.name}_kept() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'decisions are append-only'; END $$"
    ),
    (
        f"CREATE OR REPLACE TRIGGER {EVENTS_TABLE.name}_no_update BEFORE UPDATE OR DELETE ON"
        f" {EVENTS_TABLE.name} FOR EACH ROW EXECUTE FUNCTION {EVENTS_TABLE.name}_kept()"
    ),
    (
        f"CREATE OR REPLACE TRIGGER {EVENTS_TABLE.name}_no_delete BEFORE TRUNCATE ON"
        f" {EVENTS_TABLE.name} FOR EACH STATEMENT EXECUTE FUNCTION {EVENTS_TABLE.name}_kept()"
    ),
)
APPEND_ONLY_TRIGGERS = {f"{EVENTS_TABLE.name}_no_update", f"{EVENTS_TABLE.name}_no_delete"}


class Database:
    """An open database: SQLite in a file, or PostgreSQL.

    Parameters
    ----------
    address : StoreAddress
        Where.
    read_only : bool
        Nothing is made or changed: for an audit, or a copy kept as evidence.
    """

    def __init__(self, address: StoreAddress, read_only: bool = False) -> None:
        self.address, self.read_only = address, read_only
        self.engine = _make_engine(address, read_only)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection in whose block everything is of one moment."""
        engine = self.engine
        if self.address.shared:
            engine = engine.execution_options(isolation_level="REPEATABLE READ")
        with self._explained(), engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a connection that no other writer comes between; whole or not at all."""
        engine = self.engine.execution_options(memscan_writing=True)
        with self._explained(), engine.begin() as connection:
            if self.address.shared:
                # A lock of its own: readers may then be granted SELECT and INSERT and no more.
                connection.execute(text(f"SET LOCAL lock_timeout = '{PATIENCE}s'"))
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
            yield connection

    def prepare(self, connection: Connection) -> None:
        """Make what is missing; two programs may come first at the same time."""
        there = set(inspect(connection).get_table_names())
        for table in METADATA.sorted_tables:
            if table.name not in there:
                table.create(connection)
        if self.triggers(connection) >= APPEND_ONLY_TRIGGERS:
            return
        for statement in _POSTGRESQL_TRIGGERS if self.address.shared else _SQLITE_TRIGGERS:
            connection.execute(DDL(statement))  # type: ignore[no-untyped-call]

    def tables(self, connection: Connection) -> set[str]:
        """Return the names of the tables that are there."""
        return set(inspect(connection).get_table_names())

    def triggers(self, connection: Connection) -> set[str]:
        """Return the names of the triggers that keep the events as they are."""
        query = (
            "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D' "
            f"AND tgrelid = to_regclass('{EVENTS_TABLE.name}')"
            if self.address.shared
            else f"SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = "
            f"'{EVENTS_TABLE.name}'"
        )
        return set(connection.execute(text(query)).scalars())

    def close(self) -> None:
        """Give the file or the server free."""
        self.engine.dispose()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the database says into what a reader can do."""
        try:
            yield
        except DatabaseError as error:
            raise self._told(error) from error
        except InterfaceError as error:
            raise self._told(error) from error

    def _told(self, error: DatabaseError | InterfaceError) -> BadInput | JobFailed:
        shown, said = self.address.shown, self.address.clean(str(error.orig)).strip()
        if self.address.shared:
            state = getattr(error.orig, "sqlstate", None)
            if state == "42501":
                return JobFailed(
                    f"{shown}: you may not do this ({said}). Ask who runs the server for the "
                    f"rights to SELECT and INSERT on {EVENTS_TABLE.name}, and on the "
                    "other tables that begin with memscan_ also UPDATE and DELETE. Nothing was "
                    "recorded."
                )
            if state == "53100":
                said = f"the disk is full: {said}"
            return JobFailed(
                f"{shown}: the store of decisions cannot be used now ({said}). Nothing was "
                "recorded. Check that the server runs and can be reached from here, and user name "
                "and password; then decide again."
            )
        if isinstance(error, OperationalError | InterfaceError):
            return JobFailed(
                f"{shown}: the store of decisions cannot be used now ({said}). Nothing was "
                "recorded. Check that the folder can be written, the disk is not full and no other "
                "program holds the file; then decide again."
            )
        return BadInput(
            f"{shown}: not a store of decisions, or damaged ({said}). Restore it from a backup, "
            "or move it away to start a new one."
        )


def _make_engine(address: StoreAddress, read_only: bool) -> Engine:
    if address.shared:
        options = {"connect_timeout": PATIENCE, "tcp_user_timeout": 2000 * PATIENCE}
        given = {k: v for k, v in options.items() if k not in address.url.query}
        try:
            # A connection that died while nobody decided is replaced before it is used.
            return create_engine(address.url, connect_args=given, pool_pre_ping=True)
        except ImportError as error:
            raise JobFailed(
                f"{address.shown}: PostgreSQL needs a driver ({error}). Install it with: "
                "pip install 'napari-memscan[postgresql]'"
            ) from error
    if read_only:
        path = Path(str(address.url.database))
        if not path.is_file():
            raise BadInput(f"{path}: no store of decisions there. Nobody has decided yet.")
        uri = f"file:{quote(str(path.resolve()))}?mode=ro"
        if not os.access(path.parent, os.W_OK) and not Path(f"{path}-wal").exists():
            uri += "&immutable=1"  # Else SQLite wants to make files beside it.

        def connect() -> sqlite3.Connection:
            return sqlite3.connect(uri, uri=True, timeout=PATIENCE)

        engine = create_engine("sqlite://", creator=connect)
    else:
        engine = create_engine(address.url)
        events.listen(engine, "connect", _set_durability)
    events.listen(engine, "connect", _disable_implicit_begin)
    events.listen(engine, "begin", _begin_transaction)
    return engine


def _set_durability(connection: sqlite3.Connection, _: Any) -> None:
    cursor = connection.cursor()
    # Readers are never blocked by a writer, and a commit has reached the disk when it returns.
    cursor.execute("PRAGMA busy_timeout=3000")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _disable_implicit_begin(connection: sqlite3.Connection, _: Any) -> None:
    # Python's driver would begin a transaction only at the first INSERT, after the look at the end
    # of the chain.
    connection.isolation_level = None


def _begin_transaction(connection: Connection) -> None:
    writing = connection.get_execution_options().get("memscan_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
