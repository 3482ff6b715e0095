"""Step 4 on real tiny studies: what would be released, the policy, the report, the release."""

import shutil

import pytest
from qtpy.QtGui import QDesktopServices

from napari_memscan import jobs
from napari_memscan.report.verification import verify_release
from napari_memscan.study import Study
from napari_memscan.widgets.release import ReleaseController, ReleaseView

WAIT = 120_000


class Step:
    """The step with its controller, and the hands of somebody who releases."""

    def __init__(self, qtbot) -> None:
        self.qtbot = qtbot
        self.view = ReleaseView()
        qtbot.addWidget(self.view)
        self.view.resize(380, 900)
        self.view.show()
        self.controller = ReleaseController(self.view)

    def settle(self) -> None:
        done = lambda: not (self.controller.busy or self.controller.counting)  # noqa: E731
        self.qtbot.waitUntil(done, timeout=WAIT)

    def open(self, folder) -> Study:
        study = Study.open(folder)
        self.controller.set_study(study)
        self.controller.look()
        self.settle()
        return study

    def choose(self, licence="CC-BY-4.0", folder="out") -> None:
        """As somebody types, and leaves the fields."""
        for edit, text in (
            (self.view.policy.licence.lineEdit(), licence),
            (self.view.folder.edit, folder),
        ):
            edit.setText(text)
            edit.editingFinished.emit()
        self.settle()

    def press(self, button) -> None:
        assert button.isEnabled(), button.text()
        button.click()
        self.settle()


@pytest.fixture
def step(qtbot):
    step = Step(qtbot)
    yield step
    step.controller.set_study(None)
    step.settle()


def read(folder, **said):
    study = Study.open(folder)
    store = study.store()
    rows = {row.sample: row for row in study.samples()}
    for stem, decision in said.items():
        row = rows[f"{stem}.nii.gz"]
        store.record(row.sample, decision, "R. Reader", evidence=study.hashes(row))
    store.close()


@pytest.fixture
def read_study(folder_study):
    read(folder_study, made1="copy", made4="not a copy")
    return folder_study


def test_without_a_study_nothing_can_be_done(step):
    assert not step.view.release_button.isEnabled()
    assert not step.view.verify_button.isEnabled()
    assert step.view.why_not.text() == "Open a study first."


def test_what_is_unread_stops_it_and_can_be_shown(step, folder_study):
    step.open(folder_study)
    summary, asked = step.view.summary, []
    assert "Pass: 4 of 6 volumes (the program says novel: 4)" in summary.passing.text
    assert summary.unread.text.startswith("Unread: 2")
    assert "no self-test" in summary.warnings.text.lower()
    assert not step.view.release_button.isEnabled()
    assert step.controller.next_step == "Show unread, and decide"
    step.controller.unread_requested.connect(asked.append)
    step.press(summary.unread_button)
    assert asked == [("made1.nii.gz", "made4.nii.gz")]

    read(folder_study, made1="copy", made4="not a copy")
    step.controller.look()
    step.settle()
    assert summary.unread.isHidden()
    assert "Pass: 5 of 6" in summary.passing.text
    assert "Rejected: 1 (a reader decided copy: 1)" in summary.rejected.text
    assert step.controller.next_step == "choose a licence"


def test_the_policy_is_kept_and_counts_at_once(step, read_study):
    study = step.open(read_study)
    policy = step.view.policy
    policy.readers.setCurrentIndex(policy.readers.findData("all"))
    policy.readers.activated.emit(policy.readers.currentIndex())
    step.settle()
    assert step.view.summary.unread.text.startswith("Unread: 4")
    assert not policy.rule["novel"].isEnabled()
    policy.readers.setCurrentIndex(policy.readers.findData("called"))
    policy.readers.activated.emit(policy.readers.currentIndex())
    step.settle()
    policy.rule["undecided"].click()
    policy.rule["novel"].click()
    step.settle()
    assert step.view.summary.unread.text.startswith("Unread: 4")
    policy.dicom.click()
    step.choose()
    kept = Study.open(read_study).config.release
    assert (kept.readers, kept.rule, kept.license) == ("called", ("undecided",), "CC-BY-4.0")
    assert kept.dicom
    # Another window, and what was not asked for stays.
    assert study.config.release == kept
    assert policy.licence.currentText() == "CC-BY-4.0"


def test_a_release_is_written_verified_and_found_out_when_it_is_changed(step, read_study):
    step.open(read_study)
    step.choose(folder="knees")
    out = read_study.parent / "knees"
    assert step.view.why_not.isHidden()
    assert step.controller.next_step == "Release"
    step.press(step.view.release_button)
    message = step.view.message
    assert message.level == "ok", message.text
    assert str(out) in message.text
    assert "open questions" in message.text
    assert f"{read_study}/study.toml" in message.text
    found = verify_release(out)
    assert found.intact
    assert step.view.noted == found.fingerprint
    assert step.controller.released
    assert step.controller.next_step.startswith("note the fingerprint")

    step.press(step.view.verify_button)
    assert message.level == "ok"
    assert "Intact" in message.text
    assert "the fingerprint is the one above" in message.text
    # A fingerprint that nobody noted, and one that is no fingerprint.
    step.view.fingerprint.setPlainText("0" * 64)
    step.press(step.view.verify_button)
    assert message.level == "error"
    assert message.text.startswith("Broken.")
    step.view.fingerprint.setPlainText("knees")
    step.press(step.view.verify_button)
    assert "fingerprint 'knees'" in message.text
    step.view.fingerprint.clear()
    (out / "volume-0002.nii.gz").unlink()
    step.press(step.view.verify_button)
    assert message.level == "error"
    assert "volume-0002.nii.gz" in message.text
    # Reading on makes another release of it.
    read(read_study, made4="unsure")
    step.controller.look()
    step.settle()
    assert not step.controller.released


def test_a_folder_with_something_else_is_left_alone(step, read_study):
    step.open(read_study)
    out = read_study.parent / "mine"
    out.mkdir()
    (out / "letter.txt").write_text("keep me")
    step.choose(folder=str(out))
    step.press(step.view.release_button)
    assert step.view.message.level == "error"
    assert str(out) in step.view.message.text
    assert [path.name for path in out.iterdir()] == ["letter.txt"]
    # The next choice is another question: what was said of the last one is gone.
    step.choose(folder="new")
    assert step.view.message.text == ""
    step.press(step.view.release_button)
    assert step.view.message.level == "ok", step.view.message.text


def test_stop_leaves_nothing(step, read_study, qtbot):
    step.open(read_study)
    step.choose(folder="half")
    step.view.release_button.click()
    assert step.controller.busy
    assert step.controller.next_step == "wait, or Stop"
    assert not step.view.policy.isEnabled()
    step.view.stop_button.click()
    step.settle()
    assert step.view.message.text == "Stopped. Nothing was released."
    assert not list(read_study.parent.glob("*half*"))
    assert step.view.policy.isEnabled()
    assert step.view.bar.isHidden()
    step.press(step.view.release_button)
    assert verify_release(read_study.parent / "half").intact


def test_the_report_is_written_and_opened(step, read_study, monkeypatch):
    step.open(read_study)
    assert not step.view.open_buttons["page"].isEnabled()
    step.press(step.view.report_button)
    message = step.view.report_message
    assert message.level == "ok", message.text
    assert "treat it like the images" in message.text
    page = read_study / "report" / "index.html"
    assert page.exists()
    opened = []
    monkeypatch.setattr(
        QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()) or False
    )
    step.press(step.view.open_buttons["page"])
    assert opened == [str(page)]
    assert f"No program here opens {page}" in step.view.message.text


def test_what_stops_it_is_said_in_steps_of_the_window(step, read_study, make_study, tmp_path):
    study = Study.open(read_study)
    made = study.sample_path(study.samples()[0])
    before = made.read_bytes()
    made.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    step.open(read_study)
    stopped = step.view.summary.stopped
    assert stopped.level == "error"
    assert stopped.text.endswith("Scan in step 2.")
    assert step.view.why_not.text() == "Mend first what stands at the top."
    assert step.controller.next_step == "mend what stops a release"
    made.write_bytes(before)
    step.controller.look()
    step.settle()
    assert stopped.isHidden()
    # Fewer pass than are wanted.
    study = step.open(read_study)
    study.update(release=study.config.release.model_dump() | {"n": 50})
    step.controller.look()
    step.settle()
    assert "50 are wanted" in stopped.text
    # A study that was never scanned.
    step.open(make_study(tmp_path / "new").folder)
    assert stopped.text.endswith("Scan in step 2.")


def test_an_answer_to_an_older_question_is_dropped(step, read_study, tmp_path):
    other = shutil.copytree(read_study, tmp_path / "other")
    jobs.run_job(jobs.scan_study(Study.open(other)))
    read(other, made1="not a copy")
    step.controller.set_study(Study.open(read_study))
    step.controller.look()
    step.controller.set_study(Study.open(other))
    step.controller.look()
    step.settle()
    assert "Pass: 6 of 6" in step.view.summary.passing.text


def test_a_wheel_over_the_policy_changes_nothing(step, read_study, qtbot):
    from qtpy.QtCore import QPoint, QPointF, Qt
    from qtpy.QtGui import QWheelEvent

    step.open(read_study)
    box = step.view.policy.readers
    before = box.currentIndex()
    event = QWheelEvent(
        QPointF(5, 5),
        QPointF(5, 5),
        QPoint(0, -120),
        QPoint(0, -120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    box.wheelEvent(event)
    assert box.currentIndex() == before
