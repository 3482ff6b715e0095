"""Where all is one volume there is no answer; where some are, a reader is told which."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from napari_memscan.detection.detector import CopyDetector
from napari_memscan.detection.scan_vectors import scan_vectors
from napari_memscan.detection.statistics.equality import are_all_equal, find_equal_rows
from napari_memscan.errors import BadInput

EMBEDDER = SimpleNamespace(name="pixels", hash="0" * 16)


def vectors(n, seed):
    return np.random.default_rng(seed).normal(size=(n, 12)).astype(np.float32)


def one(n):
    """Vectors of an embedder that collapsed: the same up to the last bits."""
    noise = np.random.default_rng(n).normal(size=(n, 12)) * 1e-7
    return (vectors(1, 0) * (1 + noise)).astype(np.float32)


def scanned(training, validation, synthetic, **options):
    return scan_vectors(
        training,
        validation,
        synthetic,
        training_names=[f"training[{i}]" for i in range(len(training))],
        synthetic_names=[f"synthetic[{i}]" for i in range(len(synthetic))],
        embedder=EMBEDDER,
        **options,
    )


def test_all_equal_training_or_validation_is_refused_and_synthetic_is_told():
    good = vectors(30, 1), vectors(25, 2), vectors(10, 3)
    assert not [w for w in scanned(*good).warnings if "equal" in w or "very vector" in w]
    with pytest.raises(BadInput, match=r"all 30 training vectors are \(nearly\) equal"):
        scanned(one(30), *good[1:])
    with pytest.raises(BadInput, match="all 25 validation vectors"):
        scanned(good[0], one(25), good[2])
    with pytest.raises(BadInput, match="all 8 training"):
        scanned(*[np.repeat(vectors(1, 0), n, axis=0) for n in (8, 5, 4)])
    (told,) = [w for w in scanned(*good[:2], one(10)).warnings if "equal" in w]
    assert told.startswith("All 10 synthetic vectors")
    # A single volume is not equal to anything.
    assert scanned(good[0], good[1], one(1)).warnings == scanned(*good[:2], vectors(1, 9)).warnings


def test_what_differs_in_single_precision_is_not_equal():
    row = vectors(1, 0)[0]
    other = row.copy()
    other[0] += 1e-3
    assert not are_all_equal(np.stack([row, other]))
    assert are_all_equal(np.stack([row, row, row * 3 + 1]))
    assert not are_all_equal(np.stack([row, row, other]))


def test_training_volumes_that_are_there_twice_are_named_and_counted():
    training = vectors(30, 1)
    training[[4, 9]] = training[2]
    training[7] = training[6]
    assert find_equal_rows(training, [str(i) for i in range(30)]) == [["2", "4", "9"], ["6", "7"]]
    (told,) = [
        w for w in scanned(training, vectors(25, 2), vectors(10, 3)).warnings if "very vector" in w
    ]
    assert told.startswith("3 of 30 training volumes have")
    assert "training[2] = training[4] = training[9]; training[6] = training[7]." in told
    assert "and others" not in told
    training[12:20] = training[11]
    (told,) = [
        w for w in scanned(training, vectors(25, 2), vectors(10, 3)).warnings if "very vector" in w
    ]
    assert told.startswith("11 of 30")
    assert "training[13] and others" in told


def test_a_detector_of_arrays_refuses_one_volume_given_many_times():
    random = np.random.default_rng(0)
    different = random.random((4, 12, 12, 12), np.float32)
    same = np.repeat(different[:1], 4, axis=0)
    with pytest.raises(BadInput, match="all 4 training volumes"):
        CopyDetector().fit(same, different)
    with pytest.raises(BadInput, match="all 4 validation volumes"):
        CopyDetector().fit(different, same)
    with pytest.raises(BadInput, match="all 4 training vectors"):
        CopyDetector().fit(different, different, vectors=(one(4), vectors(4, 1)))


@pytest.mark.parametrize("rule", ["conformal", "size-matched", "dar2024"])
def test_rules_with_a_tau_say_that_few_validation_volumes_are_too_few(rule):
    few = scanned(vectors(30, 1), vectors(3, 2), vectors(10, 3), rule=rule)
    notes = {r.name: r.note for r in few.rules}
    for name in ("size-matched", "dar2024"):
        assert notes[name] == (
            "no power at this validation size: 3 validation volumes, at least 20 are needed to "
            "call a copy"
        )
    assert str(few).count("at least 20 are needed") >= 2
    enough = scanned(vectors(30, 1), vectors(20, 2), vectors(10, 3), rule=rule)
    assert {r.note for r in enough.rules if r.name != "conformal"} == {""}


def test_both_taus_have_an_interval_and_the_summary_shows_them_and_where_more_is():
    groups = [f"s{i // 5}" for i in range(40)]
    spread = np.repeat(vectors(8, 4), 5, axis=0) + 0.1 * vectors(40, 1)
    parts = spread, vectors(25, 2), vectors(10, 3)
    result = scanned(*parts)
    rules = {r.name: r for r in result.rules}
    for name in ("size-matched", "dar2024"):
        low, high = rules[name].threshold_interval
        assert low <= rules[name].threshold <= high
        assert f"{low:.4f} to {high:.4f}" in str(result)
    assert "memscan evidence" in str(result)
    # Volumes of a subject resemble each other: drawn together, they say less about tau.
    grouped = {r.name: r for r in scanned(*parts, training_subjects=groups).rules}["dar2024"]
    widths = [np.ptp(r.threshold_interval) for r in (rules["dar2024"], grouped)]
    assert widths[1] > widths[0]
    assert grouped.threshold == rules["dar2024"].threshold
