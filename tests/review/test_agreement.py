"""Kappa, sensitivity and changes against values worked out by hand."""

from __future__ import annotations

import warnings

import pytest

from napari_memscan.detection.statistics.proportions import Proportion
from napari_memscan.errors import BadInput
from napari_memscan.review.accuracy import (
    binarise_decisions,
    binarise_verdicts,
    compute_accuracy,
    find_decision_changes,
)
from napari_memscan.review.agreement import compute_kappa, compute_pairwise_kappas
from napari_memscan.review.events import ReadingEvent
from napari_memscan.typing import Verdict

WORDS = {"c": "copy", "n": "not a copy", "u": "unsure"}


def readings(**said_by):
    """Readers' decisions as letters; a dot is a case that was not read."""
    return {
        reader: {
            f"s{i:03d}": ReadingEvent(i, f"s{i:03d}", WORDS[letter], reader, "", "", {})
            for i, letter in enumerate(letters)
            if letter != "."
        }
        for reader, letters in said_by.items()
    }


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_cohen_of_a_table_worked_out_by_hand():
    # 20 both copy, 5 and 10 apart, 15 both not: observed 0.7, by chance 0.5.
    found = compute_kappa(
        readings(Ann="c" * 25 + "n" * 25, Ben="c" * 20 + "n" * 5 + "c" * 10 + "n" * 15)
    )
    assert found.name == "Cohen"
    assert found.value == pytest.approx(0.4)
    assert found.agreed == pytest.approx(0.7)
    # Variance of Fleiss, Cohen and Everitt (1969) for this table: 0.016128.
    assert found.interval == pytest.approx((0.1511, 0.6489), abs=1e-4)
    assert found.n_cases == 50
    assert "Cohen's kappa of Ann and Ben: 0.40 (95 % interval 0.15 to 0.65), 50 cases" in str(found)


def test_fleiss_of_a_table_worked_out_by_hand():
    # 3 cases of 3 readers: all copy, all not, two to one. P = (1 + 1 + 1/3) / 3, Pe = 41/81.
    found = compute_kappa(readings(Ann="cnc", Ben="cnc", Cem="cnn"))
    assert found.name == "Fleiss"
    expected = 41 / 81
    assert found.value == pytest.approx((7 / 9 - expected) / (1 - expected))
    assert found.agreed == pytest.approx(7 / 9)
    many = readings(Ann="cnuc" * 10, Ben="cnun" * 10, Cem="cnuc" * 5 + "ncun" * 5)
    first = compute_kappa(many)
    assert first.interval == compute_kappa(many).interval
    assert first.interval != compute_kappa(many, seed=1).interval
    low, high = first.interval
    assert low < first.value < high
    assert [one.readers for one in compute_pairwise_kappas(many)] == [
        ("Ann", "Ben"),
        ("Ann", "Cem"),
        ("Ben", "Cem"),
    ]


def test_cases_that_not_all_read_are_left_out_and_named():
    found = compute_kappa(readings(Ann="cnc.n", Ben="cncn.", Cem="ncncc"))
    assert found.n_cases == 3
    assert found.left_out == ("s003", "s004")
    assert "2 left out, not read by all" in str(found)
    assert compute_kappa(readings(Ann="cn", Ben="cn", Cem="nn"), ["Ann", "Cem"]).name == "Cohen"


@pytest.mark.parametrize(
    ("of", "why"),
    [
        ({"Ann": "cccc", "Ben": "cccc"}, "All said 'copy' of every case"),
        ({"Ann": "nnn", "Ben": "nnn", "Cem": "nnn"}, "All said 'not a copy'"),
        ({"Ann": "c.", "Ben": ".c"}, "0 cases were read by all"),
        ({"Ann": "c.", "Ben": "cc", "Cem": "c."}, "1 cases were read by all"),
    ],
)
def test_what_has_no_kappa_says_why(of, why):
    found = compute_kappa(readings(**of))
    assert found.value is None
    assert found.interval is None
    assert why in found.note
    assert "not defined" in str(found)
    assert "nan" not in str(found).lower()


@pytest.mark.parametrize(
    "of", [{"Ann": "cncn", "Ben": "cncn"}, {"Ann": "cncn", "Ben": "cncn", "Cem": "cncn"}]
)
def test_full_agreement_has_no_interval_of_width_nought(of):
    found = compute_kappa(readings(**of))
    assert found.value == pytest.approx(1)
    assert found.interval is None
    assert "No interval" in found.note


def test_who_cannot_be_compared_is_refused():
    with pytest.raises(BadInput, match="two readers"):
        compute_kappa(readings(Ann="cn"))
    with pytest.raises(BadInput, match="two readers"):
        compute_kappa(readings(Ann="cn", Ben="cn"), ["Ann", "Ann"])
    with pytest.raises(BadInput, match="Eve: no such reader"):
        compute_kappa(readings(Ann="cn", Ben="cn"), ["Ann", "Eve"])


def test_the_program_against_a_reader_who_is_the_reference():
    verdicts = {
        "s000": "copy",
        "s001": "near-duplicate",
        "s002": "novel",
        "s003": "undecided",
        "s004": "novel",
        "s005": "copy",
        "s006": "novel",
    }
    reader = readings(Ann="cccnnnu")["Ann"]
    found = compute_accuracy(
        binarise_verdicts({n: Verdict(v) for n, v in verdicts.items()}),
        binarise_decisions(reader),
        ("program", "reader Ann"),
    )
    assert (found.sensitivity.k, found.sensitivity.n) == (2, 3)
    assert (found.specificity.k, found.specificity.n) == (1, 2)
    assert found.n_left_out == 2
    # Clopper-Pearson of 2 of 3.
    assert found.sensitivity.interval == pytest.approx((0.0943, 0.9916), abs=1e-4)
    text = str(found)
    assert "program against reader Ann (the reference)" in text
    assert "2 left out" in text
    nothing = compute_accuracy({"s0": None}, {"s0": True})
    assert "not known" in str(nothing)
    assert Proportion(0, 0).value is None


def test_what_changed_after_the_reveal():
    found = find_decision_changes(readings(Ann="ccnu", Ben="cc"), readings(Ann="cnnc.", Cem="c"))
    (ann,) = found
    assert (ann.reader, ann.n) == ("Ann", 4)
    assert ann.changed == (("s001", "copy", "not a copy"), ("s003", "unsure", "copy"))
    assert "2 of 4 decisions changed" in str(ann)
    assert "1 from copy to not a copy" in str(ann)
