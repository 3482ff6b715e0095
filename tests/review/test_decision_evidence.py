"""What is stored with a decision is what was on the screen, as JSON."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from napari_memscan.detection.results.scan_result import Neighbour
from napari_memscan.review.decision_evidence import collect_evidence
from napari_memscan.review.queue import QueueItem
from napari_memscan.review.store import DecisionStore
from napari_memscan.typing import Verdict

RESULT = SimpleNamespace(measure="score", rule="conformal", threshold=None, embedder_hash="e" * 16)


def test_evidence_goes_into_the_store_and_comes_back(tmp_path):
    near = tuple(Neighbour(f"p{i}/ct.nii.gz", 0.9 - i / 10, 0.8) for i in range(3))
    item = QueueItem("s0", 0.9, Verdict.COPY, "", near, None, None, None, 0.8, 0.8, 0.01)
    value = collect_evidence(
        item,
        RESULT,
        2,
        layout="pair",
        position=np.array([1.234, 5, -6]),
        partner=near[1].name,
        hashes={"sample_sha256": "f" * 64},
        window=[40, 400],
    )
    assert value["position"] == [1.23, 5.0, -6.0]
    assert [n["name"] for n in value["neighbours"]] == ["p0/ct.nii.gz", "p1/ct.nii.gz"]
    assert value["partner"] == "p1/ct.nii.gz"
    assert (value["k"], value["layout"], value["window"], value["blind"]) == (
        2,
        "pair",
        [40, 400],
        False,
    )
    store = DecisionStore(tmp_path / "r.sqlite")
    store.record("s0", "copy", "Ann", evidence=value)
    assert store.history()[0].evidence == value
    store.close()
