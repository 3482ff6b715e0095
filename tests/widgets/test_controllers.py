"""Steps 1 and 2 on real tiny studies, without a napari window."""

from pathlib import Path

import pytest
from qtpy.QtCore import QEvent, QObject, QPoint, Qt, QTimer, Signal
from qtpy.QtWidgets import QApplication

from napari_memscan.study import Study
from napari_memscan.widgets.generate.controller import GenerateController
from napari_memscan.widgets.generate.view import GenerateView
from napari_memscan.widgets.study.controller import StudyController
from napari_memscan.widgets.study.trust_dialog import TrustDialog
from napari_memscan.widgets.study.view import StudyView

WAIT = 60_000


class Sayings(QObject):
    """All that a message says from now on, one after the other."""

    heard = Signal(str)

    def __init__(self, message) -> None:
        super().__init__(message)
        self.texts: list[str] = []
        message.installEventFilter(self)

    def eventFilter(self, message, event):  # noqa: N802 (Qt's name)
        if event.type() == QEvent.Type.ToolTipChange and message.text:
            self.texts.append(message.text)
            self.heard.emit(message.text)
        return False


@pytest.fixture
def form(qtbot):
    view = StudyView()
    qtbot.addWidget(view)
    return view


@pytest.fixture
def studies(form, ldm_study):
    return StudyController(form, lambda: Study.open(ldm_study), form)


def choose(qtbot, studies, field: str, value) -> None:
    studies.parent().rows[field].choose(str(value))
    qtbot.waitUntil(lambda: not studies.busy, timeout=WAIT)


def test_a_study_is_made_of_choices(qtbot, studies, form, parts, tmp_path):
    assert not form.confirm_button.isEnabled()
    assert "generator" in form.confirm_button.toolTip()
    choose(qtbot, studies, "folder", tmp_path / "audit")
    choose(qtbot, studies, "cohort", parts / "cohort")
    choose(qtbot, studies, "generator", parts / "ldm")
    assert form.rows["generator"].feedback.text.startswith("3D LDM")
    assert form.confirm_button.isEnabled()
    with qtbot.waitSignal(studies.opened, timeout=WAIT):
        form.confirm_button.click()
    assert Study.open(tmp_path / "audit").config.generator.kind == "ldm"
    assert form.rows["cohort"].edit.isReadOnly()
    assert form.message.level == "ok"


def test_a_wrong_choice_is_an_error_that_stays_and_blocks(qtbot, studies, form, parts, tmp_path):
    choose(qtbot, studies, "folder", tmp_path / "audit")
    choose(qtbot, studies, "cohort", parts / "cohort")
    choose(qtbot, studies, "generator", parts / "cohort" / "nothing")
    assert form.rows["generator"].feedback.level == "error"
    assert not form.confirm_button.isEnabled()
    choose(qtbot, studies, "generator", parts / "made")
    assert form.rows["generator"].feedback.level == "ok"
    assert form.confirm_button.isEnabled()


def test_of_two_choices_in_a_row_the_last_is_told(qtbot, studies, form, parts):
    form.rows["generator"].choose(str(parts / "ldm"))
    form.rows["generator"].choose(str(parts / "made"))
    qtbot.waitUntil(lambda: not studies.busy, timeout=WAIT)
    assert form.rows["generator"].feedback.text.startswith("6 synthetic volumes")


def test_what_is_no_study_is_said_in_words(qtbot, studies, form, tmp_path):
    studies.open(tmp_path)
    qtbot.waitUntil(lambda: not studies.busy, timeout=WAIT)
    assert form.message.level == "error"
    assert "study.toml" in form.message.text
    assert "Traceback" not in form.message.text
    assert form.open_button.isEnabled()


def test_a_study_of_a_newer_format_is_refused(qtbot, studies, form, ldm_study):
    file = ldm_study / "study.toml"
    file.write_text(file.read_text().replace("format = 1", "format = 99"))
    studies.open(ldm_study)
    qtbot.waitUntil(lambda: not studies.busy, timeout=WAIT)
    assert "newer memscan" in form.message.text


def test_a_study_that_declares_nonsense_is_said_in_words(qtbot, studies, form, ldm_study):
    file = ldm_study / "study.toml"
    file.write_text(file.read_text() + "\n[embedder_declared]\nnonsense = 1\n")
    studies.open(ldm_study)
    qtbot.waitUntil(lambda: not studies.busy, timeout=WAIT)
    assert form.message.level == "error"
    assert "study.toml: " in form.message.text
    assert "nonsense" in form.message.text
    assert studies.study is None


def test_an_open_study_takes_another_generator(qtbot, studies, form, parts, ldm_study):
    with qtbot.waitSignal(studies.opened, timeout=WAIT):
        studies.open(ldm_study)
    qtbot.waitUntil(lambda: not studies.busy, timeout=WAIT)
    assert not form.confirm_button.isEnabled()
    choose(qtbot, studies, "generator", parts / "made")
    with qtbot.waitSignal(studies.changed, timeout=WAIT):
        form.confirm_button.click()
    assert Study.open(ldm_study).config.generator.kind == "folder"
    assert "Scan again" in form.message.text
    with qtbot.waitSignal(studies.closed, timeout=WAIT):
        form.new_button.click()
    assert studies.study is None


def filled(qtbot, studies, parts, folder, generator) -> None:
    choose(qtbot, studies, "folder", folder)
    choose(qtbot, studies, "cohort", parts / "cohort")
    choose(qtbot, studies, "generator", generator)


def state(qtbot, studies, field: str, text: str) -> None:
    studies.parent().models[field].state(text)
    qtbot.waitUntil(lambda: not studies.busy, timeout=WAIT)


def test_what_is_missing_is_typed_and_the_scale_factor_estimated(
    qtbot, studies, form, parts, bundles, tmp_path
):
    filled(qtbot, studies, parts, tmp_path / "audit", bundles / "bare")
    row = form.models["generator"]
    assert row.feedback.level == "missing"
    assert not row.statement.isHidden()
    assert not form.confirm_button.isEnabled()
    assert form.why_not.text() == "Still to state about the generator: latent_shape"
    # Half of it: an error in words, while the window waits for the rest.
    state(qtbot, studies, "generator", "latent_shape=2,8")
    assert row.feedback.level == "error"
    assert not form.confirm_button.isEnabled()
    rest = "axes=RAS; spacing=0.6,0.6,0.6\nintensity=window:-300:900; decoded_range=0,1"
    state(qtbot, studies, "generator", f"latent_shape=2,8,8,8; {rest}")
    assert "estimated from the training volumes" in row.feedback.text
    assert form.confirm_button.isEnabled()

    seen = Sayings(form.message)
    with qtbot.waitSignal(studies.opened, timeout=WAIT):
        form.confirm_button.click()
        assert not form.stop_button.isHidden()
        assert not form.confirm_button.isEnabled()
    assert "Encoding training volumes: 3 of 8 …" in seen.texts
    assert form.stop_button.isHidden()
    qtbot.waitUntil(lambda: not studies.busy, timeout=WAIT)

    declared = Study.open(tmp_path / "audit").config.generator.declared
    assert declared["scale_factor"] > 0
    assert declared["scale_factor_from"].startswith("estimated: 1/std of the latents of 8")
    text = (tmp_path / "audit" / "study.toml").read_text()
    assert "scale_factor_from" in text
    # The open study shows it, and has nothing to keep.
    assert "(estimated: 1/std of the latents of 8 training volumes)" in row.feedback.text
    assert row.statement_text.startswith("latent_shape=2,8,8,8; ")
    assert "scale_factor" not in row.statement_text
    assert not form.confirm_button.isEnabled()


def test_making_a_study_is_stopped_and_nothing_is_written(
    qtbot, studies, form, parts, bundles, tmp_path
):
    filled(qtbot, studies, parts, tmp_path / "audit", bundles / "unscaled")
    said = Sayings(form.message)
    said.heard.connect(lambda text: form.stop_button.click() if "Encoding" in text else None)
    form.confirm_button.click()
    qtbot.waitUntil(lambda: not studies.busy, timeout=WAIT)
    assert form.message.text == "Stopped. Nothing was written."
    assert not (tmp_path / "audit").exists()
    assert form.confirm_button.isEnabled()


def test_an_open_study_gets_an_unscaled_model(qtbot, studies, form, bundles, ldm_study):
    with qtbot.waitSignal(studies.opened, timeout=WAIT):
        studies.open(ldm_study)
    qtbot.waitUntil(lambda: not studies.busy, timeout=WAIT)
    choose(qtbot, studies, "generator", bundles / "unscaled")
    state(qtbot, studies, "generator", "decoded_range=0,1")
    assert form.confirm_button.isEnabled(), form.why_not.text()
    form.confirm_button.click()
    qtbot.waitUntil(lambda: not studies.busy, timeout=WAIT)
    assert form.message.level == "error"  # it was trained on other intensities than the study's
    assert "State it below as intensity=window" in form.message.text
    state(qtbot, studies, "generator", "decoded_range=0,1; intensity=window:-300:900")
    choose(qtbot, studies, "embedder", bundles / "unscaled")
    assert form.confirm_button.isEnabled(), form.why_not.text()
    with qtbot.waitSignal(studies.changed, timeout=WAIT):
        form.confirm_button.click()
    qtbot.waitUntil(lambda: not studies.busy, timeout=WAIT)
    study = Study.open(ldm_study)
    assert study.config.generator.declared["decoded_range"] == [0.0, 1.0]
    assert "estimated" in study.config.generator.declared["scale_factor_from"]
    assert study.config.embedder == str(bundles / "unscaled")
    assert study.config.embedder_declared == {}  # its latents need no scale factor
    assert study.embedder().name == "autoencoder of the LDM"
    assert not form.confirm_button.isEnabled()


def test_what_the_test_of_a_model_says_is_under_the_model(
    qtbot, studies, form, parts, bundles, tmp_path
):
    filled(qtbot, studies, parts, tmp_path / "audit", bundles / "unscaled")
    state(qtbot, studies, "generator", "scale_factor=77; decoded_range=0,1")
    with qtbot.waitSignal(studies.opened, timeout=WAIT):
        form.confirm_button.click()
    qtbot.waitUntil(lambda: not studies.busy, timeout=WAIT)
    told = form.rows["generator"].feedback
    assert told.level == "warning"
    assert "⚠ scale factor: the model's is 77, but" in told.text
    assert "--set" not in told.text
    assert "scale factor" not in form.rows["cohort"].feedback.text
    assert any(
        w.startswith("scale factor:") for w in Study.open(tmp_path / "audit").cohort.warnings
    )
    # Another generator takes them away.
    choose(qtbot, studies, "generator", parts / "made")
    with qtbot.waitSignal(studies.changed, timeout=WAIT):
        form.confirm_button.click()
    for study in (studies.study, Study.open(tmp_path / "audit")):
        assert not any(w.startswith("scale factor:") for w in study.cohort.warnings)


def test_a_hostile_file_is_a_message_and_the_window_lives(qtbot, studies, form, parts, bomb):
    choose(qtbot, studies, "generator", bomb)
    told = form.rows["generator"].feedback
    assert told.level == "error"
    assert "system" in told.text
    assert "Traceback" not in told.text
    assert form.models["generator"].trust_button.isHidden()
    assert not (bomb.parent / "ran").exists()
    choose(qtbot, studies, "generator", parts / "ldm")
    assert told.level == "ok"


PLUG_IN = """
from pathlib import Path
import torch
Path(__file__).with_name("ran").touch()


class Model:
    input_shape = (16, 16, 16)
    dim = 8

    def embed(self, batch):
        return torch.nn.functional.adaptive_avg_pool3d(batch, 2).flatten(1)


def make():
    return Model()
"""


@pytest.fixture
def plug_in(tmp_path) -> Path:
    """An embedder of somebody's own code, which leaves ``ran`` beside it when it is run."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "own.py").write_text(PLUG_IN)
    return folder / "own.py"


def answer(qtbot, yes: bool) -> list[str]:
    """Answer the next dialogs about trust; the list tells which paths they were about."""
    asked = []

    def look() -> None:
        dialog = QApplication.activeModalWidget()
        if not isinstance(dialog, TrustDialog):
            return
        asked.append(dialog.path)
        assert not dialog.run_button.isEnabled()
        if yes:
            qtbot.mouseClick(dialog.tick, Qt.MouseButton.LeftButton, pos=QPoint(8, 8))
            qtbot.mouseClick(dialog.run_button, Qt.MouseButton.LeftButton)
        else:
            qtbot.keyClick(dialog, Qt.Key.Key_Return)

    timer = QTimer(QApplication.instance())
    timer.timeout.connect(look)
    timer.start(20)
    asked_by.append(timer)
    return asked


asked_by: list[QTimer] = []


@pytest.fixture(autouse=True)
def no_timers():
    yield
    while asked_by:
        asked_by.pop().stop()


def test_code_is_run_only_after_the_dialog(qtbot, studies, form, parts, plug_in, tmp_path):
    spec = f"{plug_in}:make"
    filled(qtbot, studies, parts, tmp_path / "audit", parts / "made")
    choose(qtbot, studies, "embedder", spec)
    row = form.models["embedder"]
    assert row.feedback.level == "error"
    assert not row.trust_button.isHidden()
    asked = answer(qtbot, yes=False)
    row.trust_button.click()
    qtbot.waitUntil(lambda: not studies.busy, timeout=WAIT)
    assert asked == [spec]
    assert row.feedback.level == "error"
    assert not form.confirm_button.isEnabled()
    no_more()

    asked = answer(qtbot, yes=True)
    row.trust_button.click()
    qtbot.waitUntil(lambda: not studies.busy, timeout=WAIT)
    assert asked == [spec]
    assert "Trusted: its own code runs" in row.feedback.text
    assert form.confirm_button.isEnabled()
    # Away and back: it must be said again.
    choose(qtbot, studies, "embedder", "")
    choose(qtbot, studies, "embedder", spec)
    assert row.feedback.level == "error"
    row.trust_button.click()
    qtbot.waitUntil(lambda: not studies.busy, timeout=WAIT)
    assert asked == [spec, spec]
    assert not plug_in.with_name("ran").exists()

    with qtbot.waitSignal(studies.opened, timeout=WAIT):
        form.confirm_button.click()
    qtbot.waitUntil(lambda: not studies.busy, timeout=WAIT)
    assert plug_in.with_name("ran").exists()
    config = Study.open(tmp_path / "audit").config
    # Beside the study: named from there, so that both can be moved.
    assert (config.embedder, config.embedder_trust) == ("../own/own.py:make", True)
    assert not form.confirm_button.isEnabled()


def no_more() -> None:
    asked_by.pop().stop()


def test_a_study_that_trusts_asks_once_before_its_code_runs(qtbot, maker, folder_study, plug_in):
    study = Study.open(folder_study)
    study.update(embedder=f"{plug_in}:make", embedder_trust=True)
    study = Study.open(folder_study)
    maker.set_study(study)
    asked = answer(qtbot, yes=False)
    maker.view.start_button.click()
    assert not maker.busy
    assert maker.view.message.level == "warning"
    assert "Not run" in maker.view.message.text
    assert not plug_in.with_name("ran").exists()
    assert asked == [f"{plug_in}:make"]
    no_more()
    asked = answer(qtbot, yes=True)
    for _ in range(2):
        with qtbot.waitSignal(maker.changed, timeout=WAIT):
            maker.view.start_button.click()
        assert maker.view.message.level == "ok", maker.view.message.text
    assert asked == [f"{plug_in}:make"]
    assert plug_in.with_name("ran").exists()


@pytest.fixture
def maker(qtbot):
    view = GenerateView()
    qtbot.addWidget(view)
    controller = GenerateController(view)
    controller.view = view
    return controller


def test_generate_and_scan_with_progress(qtbot, maker, fresh_study):
    view = maker.view
    maker.set_study(fresh_study)
    view.n.setValue(2)
    view.steps.setValue(2)
    steps, volumes = [], []
    view.step_bar.valueChanged.connect(steps.append)
    view.volume_bar.valueChanged.connect(volumes.append)
    with qtbot.waitSignal(maker.changed, timeout=WAIT):
        view.start_button.click()
        assert view.stop_button.isEnabled()
    assert view.message.level == "ok", view.message.text
    assert len(fresh_study.samples()) == 2
    assert fresh_study.result().n_synthetic == 2
    assert fresh_study.samples()[0].steps == "2"
    assert 2 in steps
    assert {1, 2} <= set(volumes)
    assert "2 volumes" in view.about.text()


def test_stop_ends_within_a_step_and_the_study_is_free_again(qtbot, maker, fresh_study):
    maker.set_study(fresh_study)
    maker.view.n.setValue(1000)
    maker.view.step_bar.valueChanged.connect(maker.view.stop_button.click)
    with qtbot.waitSignal(maker.changed, timeout=WAIT):
        maker.view.start_button.click()
    assert maker.view.message.level == "warning"
    assert len(fresh_study.samples()) < 1000
    with fresh_study.lock("be free"):
        pass


def test_two_windows_on_one_study_is_said_in_words(qtbot, maker, fresh_study):
    maker.set_study(fresh_study)
    with (
        Study.open(fresh_study.folder).lock("generate"),
        qtbot.waitSignal(maker.changed, timeout=WAIT),
    ):
        maker.start()
    assert maker.view.message.level == "error"
    assert "another memscan is working on this study" in maker.view.message.text


def test_volumes_made_elsewhere_are_only_scanned(qtbot, maker, folder_study):
    maker.set_study(Study.open(folder_study))
    assert not maker.view.n.isVisibleTo(maker.view)
    with qtbot.waitSignal(maker.changed, timeout=WAIT):
        maker.view.start_button.click()
    assert "Scanned 6 volumes: 2 copies, 0 undecided" in maker.view.message.text
