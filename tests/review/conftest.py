"""Stores to test with: a file, and a real PostgreSQL server."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest

from napari_memscan.review.store import DecisionStore


def _binaries() -> Path | None:
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    # Debian keeps those of the server out of the PATH.
    return max(
        (p.parent for p in Path("/usr/lib/postgresql").glob("*/bin/initdb")),
        key=lambda p: int(p.parts[-2]) if p.parts[-2].isdigit() else 0,
        default=None,
    )


def _without(reason: str) -> None:
    """Skip, or fail where this variable says that the server may not be missing unseen."""
    if os.environ.get("MEMSCAN_NEEDS_POSTGRESQL"):
        pytest.fail(f"MEMSCAN_NEEDS_POSTGRESQL is set: {reason}")
    pytest.skip(reason)


class Server:
    """A private PostgreSQL server on a socket in a folder of its own; no network, no password."""

    def __init__(self, binaries: Path, folder: Path, become: list[str]) -> None:
        self.binaries, self.folder, self.become = binaries, folder, become

    def run(self, name: str, *arguments: str) -> None:
        # The server would keep a pipe open for as long as it lives.
        log = self.folder / "commands.log"
        with log.open("a") as out:
            command = [*self.become, str(self.binaries / name), *arguments]
            done = subprocess.run(command, stdout=out, stderr=out, cwd=self.folder, timeout=60)
        assert done.returncode == 0, log.read_text()

    def start(self) -> None:
        options = f"-k {self.folder} -c listen_addresses='' -c fsync=off"
        log = str(self.folder / "server.log")
        data = str(self.folder / "data")
        self.run("pg_ctl", "-D", data, "-o", options, "-l", log, "-w", "start")

    def stop(self) -> None:
        """Stop at once, as a power cut does."""
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "stop")

    def new_schema(self) -> str:
        """Return the URL of an empty place: a schema, which is made quicker than a database."""
        import psycopg

        name = f"s{uuid4().hex[:8]}"
        with psycopg.connect(host=str(self.folder), user="postgres") as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        where = f"host={self.folder}&options=-csearch_path%3D{name}"
        return f"postgresql+psycopg://postgres@/postgres?{where}"


@pytest.fixture(scope="session")
def postgresql():
    """A running server, or a skip that says what is missing; where one must be, a failure."""
    if find_spec("psycopg") is None:
        _without("needs psycopg: pip install 'napari-memscan[postgresql]'")
    binaries = _binaries()
    if binaries is None:
        _without("needs a PostgreSQL server: apt-get install postgresql")
    become: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="memscan-pg-"))  # Paths of sockets must be short.
    if os.geteuid() == 0:
        # The server refuses to run as root.
        known = subprocess.run(["id", "postgres"], check=False, capture_output=True)
        if not shutil.which("runuser") or known.returncode:
            _without("runs as root, and there is no user 'postgres' to run the server as")
        become = ["runuser", "-u", "postgres", "--"]
        shutil.chown(folder, "postgres")
    server = Server(binaries, folder, become)
    try:
        server.run("initdb", "-D", str(folder / "data"), "-U", "postgres", "-A", "trust", "-N")
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def url(postgresql):
    """URL of a new, empty place for a store."""
    return postgresql.new_schema()


@pytest.fixture(params=["file", "postgresql"])
def where(request, tmp_path):
    """Each kind of store in turn."""
    if request.param == "file":
        return str(tmp_path / "review.sqlite")
    return request.getfixturevalue("url")


@pytest.fixture
def any_store(where):
    store = DecisionStore(where)
    yield store
    store.close()


@pytest.fixture
def tampering(any_store, where):
    """Return a function that changes the database behind the store's back, as its owner can."""
    from napari_memscan.review.address import parse_store_address
    from napari_memscan.review.database import Database

    def tamper(*statements: str) -> None:
        database = Database(parse_store_address(where))
        on = " ON memscan_events" if database.address.shared else ""
        with database.writing() as connection:
            for name in ("update", "delete"):
                connection.exec_driver_sql(f"DROP TRIGGER memscan_events_no_{name}{on}")
            for statement in statements:
                connection.exec_driver_sql(statement)
        database.close()

    return SimpleNamespace(run=tamper)
