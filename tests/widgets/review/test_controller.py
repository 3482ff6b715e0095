"""Step 3 on real tiny studies and on napari's model, without a window."""

import threading

import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt

from napari_memscan import jobs
from napari_memscan.detection.planting.selftest import PerturbationResult, SelfTest
from napari_memscan.errors import BadInput, Hint, HintKind
from napari_memscan.study import Study
from napari_memscan.typing import Verdict
from napari_memscan.widgets.review.controller import ReviewController
from napari_memscan.widgets.review.queue_text import format_lineage
from napari_memscan.widgets.review.view import ReviewView
from napari_memscan.widgets.viewing import ViewerController

WAIT = 60_000


class Room:
    """Step 3 and somebody who reads in it."""

    def __init__(self, qtbot) -> None:
        self.qtbot = qtbot
        self.view = ReviewView()
        qtbot.addWidget(self.view)
        self.view.reader.setText("R. Reader")
        self.viewing = ViewerController(ViewerModel(), memory_mb=64)
        self.review = ReviewController(self.view, self.viewing)

    @property
    def current(self) -> str:
        return self.view.queue.current

    @property
    def text(self) -> str:
        return self.view.message.text

    def titles(self) -> list[str]:
        return [layer.name.replace("\n", " ") for layer in self.viewing.layers]

    def settle(self) -> None:
        self.qtbot.waitUntil(lambda: not self.viewing.loading, timeout=WAIT)

    def open(self, study: Study) -> None:
        self.review.set_study(study)
        self.review.start_reading()
        self.settle()

    def press(self, *names: str) -> None:
        for name in names:
            self.press_at_once(name)
            self.settle()

    def press_at_once(self, name: str) -> None:
        """Press a button, and wait for nothing."""
        self.view.decision.buttons[name].click()

    def regenerate(self) -> None:
        with self.qtbot.waitSignal(self.review.changed, timeout=WAIT):
            self.press_at_once("regenerate")
        self.settle()

    def leave(self) -> None:
        self.review.set_study(None)
        self.qtbot.waitUntil(lambda: not self.viewing.preloading, timeout=WAIT)


@pytest.fixture
def room(qtbot):
    room = Room(qtbot)
    yield room
    room.leave()


@pytest.fixture
def folder_room(room, folder_study):
    room.open(Study.open(folder_study))
    return room


def decisions(study_folder) -> dict[str, str]:
    store = Study.open(study_folder).store()
    try:
        return {sample: d.decision for sample, d in store.current().items()}
    finally:
        store.close()


def test_reading_starts_with_the_most_similar_and_shows_its_neighbours(folder_room):
    view = folder_room.view
    assert folder_room.current == view.queue.samples[0] == "made1.nii.gz"
    verdicts = [item.verdict for item in folder_room.review.items.values()]
    assert verdicts[:3] == ["copy", "copy", "novel"]
    titles = folder_room.titles()
    assert titles[0].startswith("Synthetic made1.nii.gz: copy")
    assert titles[1].startswith("Training #1 similarity 1.0")
    assert len(titles) == 4
    view.k.setValue(1)
    folder_room.settle()
    assert len(folder_room.titles()) == 2
    assert "N_copies 2 of 6 = 33%" in view.summary.text()
    assert view.queue.progress.text() == "0 of 6 read"
    assert "T001.nii.gz" in view.detail.text()


def test_a_decision_is_on_disk_at_once_and_the_next_volume_follows(folder_room, folder_study):
    folder_room.press("copy")
    assert decisions(folder_study) == {"made1.nii.gz": "copy"}
    assert folder_room.current == "made4.nii.gz"
    assert folder_room.view.queue.progress.text() == "1 of 6 read, less than 1 min left"
    folder_room.press("not a copy", "undo")
    assert decisions(folder_study) == {"made1.nii.gz": "copy"}
    assert folder_room.current == "made4.nii.gz"
    folder_room.press("undo")
    assert decisions(folder_study) == {}
    assert folder_room.current == "made1.nii.gz"
    folder_room.press("undo")
    assert "Nothing to undo" in folder_room.text


def test_evidence_says_what_was_on_screen(folder_room, folder_study):
    folder_room.view.k.setValue(2)
    folder_room.settle()
    position = folder_room.viewing.position
    folder_room.press("unsure")
    store = Study.open(folder_study).store()
    (event,) = store.history()
    store.close()
    assert event.reader == "R. Reader"
    assert event.evidence["neighbours"][0]["name"] == "T001.nii.gz"
    assert len(event.evidence["neighbours"]) == 2
    assert (event.evidence["layout"], event.evidence["position"]) == ("grid", position["mm"])
    assert event.evidence["view"]["plane"] == "Axial"
    assert event.evidence["view"]["voxel"] == position["voxel"] == [8, 8, 8]
    study = Study.open(folder_study)
    (path,) = [study.sample_path(row) for row in study.samples() if row.sample == event.sample]
    assert event.evidence["sample_sha256"] == study.sha256(path)
    assert event.evidence["embedder_hash"] == study.result().embedder_hash
    assert event.evidence["threshold"] == pytest.approx(Study.open(folder_study).result().threshold)


def test_reading_goes_on_where_it_stopped_and_to_the_end(folder_room, folder_study):
    folder_room.press("copy")
    folder_room.review.set_study(None)
    assert folder_room.view.queue.samples == []
    folder_room.open(Study.open(folder_study))
    assert folder_room.current == "made4.nii.gz"
    folder_room.press(*["not a copy"] * 5)
    assert folder_room.review.progress == (6, 6)
    assert "All volumes are read" in folder_room.text


def test_next_and_previous_stop_at_the_ends(folder_room):
    samples = folder_room.view.queue.samples
    folder_room.press("previous")
    assert folder_room.current == samples[0]
    folder_room.press(*["next"] * 9)
    assert folder_room.current == samples[-1]


def test_what_is_not_on_the_screen_is_not_decided(room, folder_study, monkeypatch):
    study = Study.open(folder_study)
    results = {s.name: s for s in study.result().samples}
    third = results["made1.nii.gz"].neighbours[2].name
    load, first, last = study.array_of, threading.Event(), threading.Event()

    def slow(name):
        (last if name == third else first).wait(30)
        if name == "made0.nii.gz":
            raise BadInput(f"{name}: missing.")
        return load(name)

    def refused():
        for decision in ("copy", "not a copy", "unsure"):
            room.press_at_once(decision)
            assert room.text == "Not recorded: the volumes are not shown yet."
            assert room.view.message.level == "warning"
        assert room.current == "made1.nii.gz"
        assert decisions(folder_study) == {}

    monkeypatch.setattr(study, "array_of", slow)
    room.review.set_study(study)
    room.review.start_reading()
    refused()
    # The pair is there, the grid of it is still to come.
    room.viewing.set_layout("pair")
    first.set()
    room.settle()
    room.viewing.set_layout("grid")
    refused()
    last.set()
    room.settle()
    room.press("copy")
    assert decisions(folder_study) == {"made1.nii.gz": "copy"}
    # What cannot be shown can be left as unsure.
    room.view.queue.select("made0.nii.gz")
    room.settle()
    room.press_at_once("not a copy")
    assert "decide Unsure" in room.text
    room.press("unsure")
    assert decisions(folder_study) == {"made1.nii.gz": "copy", "made0.nii.gz": "unsure"}
    room.press("not a copy")
    assert len(decisions(folder_study)) == 3


def test_keys_do_nothing_before_reading_starts(room, folder_study):
    room.review.set_study(Study.open(folder_study))
    room.press_at_once("copy")
    assert decisions(folder_study) == {}


def test_volumes_made_elsewhere_cannot_be_regenerated(folder_room):
    assert not folder_room.view.decision.buttons["regenerate"].isEnabled()
    assert folder_room.view.decision.buttons["copy"].isEnabled()


@pytest.fixture
def ldm_room(room, ldm_study):
    room.open(Study.open(ldm_study))
    return room


def test_regenerate_shows_the_new_one_and_keeps_the_old(qtbot, ldm_room, ldm_study):
    view, old = ldm_room.view, ldm_room.current
    with qtbot.waitSignal(ldm_room.review.changed, timeout=WAIT):
        ldm_room.press_at_once("regenerate")
        assert not view.decision.buttons["regenerate"].isEnabled()
        assert not view.decision.stop_button.isHidden()
    ldm_room.settle()
    assert ldm_room.current == "s000003"
    assert ldm_room.titles()[0].startswith("Synthetic s000003")
    assert format_lineage(ldm_room.review.items[old]) == "replaced by s000003"
    assert format_lineage(ldm_room.review.items["s000003"]) == f"replaces {old}"
    assert f"s000003 replaces {old}" in ldm_room.text
    view.queue.select(old)
    assert not view.decision.buttons["regenerate"].isEnabled()
    assert Study.open(ldm_study).lineage() == {"s000003": old}


def test_why_a_volume_was_drawn_without_guidance_is_said(ldm_room, monkeypatch):
    def refuse(*_):
        raise BadInput("latents are padded.", Hint(HintKind.UNGUIDED))

    monkeypatch.setattr("napari_memscan.generators.ldm.LDMGenerator.check_guidance", refuse)
    ldm_room.regenerate()
    assert ldm_room.text.endswith("is kept. Without guidance: latents are padded.")
    assert ldm_room.view.message.level == "warning"


def test_a_late_regeneration_leaves_the_reader_where_they_are(qtbot, ldm_room):
    old = ldm_room.current
    with qtbot.waitSignal(ldm_room.review.changed, timeout=WAIT):
        ldm_room.press_at_once("regenerate")
        ldm_room.press_at_once("next")
        moved = ldm_room.current
    ldm_room.settle()
    assert moved != old
    assert ldm_room.current == moved
    assert ldm_room.titles()[0].startswith(f"Synthetic {moved}")
    assert f"s000003 replaces {old}" in ldm_room.text


def test_a_regeneration_of_another_study_is_not_shown(qtbot, ldm_room, folder_study):
    ldm_room.press_at_once("regenerate")
    ldm_room.review.set_study(Study.open(folder_study))
    qtbot.waitUntil(lambda: not ldm_room.review.busy, timeout=WAIT)
    assert len(ldm_room.review.items) == 6
    assert "replaces" not in ldm_room.text


def test_a_damaged_scan_is_said_in_words(room, folder_study):
    (folder_study / "scan" / "verdicts.parquet").write_bytes(b"half a file")
    room.review.set_study(Study.open(folder_study))
    assert room.view.message.level == "error"
    assert "Scan again" in room.text
    assert not room.review.ready
    jobs.run_job(jobs.scan_study(Study.open(folder_study)))
    room.review.reload()
    assert room.review.ready


def test_a_study_that_was_moved_asks_for_a_scan(room, ldm_study, tmp_path):
    moved = ldm_study.rename(tmp_path / "elsewhere")
    room.review.set_study(Study.open(moved))
    if not room.review.ready:
        assert "Scan again" in room.text
        jobs.run_job(jobs.scan_study(Study.open(moved)))
        room.review.reload()
    assert len(room.review.items) == 3


@pytest.fixture
def verified_room(room, verified_study):
    room.open(Study.open(verified_study))
    return room


def test_a_verified_scan_is_read_by_its_scores(verified_room, verified_study):
    view, result = verified_room.view, Study.open(verified_study).result()
    assert result.measure == "score"
    values = [item.value for item in verified_room.review.items.values()]
    assert values == sorted((s.score for s in result.samples), reverse=True)
    assert view.queue.model.headerData(1, Qt.Orientation.Horizontal) == "Score"
    assert set(view.queue.samples[:2]) == {"made1.nii.gz", "made4.nii.gz"}
    first = result.samples[0]
    near = first.neighbours[0]
    for part in (
        f"score {first.score:.3f} after registration",
        f"similarity {near.similarity:.{result.digits}f}",
        f"p = {first.p_value:.2g}",
        first.verdict,
        first.reason,
    ):
        assert part in view.detail.text()
    partner = verified_room.viewing.case.neighbours[0]
    assert partner.title == (
        f"Training #1 score {near.score:.3f}, p = {first.p_value:.2g}, "
        f"similarity {near.similarity:.{result.digits - 1}f}, {first.verdict}"
    )
    assert partner.transform == near.transform
    verified_room.press("copy")
    store = Study.open(verified_study).store()
    (event,) = store.history()
    store.close()
    assert event.evidence["score"] == pytest.approx(first.score)
    assert event.evidence["measure"] == "score"
    assert event.evidence["neighbours"][0]["score"] == pytest.approx(near.score)


def test_the_detector_is_measured_by_a_button_and_shown(qtbot, verified_room, verified_study):
    row, review = verified_room.view.selftest, verified_room.review
    assert "none yet" in row.message.text
    assert not row.button.isHidden()
    row.button.click()
    assert not row.button.isEnabled()
    assert not row.stop_button.isHidden()
    row.stop_button.click()
    qtbot.waitUntil(lambda: not review.busy, timeout=WAIT)
    assert "goes on" in row.message.text
    assert row.button.isEnabled()
    scan = Study.open(verified_study).result()
    self_test(scan).save(verified_study / "scan")
    review.reload()
    assert row.button.isHidden()
    assert row.message.level == "warning"
    for part in ("finds 0.90 (", "of planted copies", "of near-duplicates", "5% false calls"):
        assert part in row.message.text
    assert "Misses 50% of volumes changed by: flip" in row.message.text
    self_test(scan, detector_hash="another").save(verified_study / "scan")
    review.reload()
    assert "Measure again" in row.message.text
    assert not row.button.isHidden()
    (verified_study / "scan" / "selftest.json").write_text("half a fi")
    review.reload()
    assert "memscan selftest" in row.message.text
    assert row.message.level == "warning"
    review.set_study(None)
    assert row.message.text == ""


def self_test(scan, **changes) -> SelfTest:
    def kind(name, label, n, **verdicts):
        return PerturbationResult(
            name,
            label,
            n,
            n,
            n,
            n,
            dict.fromkeys(Verdict, 0) | {k.replace("_", "-"): v for k, v in verdicts.items()},
        )

    values = {
        "kinds": (
            kind("flip", "copy", 10, copy=5, novel=5),
            kind("identity", "copy", 40, copy=40),
            kind("elastic", "near-duplicate", 20, near_duplicate=19, undecided=1),
            kind("identity", "novel", 20, copy=1, novel=19),
        ),
        "level": 0.05,
        "k": 20,
        "n_training": scan.n_training,
        "n_null": scan.n_validation,
        "displacement_limit": 0.3,
        "novel_limit": 0.5,
        "embedder": scan.embedder,
        "search_hash": scan.calibration.search_hash,
        "detector_hash": scan.calibration.detector_hash,
        "seed": 1,
        "notes": ("Misses 50% of volumes changed by: flip.",),
    }
    return SelfTest(**values | changes)
