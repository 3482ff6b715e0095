"""What stands beside a scan: files are read as they were written, gaps are named, a PDF is made."""

from __future__ import annotations

import builtins
import json
import re
import sys
from dataclasses import replace
from html import unescape

import numpy as np
import pytest

from napari_memscan import jobs
from napari_memscan.detection.exploration.threshold_curve import compute_rarefaction_curve
from napari_memscan.errors import BadInput, JobFailed
from napari_memscan.report import alt_text as described
from napari_memscan.report import charts
from napari_memscan.report import evidence_tables as other_tables
from napari_memscan.report.limitations import list_limitations
from napari_memscan.report.page import write_report
from napari_memscan.report.pdf import write_pdf
from napari_memscan.report.supplementary import (
    DuplicateSummary,
    SupplementaryResults,
    read_duplicate_summary,
    read_evidence,
    read_membership,
)
from napari_memscan.typing import Verdict


def gaps(result, attached=None, n_read=0):
    return {
        g.what: f"{g.why} {g.command}"
        for g in list_limitations(result, attached or SupplementaryResults(), n_read)
    }


# Gaps


def test_of_a_bare_scan_everything_else_is_named_as_untested(judged):
    found = gaps(judged())
    for words, command in (
        ("How many copies the program misses", "memscan selftest"),
        ("What a radiologist sees", "memscan review"),
        ("Whether a patient is in the training data twice", "memscan dedup"),
        ("Whether the model itself betrays", "memscan membership"),
        ("Other measures of copying", "memscan evidence"),
    ):
        (what,) = (what for what in found if what.startswith(words))
        assert command in found[what]
    assert "3 volumes must be nearer than all of them" in found["A single copy"]


def test_what_was_tested_is_not_among_the_gaps(everything):
    result, more = everything
    nothing = {"selftest": None, "twice": DuplicateSummary(0, 0, 0, 0, 30), "n_unknown_subjects": 0}
    attached = replace(more["attached"], disagreed=frozenset(), **nothing)
    found = gaps(
        replace(result, calibration=replace(result.calibration, least_discoveries=1)),
        attached,
        result.n_synthetic,
    )
    assert list(found) == ["How many copies the program misses"]


def test_a_gap_says_what_is_the_case(judged, self_test):
    result = judged()
    c = result.calibration
    one = SupplementaryResults(
        selftest=self_test(result),
        generator="folder",
        n_unknown_subjects=4,
        twice=DuplicateSummary(1, 2, 0, 3, 30),
    )
    found = gaps(result, one, 5)
    assert "flip (5 of 10 found)" in found["Copies that this detector misses"]
    assert (
        "the model is not here" in found["Whether the model itself betrays who was in its training"]
    )
    assert "23 of 28 were not read" in found["What a radiologist sees in the others"]
    assert "4 training and validation" in found["Which volumes are of one patient"]
    assert ": 3." in found["Copies that are no nearer than the leaks"]
    few = replace(result, calibration=replace(c, least_discoveries=99))
    assert "only 28: none could be called" in gaps(few)["A single copy"]
    small = replace(result, calibration=replace(c, assumption_p=None))
    assert "too few" in gaps(small)["Whether the error rate holds for this model"]
    assert "failed" in gaps(judged(null_at=0.2))["Whether the error rate holds for this model"]
    assert "could call none" in gaps(judged(n_null=20))["Whether any volume is a copy"]
    stale = SupplementaryResults(selftest=self_test(result, detector_hash="another"))
    assert "another detector" in gaps(result, stale)["How many copies this search misses"]


def test_undecided_volumes_are_a_gap(judged):
    result = judged()
    samples = tuple(replace(s, verdict=Verdict.UNDECIDED) for s in result.samples[-3:])
    result = replace(result, samples=(*result.samples[:-3], *samples))
    assert "What the undecided volumes are (3)" in gaps(result)


# The page


@pytest.mark.slow
def test_the_whole_page_has_three_parts_and_all_that_is_known(full_page):
    text = unescape(re.sub(r"<[^>]+>|\s+", " ", full_page.read_text("utf-8")))
    text = re.sub(r" +", " ", text)
    parts = [
        text.index(f" {name} ", 1500)
        for name in ("What program and people said", "Published metrics", "Personal data.")
    ]
    assert parts == sorted(parts)
    for words in (
        "Copies found",
        "readers disagree not read all",
        "near-duplicate 0 1 0 1 0 2",
        "Which reader is right (1).",
        "; readers disagree ",
        "Cohen's kappa 0.78 0.39 to 1.00 88 %",
        "program reader Ann 100 % (29 to 100 %), 3 of 3",
        "Known: 2 planted copies",
        "Authentic synthetic volumes (AuthPct) [authpct] 25.0 % 10.0 % to 40.0 % 5.0 %",
        "arXiv 2307.01148",
        "control: latents alone",
        "no power at n = 25 validation subjects",
        "checkpoint c0ffee, recipe 5eed",
        "2 are in 1 groups",
        "9f9f9f",
        "0ab10ab1",
        "rule.name conformal",
    ):
        assert words in text, words
    for heading in ("In short", "The evidence", "Methods and record"):
        assert heading in text


def test_a_page_that_is_handed_on_names_no_command_and_warns_of_nothing(judged, tmp_path):
    result = judged()
    own = write_report(tmp_path / "own", result, title="t").read_text("utf-8")
    out = write_report(tmp_path / "out", result, title="t", outside=True).read_text("utf-8")
    for words in ("Personal data.", "To test it"):
        assert words in own
        assert words not in out


def test_the_table_of_program_and_people_adds_up():
    table = other_tables.tabulate_decisions([("copy", "copy"), ("copy", ""), ("novel", "unsure")])
    assert table.rows == (
        ("copy", "1", "0", "0", "1", "2"),
        ("novel", "0", "0", "1", "0", "1"),
        ("all", "1", "0", "1", "1", "3"),
    )


# Figures


def test_every_alt_text_states_its_finding(judged, self_test):
    result = judged()
    assert "4 synthetic volumes and 0 of the null lie there" in described.describe_histogram(result)
    text = described.describe_thresholds(result)
    assert "4 are nearer than every one of the 100 volumes of the null" in text
    assert "it calls 4; 0.0 would be expected" in text
    assert "no threshold" in described.describe_thresholds(judged(n_null=20))
    text = described.describe_rarefaction(compute_rarefaction_curve(result))
    assert "4 of 30 training volumes have a copy" in text
    assert "at least 10 are expected" in text
    assert "Found least: flip (50 %), elastic (95 %)." in described.describe_selftest(
        self_test(result)
    )


def test_the_sweep_falls_and_agrees_with_the_rule(judged):
    result = judged()
    swept = charts.compute_threshold_sweep(result)
    assert (np.diff(swept.called) <= 0).all()
    assert (np.diff(swept.error[0]) <= 0).all()
    at = int(np.flatnonzero(swept.thresholds == result.threshold)[0])
    assert swept.called[at] == 4
    low, high = swept.error[1:, at]
    assert low == 0
    assert 0.03 < high < 0.04
    assert swept.by_chance[2, at] == pytest.approx(28 * high)


# Files of a study


@pytest.fixture(scope="module")
def scanned(make_study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scanned") / "study"
    study = make_study(folder, verification={"enabled": False}, rule={"name": "size-matched"})
    jobs.run_job(jobs.generate_volumes(study, 3))
    jobs.run_job(jobs.scan_study(study))
    return study


@pytest.fixture
def study(scanned, copy_study, tmp_path):
    return copy_study(scanned, tmp_path / "study")


@pytest.mark.slow
def test_what_the_commands_wrote_is_read_and_shown(study):
    assert read_evidence(study.scan_dir) is read_membership(study.scan_dir) is None
    bare = jobs.report_study(study).read_text("utf-8")
    assert "metrics were not computed" in bare
    results = jobs.run_job(jobs.evaluate_metrics(study, ["authpct", "rarefaction"]))
    found = jobs.run_job(jobs.evaluate_membership(study, "loss"))
    (study.scan_dir / "duplicates.json").write_text(
        json.dumps(
            {"groups": [{"volumes": ["a", "b"]}], "suspected": [], "leaks": [], "n_training": 8}
        )
    )
    evidence = read_evidence(study.scan_dir)
    assert not evidence.stale
    assert [m.value for m in evidence.metrics] == [m.value for m in results]
    assert [m.interval for m in evidence.metrics] == [m.interval for m in results]
    assert read_membership(study.scan_dir).to_dict() == found.to_dict()
    assert read_duplicate_summary(study.scan_dir) == DuplicateSummary(1, 2, 0, 0, 8)
    store = study.store()
    for reader, decision in (("Ann", "copy"), ("Ben", "not a copy")):
        for row in study.samples():
            store.record(row.sample, decision, reader)
    store.close()
    page = jobs.report_study(study).read_text("utf-8")
    for words in (
        "[authpct]",
        "Membership inference",
        "Ann and Ben",
        "scan/evidence.json",
        "reader: unsure",
        "Which reader is right (3)",
        "generator.path",
        "monai 1.",
        "in 1 groups",
    ):
        assert words in page, words
    jobs.run_job(jobs.generate_volumes(study, 4))
    jobs.run_job(jobs.scan_study(study))
    assert read_evidence(study.scan_dir).stale
    assert "computed for another scan" in jobs.report_study(study).read_text("utf-8")


@pytest.mark.parametrize("name", ["evidence", "membership", "duplicates"])
@pytest.mark.parametrize("text", ["", "[]", "{}", '{"metrics": 3, "attacks": [1], "groups": 1}'])
def test_a_damaged_file_is_named_with_the_command_that_makes_it(tmp_path, name, text):
    (tmp_path / f"{name}.json").write_text(text)
    reader = {
        "evidence": read_evidence,
        "membership": read_membership,
        "duplicates": read_duplicate_summary,
    }
    with pytest.raises(BadInput, match=rf"{name}.json: cannot be read .* again") as error:
        reader[name](tmp_path)
    assert f"memscan {'dedup' if name == 'duplicates' else name}" in str(error.value)


def test_a_password_in_the_settings_is_not_on_the_page(make_study, tmp_path):
    from napari_memscan.jobs.release.report import list_settings

    where = "postgresql://reader:secret@host/name"
    study = make_study(tmp_path / "study", review={"store": where})
    found = list_settings(study.config)
    assert "secret" not in str(found)
    assert found["review.store"] == "a database"
    assert found["verification.retrieved"] == "3"


# PDF


@pytest.mark.slow
def test_the_same_page_gives_the_same_pdf_and_an_older_one_goes(study):
    pytest.importorskip("weasyprint")
    page = jobs.report_study(study, pdf=True)
    pdf = page.with_name("report.pdf")
    data = pdf.read_bytes()
    assert data.startswith(b"%PDF")
    assert len(data) > 50_000
    assert write_pdf(page).read_bytes() == data
    jobs.report_study(study)
    assert not pdf.exists()


def test_nothing_is_fetched_for_a_pdf(tmp_path):
    pytest.importorskip("weasyprint")
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(404)
            self.end_headers()

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    other = tmp_path / "other.png"
    other.write_bytes(b"secret")
    page = tmp_path / "index.html"
    page.write_text(
        f'<img src="http://127.0.0.1:{server.server_port}/a.png"><img src="{other.as_uri()}">x'
    )
    assert write_pdf(page).read_bytes().startswith(b"%PDF")
    server.shutdown()
    server.server_close()
    assert asked == []


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (ImportError("no module"), "napari-memscan\\[pdf\\]"),
        (OSError("no libpango"), "apt install libpango"),
    ],
)
def test_without_what_prints_it_says_what_to_install(tmp_path, monkeypatch, error, remedy):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("weasyprint"):
            raise error
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "weasyprint", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    page = tmp_path / "index.html"
    page.write_text("x")
    with pytest.raises(JobFailed, match=remedy):
        write_pdf(page)
    assert not (tmp_path / "report.pdf").exists()
