"""The page says the numbers in plain words, holds everything it shows, and escapes names."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

import napari_memscan
from napari_memscan.report.figures import planes
from napari_memscan.report.page import answer, write_report
from napari_memscan.review.store import Decision


@pytest.fixture(scope="module")
def scan():
    random = np.random.default_rng(0)
    training, validation = random.random((30, 12, 12, 12)), random.random((60, 12, 12, 12))
    synthetic = np.concatenate([training[:8] + 0.01, random.random((4, 12, 12, 12))])
    return napari_memscan.scan(training, validation, synthetic)


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.images, self.words, self.sources = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "img":
            self.images.append(attrs)
        self.sources += [attrs[k] for k in ("src", "href") if k in attrs]
        assert tag not in ("script", "link", "iframe")

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def test_page_is_whole_and_stands_alone(scan, tmp_path):
    random = np.random.default_rng(1)
    decision = Decision(1, "s0", "copy", "Dr <b>Ann</b>", "2026-01-01T00:00:00+00:00", "", {})
    path = write_report(
        tmp_path,
        scan,
        title="Knee & <script>",
        decisions={scan.samples[0].path: decision},
        pictures=lambda _: random.random((9, 10, 11)).astype(np.float32),
        provenance={"seeds": "1 to 16"},
        n_pairs=3,
    )
    assert path == tmp_path / "index.html"
    page = Page(path.read_text("utf-8"))
    assert "Knee & <script>" in page.text
    assert "Dr <b>Ann</b>" in page.text
    assert f"{scan.n_copies} of {scan.n_synthetic}" in page.text
    assert "null floor" in page.text
    assert "larger is nearer" in page.text
    assert "Seeds 1 to 16" in page.text
    assert len(page.images) == 4
    for image in page.images:
        assert len(image["alt"]) > 20
        png = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"))
        assert png.startswith(b"\x89PNG")
        assert len(png) > 2000
    assert all(s.startswith("data:") for s in page.sources)
    assert page.text.count("synthetic[") >= scan.n_synthetic


def test_the_same_scan_gives_the_same_bytes(scan, tmp_path):
    pages = [write_report(tmp_path / n, scan, title="t").read_bytes() for n in ("a", "b")]
    assert pages[0] == pages[1]


def test_the_answer_depends_on_what_chance_would_give(scan):
    assert scan.copies_interval[0] > 0.3
    strong = replace(scan, null_floor_copies=0.1)
    assert "has memorised" in answer(strong)
    weak = replace(scan, null_floor_copies=0.9)
    assert "by chance" in answer(weak)
    assert "has memorised" not in answer(weak)
    none = replace(scan, n_copies=0, copies_interval=(0.0, 0.2))
    assert "no proof" in answer(none)
    reason = "no power at this validation size"
    samples = tuple(replace(s, verdict="undecided", reason=reason) for s in scan.samples)
    few = replace(scan, samples=samples)
    assert answer(few).startswith("No answer: no power")


def test_planes_show_anterior_and_superior_up():
    volume = np.zeros((4, 6, 8), np.float32)
    volume[:, 5, :] = 1
    axial = dict(planes(volume))["axial"]
    assert axial.shape == (6, 4)
    assert (axial[0] == 1).all()
    volume = np.zeros((4, 6, 8), np.float32)
    volume[:, :, 7] = 1
    shown = dict(planes(volume))
    assert (shown["coronal"][0] == 1).all()
    assert (shown["sagittal"][0] == 1).all()
    assert re.match("axial", next(iter(shown)))


def test_the_answer_gives_its_uncertainty_and_its_limits(scan):
    text = answer(replace(scan, null_floor_copies=0.1))
    low, high = scan.copies_interval
    assert f"95 % interval {low:.0%} to {high:.0%}" in text
    assert "does not mean" in text


def test_a_study_that_cannot_decide_calls_nothing_on_the_page(scan, tmp_path):
    reason = "no power at this validation size"
    samples = tuple(replace(s, verdict="undecided", reason=reason) for s in scan.samples)
    few = replace(scan, samples=samples)
    page = Page(write_report(tmp_path, few, title="t").read_text("utf-8"))
    assert "No answer: no power" in page.text
    assert "none is called a copy here" in page.text
    assert "synthetic volumes called copies" not in page.text


def test_notes_of_readers_are_on_the_page_and_no_empty_heading(scan, tmp_path):
    decision = Decision(1, "s0", "unsure", "Ann", "2026-01-01T00:00:00+00:00", "motion & <i>", {})
    decisions = {scan.samples[2].path: decision}
    page = Page(write_report(tmp_path, scan, title="t", decisions=decisions).read_text("utf-8"))
    assert "motion & <i>" in page.text
    assert "Most similar pairs" not in page.text
