"""A reader at a queue: what is next, and who else is there."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from napari_memscan.detection.results.scan_result import Neighbour, SampleResult
from napari_memscan.errors import JobFailed
from napari_memscan.review.session import CLAIM_PAUSE_SECONDS, ReviewSession
from napari_memscan.review.store import DecisionStore
from napari_memscan.typing import Verdict

SAMPLES = [f"s{i}" for i in range(5)]
RESULT = SimpleNamespace(
    samples=[
        SampleResult(name, "t", 0.9 - 0.1 * i, Verdict.NOVEL, "", (Neighbour("t", 0.9),))
        for i, name in enumerate(SAMPLES)
    ],
    value=lambda sample: sample.similarity,
)


@pytest.fixture
def sit_down(tmp_path):
    sessions = []

    def sit(reader, **more):
        session = ReviewSession(DecisionStore(tmp_path / "r.sqlite"), **more)
        session.reader = reader
        session.refresh(RESULT, {})
        sessions.append(session)
        return session

    yield sit
    for session in sessions:
        session.close()


ORDER = SAMPLES


def test_a_reader_goes_down_the_list_and_back_to_the_top(sit_down):
    ann = sit_down("Ann")
    assert ann.find_next(ORDER) == "s0"
    assert ann.find_next(ORDER, "s3") == "s4"
    for sample in ("s4", "s0"):
        ann.decide(sample, "copy", confidence=5, seconds=30.0)
    ann.refresh(RESULT, {})
    assert ann.find_next(ORDER, "s4") == "s1"
    assert str(ann.left) == "2 of 5, 2 min left"
    assert ann.items["s0"].own.confidence == 5
    # In another order, and only what is listed.
    assert ann.find_next(["s4", "s3", "s2"], "s3") == "s2"
    assert ann.find_next(["s4", "s0"]) is None
    assert ann.undo().withdraws == 2
    ann.refresh(RESULT, {})
    assert ann.items["s0"].unread
    assert ann.redo().decision == "copy"
    assert ann.redo() is None


def test_two_readers_do_not_get_the_same_case_unless_they_ask(sit_down):
    ann, ben = sit_down("Ann"), sit_down("Ben")
    assert ann.open("s0") == ""
    assert ben.find_next(ORDER) == "s1"
    assert ben.open("s0") == "Ann"
    assert ben.find_next(ORDER, share=True) == "s0"
    assert ben.open("s0", share=True) == ""
    ann.decide("s0", "copy")
    ben.refresh(RESULT, {})
    # Read by one of them is read.
    assert ben.find_next(ORDER, share=True) == "s1"
    each = sit_down("Cid", each=True)
    assert each.find_next(ORDER, share=True) == "s0"
    assert each.items["s0"].decisions[0].reader == "Ann"


def test_who_leaves_holds_nothing_any_more(sit_down):
    ann, ben = sit_down("Ann"), sit_down("Ben")
    ann.open("s0")
    ann.close()
    assert ben.find_next(ORDER) == "s0"


def test_only_what_is_new_is_read(sit_down, monkeypatch):
    ann, ben = sit_down("Ann"), sit_down("Ben")
    ben.decide("s1", "unsure")
    asked = []
    read = ann.store.history
    monkeypatch.setattr(
        ann.store, "history", lambda **how: asked.append(how["after"]) or read(**how)
    )
    ann.refresh(RESULT, {})
    ann.refresh(RESULT, {})
    assert asked == [0, 1]
    assert ann.items["s1"].decision.reader == "Ben"


def test_a_store_that_is_gone_loses_nothing_that_was_known(sit_down, monkeypatch):
    ann = sit_down("Ann")
    ann.decide("s0", "copy")
    ann.refresh(RESULT, {})

    def gone(**_):
        raise JobFailed("the server is gone")

    monkeypatch.setattr(ann.store, "history", gone)
    with pytest.raises(JobFailed, match="gone"):
        ann.refresh(RESULT, {})
    assert ann.items["s0"].own.decision == "copy"


def test_a_claim_that_cannot_be_given_up_does_not_undo_a_decision(sit_down, monkeypatch):
    ann = sit_down("Ann")
    ann.open("s0")

    def locked(*_):
        raise JobFailed("database is locked. Nothing was recorded.")

    with monkeypatch.context() as patch:
        patch.setattr(ann._claims, "release", locked)
        assert ann.decide("s0", "copy").decision == "copy"
    assert [event.decision for event in ann.store.history()] == ["copy"]


def test_only_what_was_decided_is_made_anew(sit_down):
    ann, ben = sit_down("Ann"), sit_down("Ben")
    lineage: dict[str, str] = {}
    ann.refresh(RESULT, lineage)
    before = ann.items
    ben.decide("s1", "unsure")
    ann.decide("s2", "copy", confidence=3)
    ann.refresh(RESULT, lineage)
    assert [s for s in ORDER if ann.items[s] is not before[s]] == ["s1", "s2"]
    assert ann.items["s1"].decision.reader == "Ben"
    assert ann.items["s1"].own is None
    assert ann.items["s2"].own.confidence == 3
    ann.undo()
    ann.refresh(RESULT, lineage)
    assert ann.items["s2"] == before["s2"]
    # Another reader's own decisions are others, and another lineage is another queue.
    ann.reader = "Ben"
    ann.refresh(RESULT, lineage)
    assert ann.items["s1"].own.decision == "unsure"
    ann.refresh(RESULT, {"s4": "s3"})
    assert ann.items["s3"].replaced_by == "s4"


def test_after_a_failure_claims_are_not_asked_for_until_the_store_is_there(sit_down, monkeypatch):
    ann, asked = sit_down("Ann"), []

    def gone(*_, **__):
        asked.append(1)
        raise JobFailed("the server is gone")

    with monkeypatch.context() as patch:
        for name in ("claim", "held_by_others", "release"):
            patch.setattr(ann._claims, name, gone)
        with pytest.raises(JobFailed, match="gone"):
            ann.open("s0")
        assert ann.open("s1") == ""
        assert ann.find_next(ORDER, "s1") == "s2"
        ann.rest()
        assert len(asked) == 1
    assert ann.open("s1") == ""
    assert sit_down("Ben").open("s1") == ""  # Nobody holds it: not even tried.
    # A decision that was recorded shows that the store is there.
    ann.decide("s0", "copy")
    assert ann.open("s1") == "Ben"
    # After a while it is tried again.
    monkeypatch.setattr(ann._claims, "held_by_others", gone)
    for _ in range(2):
        with pytest.raises(JobFailed, match="gone"):
            ann.find_next(ORDER)
        assert ann.find_next(ORDER) == "s0"
        ann._paused_until -= CLAIM_PAUSE_SECONDS
