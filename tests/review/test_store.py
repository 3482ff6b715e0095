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
from napari_memscan.review.audit import audit_store
from napari_memscan.review.events import EventKind
from napari_memscan.review.store import DecisionStore


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
    assert (undone.sample, undone.decision) == ("s0", EventKind.WITHDRAWN)
    assert store.current()["s0"].decision == "copy"
    store.undo("Ann")
    assert "s0" not in store.current()
    assert store.undo("Ann") is None
    assert store.current()["s1"].reader == "Ben"
    assert len(store.history()) == 5


def test_redo_makes_again_what_was_undone_until_a_new_decision(any_store):
    store = any_store
    for sample, decision in (("s0", "copy"), ("s1", "unsure"), ("s2", "copy")):
        store.record(sample, decision, "Ann", "a note", {"k": 3}, confidence=2, seconds=4.5)
    assert store.redo("Ann") is None
    store.undo("Ann")
    store.undo("Ann")
    assert store.redo("Ben") is None
    store.record("s9", "copy", "Ben")  # Another reader's decision is no new one of hers.
    again = store.redo("Ann")
    assert (again.sample, again.decision, again.restores) == ("s1", "unsure", 2)
    assert (again.note, again.evidence, again.confidence) == ("a note", {"k": 3}, 2)
    assert store.redo("Ann").sample == "s2"
    assert store.redo("Ann") is None
    assert store.undo("Ann").sample == "s2"
    assert store.undo("Ann").sample == "s1"
    assert store.redo("Ann").sample == "s1"
    store.undo("Ann")
    store.record("s5", "copy", "Ann")
    assert store.redo("Ann") is None
    assert store.current("Ann").keys() == {"s0", "s5"}


def test_readers_stand_side_by_side_and_blind_answers_clear_nothing(any_store):
    store = any_store
    store.record("s0", "copy", "Ann", confidence=5, seconds=1.2345)
    store.record("s0", "not a copy", "Ben")
    store.record("s1", "unsure", "Ann", stage="blind")
    store.record("s1", "real", "Ann", stage="forced-choice")
    assert store.current()["s0"].reader == "Ben"
    assert store.current("Ann")["s0"].decision == "copy"
    assert store.current().keys() == {"s0"}
    assert store.current(stage="blind").keys() == {"s1"}
    assert {r: list(of) for r, of in store.by_reader().items()} == {"Ann": ["s0"], "Ben": ["s0"]}
    first = store.history()[0]
    assert (first.confidence, first.seconds, first.stage) == (5, 1.234, "open")
    assert first.version
    # An undo in the queue takes back no answer to a test.
    assert store.undo("Ann").sample == "s0"
    assert store.undo("Ann") is None
    assert store.undo("Ann", stage="blind").sample == "s1"
    assert store.current("Ann", "blind") == {}
    assert store.current("Ann", "forced-choice")["s1"].decision == "real"


def test_what_no_database_could_keep_is_kept_or_refused(any_store):
    recorded = any_store.record(
        "s0", "copy", "Ann", "a\0b\ud800 '; DROP TABLE memscan_events;--", {"p": float("nan")}
    )
    assert any_store.history() == [recorded]
    assert recorded.note == "ab? '; DROP TABLE memscan_events;--"
    assert recorded.evidence == {"p": None}
    assert audit_store(any_store).intact
    with pytest.raises(BadInput, match="JSON"):
        any_store.record("s0", "copy", "Ann", evidence={"a": object()})
    with pytest.raises(BadInput, match="from 1 to 5"):
        any_store.record("s0", "copy", "Ann", confidence=6)
    with pytest.raises(BadInput, match="seconds"):
        any_store.record("s0", "copy", "Ann", seconds=-1)
    with pytest.raises(BadInput, match="one of real, synthetic"):
        any_store.record("s0", "copy", "Ann", stage="forced-choice")
    with pytest.raises(BadInput, match="stage"):
        any_store.record("s0", "copy", "Ann", stage="asleep")


def test_two_windows_see_each_others_decisions(store, tmp_path):
    other = DecisionStore(tmp_path / "review.sqlite")
    store.record("s0", "copy", "Ann")
    other.record("s1", "copy", "Ben")
    assert store.current().keys() == other.current().keys() == {"s0", "s1"}
    other.close()


@pytest.mark.parametrize(
    "statement", ["UPDATE memscan_events SET decision='unsure'", "DELETE FROM memscan_events"]
)
def test_the_database_refuses_changes(store, tmp_path, statement):
    store.record("s0", "copy", "Ann")
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'review.sqlite'}")
    with pytest.raises(sa.exc.IntegrityError, match="append-only"), engine.begin() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()
    assert store.current()["s0"].decision == "copy"


RECORDING = """
    import itertools, sys
    from napari_memscan.review.store import DecisionStore
    store = DecisionStore(sys.argv[1])
    for i in itertools.count():
        print(store.record(f"s{i}", "copy", "Ann", "x" * 200).id, flush=True)
"""


@pytest.mark.parametrize("after", [1, 7, 40])
def test_a_kill_in_the_midst_of_recording_loses_nothing(where, after):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(RECORDING), where], stdout=subprocess.PIPE, text=True
    )
    seen = [int(process.stdout.readline()) for _ in range(after)]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    seen += [int(line) for line in process.stdout.read().split()]
    process.stdout.close()
    again = DecisionStore(where)
    there = [d.id for d in again.history()]
    # What was said to be recorded is there; at most the one that was under way comes on top.
    assert there in (seen, [*seen, len(seen) + 1])
    assert audit_store(again).intact
    again.record("after", "unsure", "Ann")
    assert audit_store(again).intact
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


@pytest.mark.slow
def test_a_locked_store_is_a_message_and_nothing_is_recorded(store, tmp_path):
    other = sqlite3.connect(tmp_path / "review.sqlite")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(JobFailed, match="decide again"):
        store.record("s0", "copy", "Ann")
    other.rollback()
    other.close()
    assert store.current() == {}
    store.record("s0", "copy", "Ann")


@pytest.mark.slow
def test_two_programs_that_write_at_once_lose_nothing_and_never_fork_the_chain(where):
    code = """
        import sys, time
        from napari_memscan.review.store import DecisionStore
        while time.time() < float(sys.argv[3]):
            pass
        store = DecisionStore(sys.argv[1])
        for i in range(15):
            store.record(f"{sys.argv[2]}{i}", "copy", sys.argv[2])
    """
    start = str(time.time() + 3)
    programs = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), where, name, start])
        for name in ("a", "b")
    ]
    assert [p.wait(timeout=120) for p in programs] == [0, 0]
    store = DecisionStore(where)
    assert store.current().keys() == {f"{name}{i}" for name in "ab" for i in range(15)}
    assert [d.id for d in store.history()] == list(range(1, 31))
    found = audit_store(store)
    assert found.intact
    assert found.n_readers == 2
    store.close()


def test_a_store_killed_while_it_was_made_is_made_whole(tmp_path):
    path = tmp_path / "review.sqlite"
    DecisionStore(path).close()
    with sqlite3.connect(path) as half:
        half.execute("DROP TRIGGER memscan_events_no_update")
        half.execute("DROP TRIGGER memscan_events_no_delete")
    store = DecisionStore(path)
    store.record("s0", "copy", "Ann")
    with sqlite3.connect(path) as other, pytest.raises(sqlite3.IntegrityError, match="append"):
        other.execute("DELETE FROM memscan_events")
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


FULL = """
    import resource, sys
    from napari_memscan.errors import JobFailed
    from napari_memscan.review.store import DecisionStore
    store = DecisionStore(sys.argv[1])
    for i in range(5):
        store.record(f"s{i}", "copy", "Ann")
    resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, resource.RLIM_INFINITY))
    failed, kept = 0, 5
    for i in range(5, 60):
        try:
            store.record(f"s{i}", "copy", "Ann", "x" * 20_000)
            kept += 1
        except JobFailed as error:
            failed += 1
            assert "disk is not full" in str(error), error
    assert failed, "never full"
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    store.record("after", "copy", "Ann")
    print(kept + 1)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX does")
def test_a_full_disk_is_a_message_and_the_store_stays_usable(tmp_path):
    path = tmp_path / "review.sqlite"
    code = [sys.executable, "-c", textwrap.dedent(FULL), str(path)]
    done = subprocess.run(code, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    store = DecisionStore(path)
    assert len(store.history()) == int(done.stdout)
    assert audit_store(store).intact
    store.close()
