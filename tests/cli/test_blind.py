"""`memscan blind`: plans are made ahead, and what they hold is not printed."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from napari_memscan import jobs
from napari_memscan.cli import app
from napari_memscan.jobs.readers.blind_study import BLIND_FOLDER, find_latest_plan
from napari_memscan.review.plan_files import load_plans


def memscan(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, f"{result.stdout}\n{result.stderr}\n{result.exception!r}"
    return result


@pytest.fixture
def study(make_study, tmp_path):
    study = make_study(tmp_path / "study")
    jobs.run_job(jobs.generate_volumes(study, 3))
    jobs.run_job(jobs.scan_study(study))
    return study


def test_a_plan_is_made_ahead_and_found_again(study):
    result = memscan(
        "blind", study.folder, "--reader", "Ann", "--cases", 3, "--planted", 1, "--reveal", "end"
    )
    assert result.stdout == "Ann: 3 cases, is A a copy of B, revealed at the end.\n"
    made = find_latest_plan(study, "Ann", False)
    assert sorted(s.exhibit.kind for s in made.secrets) == ["distractor", "planted", "synthetic"]
    assert not re.search(r"[svp]0000\d\d", result.stdout)
    result = memscan("blind", study.folder, "--reader", "Ann")
    assert "there already" in result.stderr
    assert find_latest_plan(study, "Ann", False) == made
    memscan("blind", study.folder, "--reader", "Ann", "--again")
    assert len(load_plans(study.folder / BLIND_FOLDER)) == 2
    out = memscan("blind", study.folder, "--reader", "Ben", "--forced-choice").stdout
    assert out == "Ben: 3 cases, forced choice, revealed after each.\n"


def test_what_is_wrong_is_said(study):
    for options, message in ((["--reveal", "never"], "'each' or 'end'"), ([], "no such f")):
        where = study.folder if options else study.folder / "none"
        result = memscan("blind", where, "--reader", "Ann", *options, code=2)
        assert message in " ".join(result.stderr.split()) or "no study" in result.stderr
