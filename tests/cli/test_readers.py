"""`memscan readers`: agreement on the screen, events and scores in files."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from napari_memscan.cli import app
from napari_memscan.jobs.readers.blind_study import BLIND_FOLDER
from napari_memscan.review.blind_plan import ArrayLocation, Exhibit, draw_blind_plan
from napari_memscan.review.blind_session import BlindSession
from napari_memscan.review.plan_files import load_plan, save_plan


def memscan(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, f"{result.stdout}\n{result.stderr}\n{result.exception!r}"
    return result


@pytest.fixture
def study(make_study, tmp_path):
    """Two readers on one study, one of them also blind, with three distractors."""
    study = make_study(tmp_path / "study")
    store = study.store()
    for i, (ann, ben) in enumerate(zip("cncnuc", "cncccn", strict=True)):
        for reader, letter in (("Ann", ann), ("Ben", ben)):
            decision = {"c": "copy", "n": "not a copy", "u": "unsure"}[letter]
            store.record(f"s{i:06d}", decision, reader, confidence=3, seconds=20 + i)
    shown = [
        Exhibit(f"s{i:06d}", "synthetic", ArrayLocation("/a"), ArrayLocation("/b"))
        for i in range(6)
    ]
    shown += [
        Exhibit(f"v{i:06d}", "distractor", ArrayLocation("/c"), ArrayLocation("/d"))
        for i in range(3)
    ]
    made = draw_blind_plan(shown, "Ann", 1)
    save_plan(made, study.folder / BLIND_FOLDER)
    reading = BlindSession(made, store, lambda held: None)
    for case in reading.cases:
        reading.answer(case.number, "not a copy", confidence=2)
    store.close()
    return study


def test_agreement_is_printed(study):
    text = " ".join(memscan("readers", study.folder).stdout.split())
    assert "Ann: 6 open, 9 blind, 22 s each (median)" in text
    assert "open: Cohen's kappa of Ann and Ben: 0." in text
    assert "6 cases, 50% agree" in text
    assert "Ann (blind) against 0 planted copies and 3 validation volumes (the reference)" in text
    assert "specificity 1.000 (0.292 to 1.000; 3 of 3)" in text


def test_files_for_other_programs(study, tmp_path):
    out = tmp_path / "out"
    memscan("readers", study.folder, "--csv", out / "e.csv", "--json", out / "s.json")
    assert len((out / "e.csv").read_text().splitlines()) == 1 + 12 + 9
    value = json.loads((out / "s.json").read_text())
    assert value["findings"]["agreement"]["open"][0]["n_cases"] == 6
    assert value["head"] == value["events"][-1]["hash"]
    table = tmp_path / "truth.csv"
    table.write_text("sample,truth\ns000000,copy\ns000001,not a copy\n")
    told = memscan("readers", study.folder, "--imrmc", out / "s.imrmc", "--truth", table).stderr
    text = (out / "s.imrmc").read_text()
    assert "truth,s000000,truth,1\n" in text
    assert "truth,v000000,truth,0\n" in text
    assert "Ann,s000000,blind,-2\n" in text
    assert "validation volumes; of all others the table truth.csv" in told
    assert "4 cases of unknown truth left out" in told
    memscan("readers", study.folder, "--imrmc", out / "b.imrmc", "--truth", "reader:Ben")
    assert (
        "Truth from 0 planted copies and 3 validation volumes; of all others the decisions of "
        "Ben" in (out / "b.imrmc").read_text()
    )


def test_an_audit_verifies_the_plans_that_were_answered(study):
    assert "intact" in memscan("audit", study.folder).stdout
    (path,) = (study.folder / BLIND_FOLDER).iterdir()
    made = load_plan(path)
    swapped = [
        replace(s, exhibit=o.exhibit) for s, o in zip(made.secrets, made.secrets[::-1], strict=True)
    ]
    forged = replace(made, secrets=tuple(swapped))
    save_plan(forged, study.folder / BLIND_FOLDER)
    out = memscan("audit", study.folder, code=1).stdout
    assert "event 13: its blind plan was changed after this answer" in out
    path.write_text("{}")
    assert "is damaged or was changed" in memscan("audit", study.folder, code=1).stdout
    path.unlink()
    assert "cannot be verified" in memscan("audit", study.folder, code=1).stdout


def test_names_can_stay_at_home(study, tmp_path):
    done = memscan("readers", study.folder, "--json", tmp_path / "s.json", "--anonymous")
    for text in (done.stdout, (tmp_path / "s.json").read_text()):
        assert "R1" in text
        assert "Ann" not in text
        assert "Ben" not in text
    refused = memscan("readers", study.folder, "--anonymous", "--truth", "reader:Ben", code=2)
    assert "name would be in the result" in refused.stderr


def test_what_cannot_be_done_is_told(study, make_study, tmp_path):
    out = tmp_path / "s.imrmc"
    refused = memscan("readers", study.folder, "--imrmc", out, code=2)
    assert "no case that was read is known to be a copy" in refused.stderr
    assert not out.exists()
    assert (
        "Eve has decided nothing"
        in memscan("readers", study.folder, "--truth", "reader:Eve", code=2).stderr
    )
    empty = make_study(tmp_path / "empty")
    assert memscan("readers", empty.folder).stdout == "nobody has decided yet\n"
