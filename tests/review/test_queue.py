"""The queue goes from most similar down, and knows what is left to read."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from napari_memscan.detection.result import Neighbour, SampleResult
from napari_memscan.review.queue import ReviewQueue
from napari_memscan.review.store import DecisionStore

NEAR = (Neighbour("t.nii", 0.9),)
SAMPLES = {"/c": "s2", "/a": "s0", "/b": "s1", "/d": "s3"}


@pytest.fixture
def decisions(tmp_path):
    store = DecisionStore(tmp_path / "r.sqlite")
    store.record("s2", "copy", "Ann")
    yield store.current()
    store.close()


def queue(decisions, lineage=None):
    samples = [
        SampleResult(path, "t.nii", 0.9 - 0.1 * i, "novel", "", NEAR)
        for i, path in enumerate(SAMPLES)
    ]
    return ReviewQueue(SimpleNamespace(samples=samples), SAMPLES, lineage or {}, decisions)


def test_order_decisions_and_progress(decisions):
    q = queue(decisions)
    assert [i.sample for i in q.items] == ["s2", "s0", "s1", "s3"]
    assert q.items[0].decision.decision == "copy"
    assert q.progress == (1, 4)


def test_next_unread_goes_down_then_round(decisions):
    q = queue(decisions)
    assert q.next_unread() == "s0"
    assert q.next_unread("s0") == "s1"
    assert q.next_unread("s3") == "s0"
    assert q.next_unread("unknown") == "s0"


def test_a_replaced_sample_needs_no_reading(decisions):
    q = queue(decisions, {"s3": "s0"})
    by_name = {i.sample: i for i in q.items}
    assert by_name["s0"].replaced_by == "s3"
    assert by_name["s3"].parent == "s0"
    assert q.progress == (2, 4)
    assert q.next_unread("s2") == "s1"


def test_all_read_is_none(decisions):
    every = dict.fromkeys(SAMPLES.values(), decisions["s2"])
    assert queue(every).next_unread() is None


def test_samples_of_another_scan_are_left_out(decisions):
    known = {k: v for k, v in SAMPLES.items() if k != "/b"}
    samples = [SampleResult(p, "t", 0.5, "novel", "", NEAR) for p in SAMPLES]
    q = ReviewQueue(SimpleNamespace(samples=samples), known, {}, decisions)
    assert [i.sample for i in q.items] == ["s2", "s0", "s3"]
