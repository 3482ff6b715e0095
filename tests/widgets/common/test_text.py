"""What is said of a scan, for every way that a scan can end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from napari_memscan.review.events import ReadingEvent
from napari_memscan.review.queue import ReviewQueue
from napari_memscan.study import Study
from napari_memscan.typing import Verdict
from napari_memscan.widgets.common import text as wording


@pytest.fixture
def judged(verified_study):
    """A verified scan of six volumes, with limits."""
    result = Study.open(verified_study).result()
    said = ("copy", "near-duplicate", "undecided", "novel", "novel", "novel")
    samples = tuple(
        replace(
            s, verdict=Verdict(verdict), reason=f"why {verdict}" if verdict == "undecided" else ""
        )
        for s, verdict in zip(result.samples, said, strict=True)
    )
    calibration = replace(result.calibration, assumption_shifted=False)
    rules = tuple(replace(rule, note="") for rule in result.rules)
    return replace(
        result,
        samples=samples,
        n_copies=1,
        n_near=1,
        rules=rules,
        calibration=calibration,
        copies_interval=(0.004, 0.64),
        warnings=("a cohort of phantoms",),
    )


@pytest.fixture
def by_tau(folder_study):
    return Study.open(folder_study).result()


def items(result):
    return ReviewQueue(result, {}, {}).items


def test_summary_counts_every_verdict_and_names_the_rule(judged):
    text = wording.format_scan_summary(judged)
    assert "N_copies 1 of 6 = 17%, CI 0–64%" in text
    assert "near-duplicates 1; undecided 1" in text
    assert "conformal: at most 20% of the called, on average, expected wrong" in text
    assert "floor" not in text
    assert wording.list_alarms(judged) == []
    assert wording.format_verdict_counts(judged) == "1 copies, 1 near-duplicates, 1 undecided"


def test_a_rule_with_a_null_floor_says_it(by_tau):
    text = wording.format_scan_summary(by_tau)
    assert "null\u00a0floor" in text
    assert "rule dar2024 on similarity" in text
    assert "tau" in wording.explain_summary(by_tau)
    assert f"above tau {by_tau.threshold:.{by_tau.digits}f}" in wording.describe_sample(
        items(by_tau)[0], by_tau
    )
    assert "near-duplicates" not in wording.format_verdict_counts(by_tau)


def test_a_failed_assumption_and_missing_power_are_alarms(judged):
    long = "they are nearer (p = 0.01). The stated error rate does not hold. " + "More. " * 60
    shifted = replace(judged.calibration, assumption_shifted=True, assumption=long)
    note = "no power at this validation size: 3 are needed"
    deciding, *others = judged.rules
    result = replace(judged, calibration=shifted, rules=(replace(deciding, note=note), *others))
    (power, _), (failed, everything) = wording.list_alarms(result)
    assert power == "No power at this validation size: 3 are needed."
    assert failed.startswith("Assumption test failed: they are nearer (p = 0.01). The stated")
    assert len(failed) < 400
    assert everything.endswith(long)


def test_nothing_called_has_no_threshold(judged):
    none = replace(judged, threshold=None)
    for item in items(none):
        assert "tau" not in wording.describe_sample(item, none)


def test_detail_and_title_of_a_near_duplicate_and_an_undecided_one(judged):
    copy, near, undecided, *_ = items(judged)
    nearest, other, *_ = near.neighbours
    numbers = (
        f"score {nearest.score:.3f}, p = {near.p_value:.2g}, similarity {nearest.similarity:.2f}"
    )
    assert (
        wording.format_synthetic_title(near, judged)
        == f"Synthetic made4.nii.gz: near-duplicate, {numbers}"
    )
    assert wording.format_neighbour_title(nearest, near, judged) == f"{numbers}, near-duplicate"
    assert "near-duplicate" not in wording.format_neighbour_title(other, near, judged)
    assert wording.describe_sample(near, judged).endswith(f"p = {near.p_value:.2g}. near-duplicate")
    assert wording.describe_sample(undecided, judged).endswith("undecided: why undecided")
    assert wording.format_synthetic_title(copy, judged).startswith("Synthetic made1.nii.gz: copy")


def test_a_title_without_a_score_has_a_p_value_too(by_tau):
    item = items(by_tau)[0]
    near = item.neighbours[0]
    said = f"similarity {near.similarity:.3f}, p = {item.p_value:.2g}"
    assert near.score is None
    assert (
        wording.format_synthetic_title(item, by_tau)
        == f"Synthetic made1.nii.gz: {item.verdict}, {said}"
    )
    assert wording.format_neighbour_title(near, item, by_tau) == f"{said}, {item.verdict}"
    second = item.neighbours[1]
    assert (
        wording.format_neighbour_title(second, item, by_tau)
        == f"similarity {second.similarity:.3f}"
    )
    new = replace(by_tau, rule="conformal", null=(-1.0, 1.0, 1.0))
    assert (
        wording.format_neighbour_title(second, item, new)
        == f"similarity {second.similarity:.3f}, p = 0.75"
    )


def test_what_other_readers_decided_is_read_without_hovering(by_tau):
    item = items(by_tau)[0]
    ann, ben = (
        ReadingEvent(n, "s0", said, reader, f"2026-01-0{n}T00:00:00+00:00", "", {}, confidence=4)
        for n, said, reader in ((1, "copy", "Ann"), (2, "unsure", "Ben"))
    )
    both = replace(item, decisions=(ann, ben), own=ann)
    lines = wording.describe_sample(both, by_tau).splitlines()
    assert lines[1:] == ["Ben: unsure, confidence 4 of 5"]
