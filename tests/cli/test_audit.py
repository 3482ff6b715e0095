"""`memscan audit`: intact or broken, with which event; and where a study keeps its decisions."""

from __future__ import annotations

import json
import sqlite3

import pytest
from typer.testing import CliRunner

from napari_memscan.cli import app
from napari_memscan.config import ReviewConfig
from napari_memscan.study import Study


def memscan(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, f"{result.stdout}\n{result.stderr}\n{result.exception!r}"
    return result


@pytest.fixture
def study(make_study, tmp_path):
    study = make_study(tmp_path / "study")
    store = study.store()
    for i in range(3):
        store.record(f"s00000{i}", "copy", "Ann")
    store.close()
    return study


def test_an_intact_store_is_exit_code_0_and_its_head_can_be_noted(study):
    done = memscan("audit", study.folder)
    assert "intact" in done.stdout
    assert "does not show" in done.stdout
    found = json.loads(memscan("audit", study.folder, "--json").stdout)
    assert found["intact"]
    assert found["n_events"] == 3
    assert f"--expect {found['head'][:12]}" in done.stderr
    store = study.store()
    store.record("s000000", "unsure", "Ben")
    store.close()
    again = memscan("audit", study.folder, "--expect", found["head"][:12])
    assert "noted head in it, and 1 events since" in again.stdout
    assert "broken" in memscan("audit", study.folder, "--expect", "0123456789ab", code=1).stdout
    assert "hexadecimal" in memscan("audit", study.folder, "--expect", "zz", code=2).stderr


def test_a_changed_decision_is_exit_code_1_and_named(study):
    with sqlite3.connect(study.folder / "review.sqlite") as other:
        other.execute("DROP TRIGGER memscan_events_no_update")
        other.execute("UPDATE memscan_events SET decision = 'not a copy' WHERE id = 2")
    other.close()
    out = memscan("audit", study.folder, code=1).stdout
    assert "broken   event 2: was changed after it was recorded (s000001, not a copy, Ann" in out
    found = json.loads(memscan("audit", study.folder, "--json", code=1).stdout)
    assert [fault["event"] for fault in found["faults"]] == [2]


def test_a_study_without_decisions_is_told(make_study, tmp_path):
    study = make_study(tmp_path / "study")
    assert "Nobody has decided yet" in memscan("audit", study.folder, code=2).stderr
    assert not (study.folder / "review.sqlite").exists()


def test_the_store_is_where_the_study_says_and_its_password_stays_unsaid(
    make_study, tmp_path, monkeypatch
):
    study = make_study(tmp_path / "study", review=ReviewConfig(store="../shared.sqlite"))
    study.store().close()
    assert (tmp_path / "shared.sqlite").exists()
    assert "[review]" not in (make_study(tmp_path / "plain").folder / "study.toml").read_text()
    study.update(review={"store": "postgresql://ann:${MEMSCAN_TEST}@127.0.0.1:1/review"})
    assert Study.open(study.folder).config.review.store.endswith("@127.0.0.1:1/review")
    assert "variable MEMSCAN_TEST is not set" in memscan("audit", study.folder, code=2).stderr
    pytest.importorskip("psycopg")
    monkeypatch.setenv("MEMSCAN_TEST", "s3cret")
    done = memscan("audit", study.folder, code=1)
    assert "PostgreSQL database 'review' on 127.0.0.1:1" in done.stderr
    assert "s3cret" not in done.stderr + done.stdout + (study.folder / "study.toml").read_text()
