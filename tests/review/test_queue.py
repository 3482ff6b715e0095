"""The queue goes from the nearest down, and knows what is left to read."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest

from napari_memscan.detection.results.scan_result import Neighbour, SampleResult, ScanResult
from napari_memscan.review.queue import ReviewQueue
from napari_memscan.review.store import DecisionStore
from napari_memscan.typing import Verdict

NEAR = (Neighbour("t.nii", 0.9),)
SAMPLES = ("s2", "s0", "s1", "s3")


@pytest.fixture
def decisions(tmp_path):
    store = DecisionStore(tmp_path / "r.sqlite")
    store.record("s2", "copy", "Ann")
    yield store.current()
    store.close()


def queue(decisions, lineage=None):
    samples = [
        SampleResult(name, "t.nii", 0.9 - 0.1 * i, Verdict.NOVEL, "", NEAR)
        for i, name in enumerate(SAMPLES)
    ]
    return ReviewQueue(scan(samples), lineage or {}, decisions)


def scan(samples, measure="similarity"):
    """As much of a scan as a queue needs."""
    value = partial(ScanResult.value, SimpleNamespace(measure=measure))
    return SimpleNamespace(samples=samples, value=value)


def test_order_decisions_and_progress(decisions):
    q = queue(decisions)
    assert [i.sample for i in q.items] == ["s2", "s0", "s1", "s3"]
    assert q.items[0].decision.decision == "copy"
    assert q.progress == (1, 4)


def test_the_order_is_the_scans_and_the_value_is_what_decides(decisions):
    samples = [
        SampleResult("s0", "t", 0.2, Verdict.COPY, "", NEAR, score=0.9, p_value=0.01),
        SampleResult("s1", "t", 0.8, Verdict.NOVEL, "", NEAR, score=0.1, p_value=0.5),
    ]
    items = ReviewQueue(scan(samples, "score"), {}, decisions).items
    assert [(i.sample, i.value, i.score, i.p_value) for i in items] == [
        ("s0", 0.9, 0.9, 0.01),
        ("s1", 0.1, 0.1, 0.5),
    ]
    items = ReviewQueue(scan(samples), {}, decisions).items
    assert [i.value for i in items] == [0.2, 0.8]


def test_a_replaced_sample_needs_no_reading(decisions):
    q = queue(decisions, {"s3": "s0"})
    by_name = {i.sample: i for i in q.items}
    assert by_name["s0"].replaced_by == "s3"
    assert by_name["s3"].parent == "s0"
    assert q.progress == (2, 4)
