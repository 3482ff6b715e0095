"""What was recorded, as other programs read it."""

from __future__ import annotations

import csv
import io
import json

import pytest

from napari_memscan.errors import BadInput
from napari_memscan.review.current_decisions import CurrentDecisions
from napari_memscan.review.events import ReadingEvent
from napari_memscan.review.export import (
    MODALITIES,
    assign_pseudonyms,
    build_imrmc_file,
    format_events_csv,
    format_events_json,
    replace_reader_names,
)
from napari_memscan.review.findings import analyse_reader_study
from napari_memscan.review.store import DecisionStore
from napari_memscan.review.truth import Truth, build_truth_from_verdicts, read_truth_table
from napari_memscan.typing import Verdict


@pytest.fixture
def store(tmp_path):
    store = DecisionStore(tmp_path / "review.sqlite")
    store.record("s0", "copy", "Ann", '=HYPERLINK("x"), "zwei"\nZeilen', {"k": 3}, confidence=4)
    store.record("s1", "not a copy", "Ann", confidence=5)
    store.record("s0", "copy", "-Ben")
    store.record("s2", "unsure", "-Ben")
    store.record("s0", "unsure", "Ann", stage="blind", confidence=1)
    store.record("v0", "not a copy", "Ann", stage="blind", confidence=2)
    store.record("s0", "real", "Ann", stage="forced-choice")
    yield store
    store.close()


def by_stage(store):
    standing = store.standing()
    return {stage: standing.by_reader(stage) for stage in MODALITIES}


def test_csv_holds_every_event_and_runs_nothing(store):
    rows = list(csv.DictReader(io.StringIO(format_events_csv(store.history()))))
    assert len(rows) == 7
    assert rows[0]["note"].startswith("'=HYPERLINK")
    assert rows[0]["note"].endswith("\nZeilen")
    assert rows[2]["reader"] == "'-Ben"
    assert json.loads(rows[0]["evidence"]) == {"k": 3}
    assert rows[-1]["hash"] == store.head()[1]
    assert rows[0]["confidence"] == "4"
    assert rows[2]["confidence"] == ""


def test_json_holds_every_event_as_it_is(store):
    value = json.loads(format_events_json(store.history(), study="x"))
    assert value["study"] == "x"
    assert [ReadingEvent(**event) for event in value["events"]] == store.history()


def test_readers_may_be_nameless(store):
    events = store.history()
    names = assign_pseudonyms(events)
    assert names == {"Ann": "R1", "-Ben": "R2"}
    assert "Ann" not in format_events_json(replace_reader_names(events, names))


def parsed(text):
    head, data = text.split("BEGIN DATA:\n")
    return head.splitlines(), [line.split(",") for line in data.splitlines()]


def test_imrmc_has_a_truth_for_each_case_and_no_duplicates(store):
    made = build_imrmc_file(
        by_stage(store), Truth({"s0": 1, "s1": 0, "v0": 0, "s9": 1}, "a, table"), "Knee"
    )
    head, rows = parsed(made.text)
    assert all(len(row) == 4 for row in rows)
    truths = {row[1]: row[3] for row in rows if row[0] == "truth"}
    assert truths == {"s0": "1", "s1": "0", "v0": "0"}
    scores = {tuple(row[:3]): int(row[3]) for row in rows if row[0] != "truth"}
    assert scores == {
        ("Ann", "s0", "open"): 4,
        ("Ann", "s1", "open"): -5,
        ("-Ben", "s0", "open"): 3,  # No confidence: the middle.
        ("Ann", "s0", "blind"): 0,
        ("Ann", "v0", "blind"): -2,
    }
    assert len({tuple(row[:3]) for row in rows}) == len(rows)
    assert {"N0: 2", "N1: 1", "NR: 2", "NM: 2", "Truth from a table"} <= set(head)
    assert (made.n_cases, made.n_scores, made.n_unknown, made.n_assumed) == (3, 5, 1, 1)


def test_imrmc_takes_any_reader_for_a_reader(store):
    store.record("s0", "copy", "truth")
    store.record("s0", "copy", "Ann,: x")
    store.record("s0", "copy", "Ann x")
    _, rows = parsed(build_imrmc_file(by_stage(store), Truth({"s0": 1, "v0": 0}, "t")).text)
    assert {row[0] for row in rows} == {"truth", "reader truth", "Ann", "-Ben", "Ann x", "Ann x_"}
    assert [row[2] for row in rows if row[0] == "truth"] == ["truth", "truth"]


@pytest.mark.parametrize(
    ("values", "why"),
    [({"s1": 0}, "known to be a copy"), ({"s0": 1}, "known to be no copy"), ({}, "a copy")],
)
def test_imrmc_without_both_kinds_is_refused(store, values, why):
    with pytest.raises(BadInput, match=why):
        build_imrmc_file(by_stage(store), Truth(values, "validation volumes"))


def test_truth_of_a_table(tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text("\ufeffsample,truth,by\ns0,1,x\ns1,Not a copy,y\n", encoding="utf-8")
    truth = read_truth_table(path)
    assert truth.values == {"s0": 1, "s1": 0}
    said = {"s0": Verdict.NOVEL, "s2": Verdict.COPY, "s3": Verdict.UNDECIDED}
    both = truth.over(build_truth_from_verdicts(said))
    assert both.values == {"s0": 1, "s1": 0, "s2": 1}
    assert both.source == "the table truth.csv; of all others the program's verdicts"
    path.write_text("sample,truth\ns0,maybe\n")
    with pytest.raises(BadInput, match="line 2: the columns"):
        read_truth_table(path)
    with pytest.raises(BadInput, match="no readable CSV"):
        read_truth_table(tmp_path / "none.csv")


def test_findings_say_all_of_it(store):
    store.record("s0", "not a copy", "Ann", stage="revealed")
    truth = Truth({"s0": 1, "v0": 0}, "a table")
    said = {"s0": Verdict.COPY, "s1": Verdict.NOVEL, "s2": Verdict.UNDECIDED}
    found = analyse_reader_study(store.standing(), said, truth)
    assert [str(reader) for reader in found.readers] == [
        "-Ben: 2 open",
        "Ann: 2 open, 2 blind, 1 revealed, 1 forced-choice",
    ]
    assert found.agreement["open"][0].n_cases == 1
    assert "blind" not in found.agreement
    assert [one.reference for one in found.against_program] == ["reader -Ben", "reader Ann"]
    assert found.changes[0].changed == (("s0", "unsure", "not a copy"),)
    assert (found.choices["Ann"].k, found.choices["Ann"].n) == (0, 1)
    text = str(found)
    assert "Ann: recognised the synthetic volume in 0.000 (0.000 to 0.975; 0 of 1)" in text
    assert "Ann (blind) against a table (the reference)" in text
    value = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert value["choices"]["Ann"]["interval"][0] == 0
    nobody = analyse_reader_study(CurrentDecisions(()), {}, Truth({}, ""))
    assert str(nobody) == "nobody has decided yet"
