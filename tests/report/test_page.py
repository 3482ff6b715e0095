"""The page says the numbers in plain words, holds everything it shows, and escapes names."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from napari_memscan import jobs
from napari_memscan.config import RuleConfig, VerificationConfig
from napari_memscan.detection.scan_vectors import scan_vectors
from napari_memscan.report.figures import draw_pair, get_middle_planes
from napari_memscan.report.page import compose_conclusion, write_report
from napari_memscan.report.supplementary import SupplementaryResults
from napari_memscan.review.events import ReadingEvent
from napari_memscan.typing import Verdict


@pytest.fixture(scope="module")
def scan():
    random = np.random.default_rng(0)
    training, validation = random.random((30, 12, 12, 12)), random.random((60, 12, 12, 12))
    synthetic = np.concatenate([training[:8] + 0.01, random.random((4, 12, 12, 12))])
    flat = [v.reshape(len(v), -1).astype(np.float32) for v in (training, validation, synthetic)]
    return scan_vectors(
        *flat,
        training_names=[f"training[{i}]" for i in range(len(training))],
        synthetic_names=[f"synthetic[{i}]" for i in range(len(synthetic))],
        embedder=SimpleNamespace(name="pixels", hash="0123456789abcdef"),
        rule="dar2024",
    )


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
    decision = ReadingEvent(1, "s0", "copy", "Dr <b>Ann</b>", "2026-01-01T00:00:00+00:00", "", {})
    path = write_report(
        tmp_path,
        scan,
        title="Knee & <script>",
        decisions={scan.samples[0].name: decision},
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
    assert len(page.images) == 6  # histogram, thresholds, rarefaction, pairs
    for image in page.images:
        assert len(image["alt"]) > 20
        png = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"))
        assert png.startswith(b"\x89PNG")
        assert len(png) > 2000
    assert all(s.startswith(("data:", "#")) for s in page.sources)
    assert page.text.count("synthetic[") >= scan.n_synthetic


def test_the_same_scan_gives_the_same_bytes(scan, tmp_path):
    pages = [write_report(tmp_path / n, scan, title="t").read_bytes() for n in ("a", "b")]
    assert pages[0] == pages[1]


def test_the_answer_depends_on_what_chance_would_give(scan):
    assert scan.copies_interval[0] > 0.3
    strong = replace(scan, null_floor_copies=0.1)
    assert "has memorised" in compose_conclusion(strong)
    weak = replace(scan, null_floor_copies=0.9)
    assert "by chance" in compose_conclusion(weak)
    assert "has memorised" not in compose_conclusion(weak)
    none = replace(scan, n_copies=0, copies_interval=(0.0, 0.2))
    assert "no proof" in compose_conclusion(none)
    reason = "no power at this validation size"
    samples = tuple(replace(s, verdict=Verdict.UNDECIDED, reason=reason) for s in scan.samples)
    rules = tuple(replace(rule, note=reason) for rule in scan.rules)
    few = replace(scan, samples=samples, rules=rules)
    assert compose_conclusion(few).startswith("No answer: no power")


def test_planes_show_anterior_and_superior_up():
    volume = np.zeros((4, 6, 8), np.float32)
    volume[:, 5, :] = 1
    axial = dict(get_middle_planes(volume))["axial"]
    assert axial.shape == (6, 4)
    assert (axial[0] == 1).all()
    volume = np.zeros((4, 6, 8), np.float32)
    volume[:, :, 7] = 1
    shown = dict(get_middle_planes(volume))
    assert (shown["coronal"][0] == 1).all()
    assert (shown["sagittal"][0] == 1).all()
    assert re.match("axial", next(iter(shown)))


def test_the_answer_gives_its_uncertainty_and_its_limits(scan):
    text = compose_conclusion(replace(scan, null_floor_copies=0.1))
    low, high = scan.copies_interval
    assert f"95 % interval {low:.0%} to {high:.0%}" in text
    assert "does not mean" in text


def test_a_study_that_cannot_decide_calls_nothing_on_the_page(scan, tmp_path):
    reason = "no power at this validation size"
    samples = tuple(replace(s, verdict=Verdict.UNDECIDED, reason=reason) for s in scan.samples)
    rules = tuple(replace(rule, note=reason) for rule in scan.rules)
    few = replace(scan, samples=samples, rules=rules)
    page = Page(write_report(tmp_path, few, title="t").read_text("utf-8"))
    assert "No answer: no power" in page.text
    assert "none is called a copy here" in page.text
    assert "synthetic volumes called copies" not in page.text


def test_notes_of_readers_are_on_the_page_and_no_empty_heading(scan, tmp_path):
    decision = ReadingEvent(
        1, "s0", "unsure", "Ann", "2026-01-01T00:00:00+00:00", "motion & <i>", {}
    )
    decisions = {scan.samples[2].name: decision}
    page = Page(write_report(tmp_path, scan, title="t", decisions=decisions).read_text("utf-8"))
    assert "motion & <i>" in page.text
    assert "Nearest pairs" not in page.text


def page_of(result, folder, **more):
    return Page(write_report(folder, result, title="t", **more).read_text("utf-8"))


@pytest.mark.slow
def test_a_judged_scan_gives_all_counts_rules_limits_and_methods(tmp_path, judged):
    result = judged()
    assert [result.count(v) for v in ("copy", "near-duplicate")] == [2, 2]
    text = page_of(result, tmp_path).text
    for part in (
        "4 of 28 synthetic volumes are nearer to a training volume than new patients are: 2 are",
        "called copies (7%, 95 % interval 1% to 24%) and 2 near-duplicates",
        "At most 10% of the called, on average over validation sets, are expected to be wrong",
        "evidence that the model has memorised",
        "conformal (decides)",
        "size-matched",
        "dar2024",
        "(null floor)",
        f"{result.calibration.displacement_limit:.3f}",
        "20 planted copies",
        "Assumption test, passed",
        "Not measured.",
        "q 0.1",
        "9 candidates retrieved, the best 4 registered; hash feedbeef",
        "seed 7",
        "100 validation subjects in the null",
        "score after registration",
    ):
        assert part in text
    assert "No power" not in text
    assert "assumption test failed" not in text
    image, *_ = page_of(result, tmp_path).images
    assert f"called from {result.threshold:.4f}" in image["alt"]


def test_a_failed_assumption_is_a_warning_and_takes_the_claim_back(tmp_path, judged):
    result = judged(null_at=0.2)
    assert result.calibration.assumption_shifted
    page = page_of(result, tmp_path)
    assert "The assumption test failed." in page.text
    assert "The stated error rate does not hold" in page.text
    assert "evidence that the model has memorised" not in compose_conclusion(result)
    assert "seen to fail" in compose_conclusion(result)


def test_without_power_there_is_no_threshold_and_no_answer(tmp_path, judged):
    result = judged(n_null=20)
    assert result.threshold is None
    page = page_of(result, tmp_path)
    assert "No answer: no power at this validation size" in page.text
    assert "calls nothing" in page.text
    assert "calls none of them" in page.images[0]["alt"]
    assert page.text.count("Note. no power") == 0


@pytest.mark.slow
def test_the_self_test_is_a_table_with_a_confusion_matrix(tmp_path, judged, self_test):
    result = judged()
    test = self_test(result)
    text = page_of(result, tmp_path, attached=SupplementaryResults(selftest=test)).text
    for part in (
        "90 % (78 to 97 %) of planted copies",
        "95 % (75 to 100 %) of planted near-duplicates",
        "96 % (80 to 100 %) of unrelated volumes",
        "Where it stops working. Misses 50% of volumes changed by: flip.",
        # 95 % intervals (Clopper and Pearson) of 45, 0 and 5 of 50, 19 of 20, 24 of 25.
        "planted copies 45 (78 to 97 %) 0 (0 to 7 %) 5 (3 to 22 %) 0 (0 to 7 %)",
        "planted near-duplicates 0 (0 to 17 %) 19 (75 to 100 %) 0 (0 to 17 %) 1 (0 to 25 %)",
        "perturbed unrelated volumes 1 (0 to 20 %) 0 (0 to 14 %) 24 (80 to 100 %) 0 (0 to 14 %)",
        "flip 10 90 % 100 % 100 % 50 % 19 to 81 % 5 0 5 0 50 % 19 to 81 %",
        "The scan asks more than the self-test, which judges each volume alone at 5% false calls: "
        "it judges all 28 together at q = 0.1, so that a single copy among them is called only "
        "where at most 0.36% of new patients are as near. 100 validation subjects cannot show so "
        "little: before any is called, at least 3 volumes must be nearer than all of them.",
    ):
        assert part in text
    assert "Of planted copies" not in text  # Measured before they were counted.
    rows = tuple(replace(row, above_all=row.n - 4) for row in test.kinds)
    text = page_of(
        result, tmp_path, attached=SupplementaryResults(selftest=replace(test, kinds=rows))
    ).text
    assert "Of planted copies 0.840 (0.709 to 0.928; 42 of 50) are nearer than all" in text
    plain = str(replace(test, kinds=rows))
    assert "0.840 (0.709 to 0.928; 42 of 50) of planted copies are that near" in plain
    (row,) = (line for line in plain.splitlines() if line.startswith("near-duplicate "))
    assert "0.95 (0.75 to 1.00)" in row
    assert "Out of date" not in text
    assert "Not measured" not in text
    other = self_test(result, detector_hash="another", notes=())
    text = page_of(result, tmp_path, attached=SupplementaryResults(selftest=other)).text
    assert "Out of date." in text
    assert "No kind of perturbation" in text


@pytest.mark.slow
def test_pairs_are_registered_where_a_transform_and_a_voxel_size_are_known(tmp_path, judged):
    result = judged()
    arrays = np.random.default_rng(2).random((40, 9, 10, 11), np.float32)

    def pictures(path):
        return arrays[int(re.search(r"\d+", path).group())]

    page = page_of(result, tmp_path, pictures=pictures, spacing=(1.0, 1.0, 1.0), n_pairs=2)
    assert all("registered to it" in image["alt"] for image in page.images[3:])
    plain = page_of(result, tmp_path, pictures=pictures, n_pairs=2)
    assert not any("registered" in image["alt"] for image in plain.images[3:])
    assert len(plain.images) == len(page.images) == 5


def test_a_difference_is_a_third_row_and_places_without_partner_are_marked():
    volume = np.full((8, 8, 8), 0.5, np.float32)
    holed = volume.copy()
    holed[:4] = np.nan
    heights = [
        png_height(draw_pair(volume, volume)),
        png_height(draw_pair(volume, holed, volume - holed)),
    ]
    assert heights[1] == pytest.approx(1.5 * heights[0], rel=0.02)
    assert draw_pair(volume, holed, volume - holed) != draw_pair(volume, volume, volume - volume)


def png_height(png):
    return int.from_bytes(png[20:24], "big")


@pytest.mark.slow
def test_a_study_is_verified_and_reported(make_study, tmp_path, self_test):
    study = make_study(
        tmp_path / "study",
        rule=RuleConfig(q=0.5),
        verification=VerificationConfig(verified=1, planted=2, workers=1),
    )
    jobs.run_job(jobs.generate_volumes(study, 2))
    result = jobs.run_job(jobs.scan_study(study))
    page = Page(jobs.report_study(study).read_text("utf-8"))
    assert len(page.images) == 4
    assert all("registered to it" in image["alt"] for image in page.images[2:])
    assert "Limit in doubt." in page.text
    assert result.calibration.search_hash in page.text
    assert "Not measured." in page.text
    self_test(result).save(study.scan_dir)
    assert "90 % (78 to 97 %)" in Page(jobs.report_study(study).read_text("utf-8")).text
