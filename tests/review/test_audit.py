"""An audit finds every change, gap and cut, and says what it cannot know."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta

import pytest

from napari_memscan.errors import BadInput
from napari_memscan.review import store as store_module
from napari_memscan.review.audit import audit_store
from napari_memscan.review.events import GENESIS_HASH, compute_event_hash
from napari_memscan.review.store import DecisionStore


@pytest.fixture
def filled(any_store):
    any_store.record(
        "s0", "copy", "Ann", "wie Müller", {"k": 3, "score": 0.91}, confidence=4, seconds=3.25
    )
    any_store.record("s1", "not a copy", "Ben", stage="blind")
    any_store.undo("Ann")
    any_store.redo("Ann")
    any_store.record("s2", "unsure", "Ben")
    return any_store


def test_an_untouched_store_is_intact(filled, where):
    found = audit_store(filled)
    assert found.intact
    assert (found.n_events, found.n_readers, found.faults, found.doubts) == (5, 2, (), ())
    assert found.head == filled.head()[1] == filled.history()[-1].hash
    assert json.loads(found.to_json())["intact"] is True
    again = DecisionStore(where, read_only=True)
    assert audit_store(again).head == found.head
    again.close()


def test_an_empty_store_is_intact(any_store):
    found = audit_store(any_store)
    assert found.intact
    assert found.head == GENESIS_HASH


@pytest.mark.parametrize(
    ("change", "event", "said"),
    [
        ("UPDATE memscan_events SET decision = 'not a copy' WHERE id = 1", 1, "was changed"),
        ("UPDATE memscan_events SET confidence = 5 WHERE id = 1", 1, "was changed"),
        ("UPDATE memscan_events SET seconds = 3.26 WHERE id = 1", 1, "was changed"),
        ("UPDATE memscan_events SET reader = 'Eve' WHERE id = 2", 2, "was changed"),
        ("UPDATE memscan_events SET evidence = '{}' WHERE id = 1", 1, "was changed"),
        ("UPDATE memscan_events SET stage = 'open' WHERE id = 2", 2, "was changed"),
        ("UPDATE memscan_events SET withdraws = NULL WHERE id = 3", 3, "was changed"),
        ("DELETE FROM memscan_events WHERE id = 2", 3, "2 missing before it"),
        ("DELETE FROM memscan_events WHERE id IN (1, 2)", 3, "1 to 2 missing before it"),
        ("UPDATE memscan_events SET id = 9 WHERE id = 5", 9, "5 to 8 missing"),
    ],
)
def test_every_change_is_found_and_named(filled, tampering, change, event, said):
    tampering.run(change)
    found = audit_store(filled)
    assert not found.intact
    assert found.faults[0].event == event
    assert said in str(found.faults[0])
    # With the protection taken away to change it, that shows, too.
    assert "triggers are gone" in str(found.doubts)


def test_a_change_with_its_own_hash_mended_breaks_the_next_link(filled, tampering, any_store):
    row = vars(any_store.history()[0]) | {"decision": "unsure"}
    row["evidence"] = '{"k":3,"score":0.91}'
    assert compute_event_hash(row | {"decision": "copy"}) == row["hash"]
    forged = compute_event_hash(row)
    tampering.run(f"UPDATE memscan_events SET decision = 'unsure', hash = '{forged}' WHERE id = 1")
    (fault,) = audit_store(filled).faults
    assert fault.event == 2
    assert "does not follow" in fault.what


def test_a_cut_end_shows_only_against_a_noted_head(filled, tampering):
    noted = filled.head()[1]
    filled.record("s3", "copy", "Ann")
    found = audit_store(filled, noted[:12])
    assert found.intact
    assert found.since == 1
    assert "1 events since" in str(found)
    tampering.run("DELETE FROM memscan_events WHERE id > 4")
    assert audit_store(filled).intact
    assert "does not show" in str(audit_store(filled))
    cut = audit_store(filled, noted)
    assert not cut.intact
    assert "noted head is not in the chain" in str(cut)


@pytest.mark.parametrize("head", ["3f1c", "x" * 64])
def test_a_head_that_is_none_is_refused(filled, head):
    with pytest.raises(BadInput, match="hexadecimal"):
        audit_store(filled, head)


def test_a_clock_that_ran_backwards_is_a_doubt_and_no_fault(any_store, monkeypatch):
    any_store.record("s0", "copy", "Ann")

    class Early(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(UTC) - timedelta(hours=1)

    monkeypatch.setattr(store_module, "datetime", Early)
    any_store.record("s1", "copy", "Ann")
    found = audit_store(any_store)
    assert found.intact
    assert found.doubts[0].event == 2
    assert "clock stood 3600 s before" in found.doubts[0].what


def test_a_copy_on_a_medium_that_cannot_be_written_is_audited(tmp_path):
    store = DecisionStore(tmp_path / "review.sqlite")
    store.record("s0", "copy", "Ann")
    store.close()
    copy = tmp_path / "copy" / "review.sqlite"
    copy.parent.mkdir()
    shutil.copy(tmp_path / "review.sqlite", copy)
    before = copy.read_bytes()
    copied = DecisionStore(copy, read_only=True)
    assert audit_store(copied).intact
    copied.close()
    assert copy.read_bytes() == before
    with pytest.raises(BadInput, match="Nobody has decided yet"):
        DecisionStore(tmp_path / "none.sqlite", read_only=True)
