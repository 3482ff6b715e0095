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
SAMPLES = {"/c": "s2", "/a": "s0", "/b": "s1", "/d": "s3"}


@pytest.fixture
def decisions(tmp_path):
    store = DecisionStore(tmp_path / "r.sqlite")
    store.record("s2", "copy", "Ann")
    yield store.current()
    store.close()


def queue(decisions, lineage=None):
    samples = [
        SampleResult(path, "t.nii", 0.9 - 0.1 * i, Verdict.NOVEL, "", NEAR)
        for i, path in enumerate(SAMPLES)
    ]
    return ReviewQueue(scan(samples), SAMPLES, lineage or {}, decisions)


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
        SampleResult("/a", "t", 0.2, Verdict.COPY, "", NEAR, score=0.9, p_value=0.01),
        SampleResult("/b", "t", 0.8, Verdict.NOVEL, "", NEAR, score=0.1, p_value=0.5),
    ]
    items = ReviewQueue(scan(samples, "score"), SAMPLES, {}, decisions).items
    assert [(i.sample, i.value, i.score, i.p_value) for i in items] == [
        ("s0", 0.9, 0.9, 0.01),
        ("s1", 0.1, 0.1, 0.5),
    ]
    items = ReviewQueue(scan(samples), SAMPLES, {}, decisions).items
    assert [i.value for i in items] == [0.2, 0.8]


def test_a_replaced_sample_needs_no_reading(decisions):
    q = queue(decisions, {"s3": "s0"})
    by_name = {i.sample: i for i in q.items}
    assert by_name["s0"].replaced_by == "s3"
    assert by_name["s3"].parent == "s0"
    assert q.progress == (2, 4)


def test_samples_of_another_scan_are_left_out(decisions):
    known = {k: v for k, v in SAMPLES.items() if k != "/b"}
    samples = [SampleResult(p, "t", 0.5, Verdict.NOVEL, "", NEAR) for p in SAMPLES]
    q = ReviewQueue(scan(samples), known, {}, decisions)
    assert [i.sample for i in q.items] == ["s2", "s0", "s3"]
