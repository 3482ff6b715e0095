"""Two readers in the window: what is said of them, and the files that are written."""

from __future__ import annotations

import json

import pytest
from qtpy.QtWidgets import QFileDialog

from napari_memscan.study import Study
from napari_memscan.widgets.readers import ReadersController, ReadersView

WAIT = 30_000
SAID = {"made0.nii.gz": "copy", "made1.nii.gz": "not a copy", "made2.nii.gz": "copy"}


@pytest.fixture
def read(folder_study):
    """A study that Ann and Ben read; they differ on the last volume."""
    study = Study.open(folder_study)
    store = study.store()
    for reader in ("Ann", "Ben"):
        for sample, decision in SAID.items():
            differs = reader == "Ben" and sample == "made2.nii.gz"
            store.record(sample, "unsure" if differs else decision, reader)
    store.close()
    return study


@pytest.fixture
def room(qtbot, read):
    view = ReadersView()
    qtbot.addWidget(view)
    controller = ReadersController(view)
    controller.set_study(read)
    assert not controller.busy  # nobody looks
    view.show()
    qtbot.waitUntil(lambda: bool(view.text.toPlainText()), timeout=WAIT)
    return view, controller


def test_findings_are_read_and_saved_without_a_terminal(qtbot, room, tmp_path, monkeypatch):
    view, controller = room
    text = view.text.toPlainText()
    assert "Ann: 3 open" in text
    assert "Cohen" in text
    controller.save("imrmc", str(tmp_path / "imrmc"))
    assert view.message.level == "error"
    assert view.message.text.endswith("Choose another truth below.")
    table = tmp_path / "truth.csv"
    table.write_text("sample,truth\nmade0.nii.gz,copy\nmade1.nii.gz,not a copy\n")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(table), ""))
    view.truth.setCurrentIndex(2)
    view.truth.activated.emit(2)
    qtbot.waitUntil(lambda: "sensitivity 1.000" in view.text.toPlainText(), timeout=WAIT)
    for kind, button in view.buttons.items():
        path = str(tmp_path / kind)
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, p=path: (p, ""))
        button.click()
        assert view.message.level == "ok"
    assert len((tmp_path / "csv").read_text().splitlines()) == 7
    assert json.loads((tmp_path / "json").read_text())["findings"]["agreement"]
    assert "Truth from" in view.message.text
    view.anonymous.click()
    qtbot.waitUntil(lambda: "R1: 3 open" in view.text.toPlainText(), timeout=WAIT)
    assert "Ann" not in view.text.toPlainText()
    controller.save("csv", str(tmp_path / "csv"))
    assert "Ann" not in (tmp_path / "csv").read_text()


def test_a_file_that_cannot_be_written_is_said(room, tmp_path):
    view, controller = room
    (tmp_path / "file").write_text("")
    controller.save("csv", str(tmp_path / "file" / "events.csv"))
    assert view.message.level == "error"
    assert view.message.text.startswith("Not saved.")


def test_another_study_and_none_forget_what_was_found(qtbot, room):
    view, controller = room
    controller.set_study(None)
    assert view.text.toPlainText() == ""
    assert not any(button.isEnabled() for button in view.buttons.values())
