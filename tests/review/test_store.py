"""A decision is on disk the moment it is made, can be taken back, and is never changed."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time

import pytest
import sqlalchemy as sa

from napari_memscan.errors import BadInput, JobFailed
from napari_memscan.review.store import WITHDRAWN, DecisionStore


@pytest.fixture
def store(tmp_path):
    store = DecisionStore(tmp_path / "review.sqlite")
    yield store
    store.close()


def test_the_latest_decision_stands_and_all_are_kept(store):
    first = store.record("s0", "copy", "Ann", evidence={"similarity": 0.97, "tau": 0.9})
    store.record("s1", "unsure", "Ann", note="motion")
    store.record("s0", "not a copy", "Ben")
    assert {k: v.decision for k, v in store.current().items()} == {
        "s0": "not a copy",
        "s1": "unsure",
    }
    assert [d.decision for d in store.history("s0")] == ["copy", "not a copy"]
    assert store.history()[0] == first
    assert first.evidence == {"similarity": 0.97, "tau": 0.9}
    assert first.time.endswith("+00:00")


def test_undo_goes_back_one_decision_of_this_reader_at_a_time(store):
    store.record("s0", "copy", "Ann")
    store.record("s0", "unsure", "Ann")
    store.record("s1", "copy", "Ben")
    undone = store.undo("Ann")
    assert (undone.sample, undone.decision) == ("s0", WITHDRAWN)
    assert store.current()["s0"].decision == "copy"
    store.undo("Ann")
    assert "s0" not in store.current()
    assert store.undo("Ann") is None
    assert store.current()["s1"].reader == "Ben"
    assert len(store.history()) == 5


def test_two_windows_see_each_others_decisions(store, tmp_path):
    other = DecisionStore(tmp_path / "review.sqlite")
    store.record("s0", "copy", "Ann")
    other.record("s1", "copy", "Ben")
    assert store.current().keys() == other.current().keys() == {"s0", "s1"}
    other.close()


@pytest.mark.parametrize("statement", ["UPDATE decisions SET decision='unsure'",
                                       "DELETE FROM decisions"])  # fmt: skip
def test_the_database_refuses_changes(store, tmp_path, statement):
    store.record("s0", "copy", "Ann")
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'review.sqlite'}")
    with pytest.raises(sa.exc.IntegrityError, match="append-only"), engine.begin() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()
    assert store.current()["s0"].decision == "copy"


def test_decisions_survive_kill_9(tmp_path):
    code = """
        import sys, time
        from napari_memscan.review.store import DecisionStore
        store = DecisionStore(sys.argv[1])
        for i in range(3):
            store.record(f"s{i}", "copy", "Ann")
        print("recorded", flush=True)
        time.sleep(60)
    """
    path = tmp_path / "review.sqlite"
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "recorded\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    again = DecisionStore(path)
    assert again.current().keys() == {"s0", "s1", "s2"}
    again.record("s3", "unsure", "Ann")
    again.close()


def test_bad_decisions_and_stores_are_messages(store, tmp_path):
    with pytest.raises(BadInput, match="one of copy, not a copy, unsure"):
        store.record("s0", "maybe", "Ann")
    with pytest.raises(BadInput, match="reader's name"):
        store.record("s0", "copy", "  ")
    (tmp_path / "text.sqlite").write_text("no database " * 50)
    with pytest.raises(BadInput, match="Restore it from a backup"):
        DecisionStore(tmp_path / "text.sqlite")
    with pytest.raises(JobFailed, match="cannot be used now"):
        DecisionStore(tmp_path / "missing" / "review.sqlite")


def test_a_locked_store_is_a_message_and_nothing_is_recorded(store, tmp_path):
    other = sqlite3.connect(tmp_path / "review.sqlite")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(JobFailed, match="decide again"):
        store.record("s0", "copy", "Ann")
    other.rollback()
    other.close()
    assert store.current() == {}
    store.record("s0", "copy", "Ann")


def test_two_programs_that_start_at_once_lose_nothing(tmp_path):
    code = """
        import sys, time
        from napari_memscan.review.store import DecisionStore
        while time.time() < float(sys.argv[3]):
            pass
        store = DecisionStore(sys.argv[1])
        for i in range(15):
            store.record(f"{sys.argv[2]}{i}", "copy", sys.argv[2])
    """
    path, start = tmp_path / "review.sqlite", str(time.time() + 4)
    programs = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(path), name, start])
        for name in ("a", "b")
    ]
    assert [p.wait(timeout=120) for p in programs] == [0, 0]
    store = DecisionStore(path)
    assert store.current().keys() == {f"{name}{i}" for name in "ab" for i in range(15)}
    assert [d.id for d in store.history()] == list(range(1, 31))
    store.close()


def test_a_store_killed_while_it_was_made_is_made_whole(tmp_path):
    path = tmp_path / "review.sqlite"
    DecisionStore(path).close()
    with sqlite3.connect(path) as half:
        half.execute("DROP TRIGGER decisions_no_update")
        half.execute("DROP TRIGGER decisions_no_delete")
    store = DecisionStore(path)
    store.record("s0", "copy", "Ann")
    with sqlite3.connect(path) as other, pytest.raises(sqlite3.IntegrityError, match="append"):
        other.execute("DELETE FROM decisions")
    store.close()


def test_a_folder_may_be_called_anything(tmp_path):
    folder = tmp_path / "Why? 100% & {all}"
    folder.mkdir()
    store = DecisionStore(folder / "review.sqlite")
    store.record("s0", "copy", "Ann")
    store.close()
    assert (folder / "review.sqlite").stat().st_size > 0


def test_commits_wait_for_the_disk(store):
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_a_damaged_database_is_a_message(tmp_path):
    path = tmp_path / "review.sqlite"
    store = DecisionStore(path)
    for i in range(200):
        store.record(f"s{i}", "copy", "Ann", note="x" * 100)
    store.close()
    content = bytearray(path.read_bytes())
    assert len(content) > 5 * 4096
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(BadInput, match="damaged"):
        DecisionStore(path).history()
