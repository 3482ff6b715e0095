"""Step 3 on real tiny studies; the panes are a mock that knows what panes can do."""

from unittest.mock import create_autospec

import pytest
from qtpy.QtCore import QObject, Qt, Signal

from napari_memscan import jobs
from napari_memscan.detection.planting.selftest import PerturbationResult, SelfTest
from napari_memscan.errors import BadInput, JobFailed
from napari_memscan.study import Study
from napari_memscan.typing import Verdict
from napari_memscan.widgets.review.controller import ReviewController
from napari_memscan.widgets.review.queue_text import format_lineage
from napari_memscan.widgets.review.view import ReviewView
from napari_memscan.widgets.viewing import ViewerController, ViewingBar

WAIT = 60_000


class Signals(QObject):
    """Those of panes, which a mock has not."""

    shown, failed, partly = Signal(str), Signal(str), Signal(str)


@pytest.fixture
def reading(qtbot):
    view = ReviewView()
    # The bar follows a real view; its own tests are elsewhere.
    view.bar = create_autospec(ViewingBar, instance=True)
    qtbot.addWidget(view)
    view.reader.setText("R. Reader")
    viewing = create_autospec(ViewerController, instance=True)
    viewing.position = {
        "layout": "grid",
        "plane": "Axial",
        "partner": 0,
        "voxel": [1, 2, 3],
        "mm": [0.6, 0, 1.2],
    }
    signals = Signals()
    for signal in ("shown", "failed", "partly"):
        setattr(viewing, signal, getattr(signals, signal))
    viewing.loading = False
    # Its volumes are there at once.
    viewing.show.side_effect = lambda case, *_: signals.shown.emit(case.key)
    controller = ReviewController(view, viewing)
    yield controller
    controller.set_study(None)


@pytest.fixture
def read_folder(reading, folder_study):
    reading.set_study(Study.open(folder_study))
    reading.start_reading()
    return reading


def shown(reading):
    """The volumes of the case last asked for."""
    return reading._screen._viewing.show.call_args.args[0].all


def decisions(study_folder) -> dict[str, str]:
    store = Study.open(study_folder).store()
    try:
        return {sample: d.decision for sample, d in store.current().items()}
    finally:
        store.close()


def test_reading_starts_with_the_most_similar_and_shows_its_neighbours(read_folder):
    view = read_folder._view
    assert view.queue.current == view.queue.samples[0] == "s000001"
    assert [item.verdict for item in read_folder.items.values()][:3] == ["copy", "copy", "novel"]
    titles = [pane.title for pane in shown(read_folder)]
    assert titles[0].startswith("Synthetic s000001: copy")
    assert titles[1].startswith("Training #1 similarity 1.0")
    assert len(titles) == 4
    view.k.setValue(1)
    assert len(shown(read_folder)) == 2
    assert "N_copies 2 of 6 = 33%" in view.summary.text()
    assert view.queue.progress.text() == "0 of 6 read"
    assert "T001.nii.gz" in view.detail.text()


def test_a_decision_is_on_disk_at_once_and_the_next_volume_follows(read_folder, folder_study):
    read_folder.act("copy")
    assert decisions(folder_study) == {"s000001": "copy"}
    assert read_folder._view.queue.current == "s000004"
    assert read_folder._view.queue.progress.text() == "1 of 6 read, less than 1 min left"
    read_folder.act("not a copy")
    read_folder.act("undo")
    assert decisions(folder_study) == {"s000001": "copy"}
    assert read_folder._view.queue.current == "s000004"
    read_folder.act("undo")
    assert decisions(folder_study) == {}
    assert read_folder._view.queue.current == "s000001"
    read_folder.act("undo")
    assert "Nothing to undo" in read_folder._view.message.text


def test_evidence_says_what_was_on_screen(read_folder, folder_study):
    read_folder._view.k.setValue(2)
    read_folder.act("unsure")
    store = Study.open(folder_study).store()
    (event,) = store.history()
    store.close()
    assert event.reader == "R. Reader"
    assert event.evidence["neighbours"][0]["file"] == "T001.nii.gz"
    assert len(event.evidence["neighbours"]) == 2
    assert (event.evidence["layout"], event.evidence["position"]) == ("grid", [0.6, 0, 1.2])
    assert event.evidence["view"]["plane"] == "Axial"
    study = Study.open(folder_study)
    (path,) = [study.sample_path(row) for row in study.samples() if row.sample == event.sample]
    assert event.evidence["sample_sha256"] == study.sha256(path)
    assert event.evidence["embedder_hash"] == study.result().embedder_hash
    assert event.evidence["threshold"] == pytest.approx(Study.open(folder_study).result().threshold)


def test_reading_goes_on_where_it_stopped_and_to_the_end(qtbot, read_folder, folder_study):
    read_folder.act("copy")
    read_folder.set_study(None)
    assert read_folder._view.queue.samples == []
    read_folder.set_study(Study.open(folder_study))
    read_folder.start_reading()
    assert read_folder._view.queue.current == "s000004"
    for _ in range(5):
        read_folder.act("not a copy")
    assert read_folder.progress == (6, 6)
    assert "All volumes are read" in read_folder._view.message.text


def test_next_and_previous_stop_at_the_ends(read_folder):
    samples = read_folder._view.queue.samples
    read_folder.act("previous")
    assert read_folder._view.queue.current == samples[0]
    for _ in range(9):
        read_folder.act("next")
    assert read_folder._view.queue.current == samples[-1]


def test_a_decision_that_cannot_be_written_is_said_and_nothing_moves(read_folder):
    store = create_autospec(read_folder.session.store, instance=True)
    store.record.side_effect = JobFailed("the disk is full")
    store.history.return_value = []
    read_folder.session.store = store
    read_folder.act("copy")
    assert "Not recorded. the disk is full" in read_folder._view.message.text
    assert read_folder._view.queue.current == "s000001"


def test_what_is_not_on_the_screen_is_not_decided(read_folder, folder_study):
    viewing, message = read_folder._screen._viewing, read_folder._view.message
    now = viewing.show.side_effect
    viewing.show.side_effect = None
    read_folder.act("next")
    for decision in ("copy", "not a copy", "unsure"):
        read_folder.act(decision)
        assert message.text == "Not recorded: the volumes are not shown yet."
        assert message.level == "warning"
    viewing.shown.emit("s000001")  # a late answer, of the one before
    read_folder.act("copy")
    assert decisions(folder_study) == {}
    assert read_folder._view.queue.current == "s000004"
    # Another layout of it is still to come.
    viewing.shown.emit("s000004")
    viewing.loading = True
    read_folder.act("copy")
    assert decisions(folder_study) == {}
    viewing.loading = False
    read_folder.act("copy")
    assert decisions(folder_study) == {"s000004": "copy"}
    # What cannot be shown can be left as unsure.
    viewing.failed.emit("T001.nii.gz: missing.")
    read_folder.act("not a copy")
    assert "decide Unsure" in message.text
    viewing.show.side_effect = now
    read_folder.act("unsure")
    assert sorted(decisions(folder_study).values()) == ["copy", "unsure"]
    read_folder.act("not a copy")
    assert len(decisions(folder_study)) == 3


def test_keys_do_nothing_before_reading_starts(reading, folder_study):
    reading.set_study(Study.open(folder_study))
    reading.act("copy")
    assert decisions(folder_study) == {}


def test_volumes_made_elsewhere_cannot_be_regenerated(read_folder):
    assert not read_folder._view.decision.buttons["regenerate"].isEnabled()
    assert read_folder._view.decision.buttons["copy"].isEnabled()


@pytest.fixture
def read_ldm(reading, ldm_study):
    reading.set_study(Study.open(ldm_study))
    reading.start_reading()
    return reading


def test_regenerate_shows_the_new_one_and_keeps_the_old(qtbot, read_ldm, ldm_study):
    view = read_ldm._view
    old = view.queue.current
    with qtbot.waitSignal(read_ldm.changed, timeout=WAIT):
        read_ldm.act("regenerate")
        assert not view.decision.buttons["regenerate"].isEnabled()
        assert not view.decision.stop_button.isHidden()
    assert view.queue.current == "s000003"
    assert shown(read_ldm)[0].title.startswith("Synthetic s000003")
    assert format_lineage(read_ldm.items[old]) == "replaced by s000003"
    assert format_lineage(read_ldm.items["s000003"]) == f"replaces {old}"
    assert f"s000003 replaces {old}" in view.message.text
    view.queue.select(old)
    assert not view.decision.buttons["regenerate"].isEnabled()
    assert Study.open(ldm_study).lineage() == {"s000003": old}


def test_why_a_volume_was_drawn_without_guidance_is_said(qtbot, read_ldm, monkeypatch):
    def refuse(*_):
        raise BadInput("latents are padded. State it with --set NAME=VALUE.")

    monkeypatch.setattr("napari_memscan.generators.ldm.LDMGenerator.check_guidance", refuse)
    with qtbot.waitSignal(read_ldm.changed, timeout=WAIT):
        read_ldm.act("regenerate")
    message = read_ldm._view.message
    assert message.text.endswith(
        "is kept. Without guidance: latents are padded. State it below as NAME=VALUE."
    )
    assert message.level == "warning"


def test_a_late_regeneration_leaves_the_reader_where_they_are(qtbot, read_ldm):
    old = read_ldm._view.queue.current
    with qtbot.waitSignal(read_ldm.changed, timeout=WAIT):
        read_ldm.act("regenerate")
        read_ldm.act("next")
        moved = read_ldm._view.queue.current
    assert moved != old
    assert read_ldm._view.queue.current == moved
    assert shown(read_ldm)[0].title.startswith(f"Synthetic {moved}")
    assert f"s000003 replaces {old}" in read_ldm._view.message.text


def test_a_regeneration_of_another_study_is_not_shown(qtbot, read_ldm, folder_study):
    read_ldm.act("regenerate")
    read_ldm.set_study(Study.open(folder_study))
    qtbot.waitUntil(lambda: not read_ldm.busy, timeout=WAIT)
    assert len(read_ldm.items) == 6
    assert "replaces" not in read_ldm._view.message.text


def test_a_damaged_scan_is_said_in_words(reading, folder_study):
    (folder_study / "scan" / "verdicts.parquet").write_bytes(b"half a file")
    reading.set_study(Study.open(folder_study))
    assert reading._view.message.level == "error"
    assert "Scan again" in reading._view.message.text
    assert not reading.ready
    jobs.run_job(jobs.scan_study(Study.open(folder_study)))
    reading.reload()
    assert reading.ready


def test_a_study_that_was_moved_asks_for_a_scan(reading, ldm_study, tmp_path):
    moved = ldm_study.rename(tmp_path / "elsewhere")
    reading.set_study(Study.open(moved))
    if not reading.ready:
        assert "Scan again" in reading._view.message.text
        jobs.run_job(jobs.scan_study(Study.open(moved)))
        reading.reload()
    assert len(reading.items) == 3


@pytest.fixture
def read_verified(reading, verified_study):
    reading.set_study(Study.open(verified_study))
    reading.start_reading()
    return reading


def test_a_verified_scan_is_read_by_its_scores(read_verified, verified_study):
    view, result = read_verified._view, Study.open(verified_study).result()
    assert result.measure == "score"
    values = [item.value for item in read_verified.items.values()]
    assert values == sorted((s.score for s in result.samples), reverse=True)
    assert view.queue.model.headerData(1, Qt.Orientation.Horizontal) == "Score"
    assert set(view.queue.samples[:2]) == {"s000001", "s000004"}
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
    assert shown(read_verified)[1].title == (
        f"Training #1 score {near.score:.3f}, p = {first.p_value:.2g}, "
        f"similarity {near.similarity:.{result.digits - 1}f}, {first.verdict}"
    )
    assert shown(read_verified)[1].transform == near.transform
    read_verified.act("copy")
    store = Study.open(verified_study).store()
    (event,) = store.history()
    store.close()
    assert event.evidence["score"] == pytest.approx(first.score)
    assert event.evidence["measure"] == "score"
    assert event.evidence["neighbours"][0]["score"] == pytest.approx(near.score)


def test_the_detector_is_measured_by_a_button_and_shown(qtbot, read_verified, verified_study):
    row = read_verified._view.selftest
    assert "none yet" in row.message.text
    assert not row.button.isHidden()
    row.button.click()
    assert not row.button.isEnabled()
    assert not row.stop_button.isHidden()
    row.stop_button.click()
    qtbot.waitUntil(lambda: not read_verified.busy, timeout=WAIT)
    assert "goes on" in row.message.text
    assert row.button.isEnabled()
    scan = Study.open(verified_study).result()
    self_test(scan).save(verified_study / "scan")
    read_verified.reload()
    assert row.button.isHidden()
    assert row.message.level == "warning"
    for part in ("finds 0.90 (", "of planted copies", "of near-duplicates", "5% false calls"):
        assert part in row.message.text
    assert "Misses 50% of volumes changed by: flip" in row.message.text
    self_test(scan, detector_hash="another").save(verified_study / "scan")
    read_verified.reload()
    assert "Measure again" in row.message.text
    assert not row.button.isHidden()
    (verified_study / "scan" / "selftest.json").write_text("half a fi")
    read_verified.reload()
    assert "memscan selftest" in row.message.text
    assert row.message.level == "warning"
    read_verified.set_study(None)
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
