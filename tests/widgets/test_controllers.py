"""Steps 1 and 2 on real tiny studies, without a napari window."""

import pytest

from napari_memscan.study import Study
from napari_memscan.widgets.generate_controller import GenerateController
from napari_memscan.widgets.generate_view import GenerateView
from napari_memscan.widgets.study_controller import StudyController
from napari_memscan.widgets.study_view import StudyView

WAIT = 60_000


@pytest.fixture
def form(qtbot):
    view = StudyView()
    qtbot.addWidget(view)
    return view


@pytest.fixture
def studies(form, ldm_study):
    return StudyController(form, lambda: Study.open(ldm_study))


def choose(qtbot, studies, field: str, value) -> None:
    studies._view.rows[field].choose(str(value))
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


@pytest.fixture
def maker(qtbot):
    view = GenerateView()
    qtbot.addWidget(view)
    return GenerateController(view)


def test_generate_and_scan_with_progress(qtbot, maker, fresh_study):
    view = maker._view
    maker.set_study(fresh_study)
    view.n.setValue(2)
    view.steps.setValue(2)
    steps = []
    maker._runner.progressed.connect(lambda news: steps.append(news))
    with qtbot.waitSignal(maker.changed, timeout=WAIT):
        view.start_button.click()
        assert view.stop_button.isEnabled()
    assert view.message.level == "ok", view.message.text
    assert len(fresh_study.samples()) == 2
    assert fresh_study.result().n_synthetic == 2
    assert fresh_study.samples()[0].steps == "2"
    assert {type(news).__name__ for news in steps} == {"Step", "Progress"}
    assert "2 volumes" in view.about.text()


def test_stop_ends_within_a_step_and_the_study_is_free_again(qtbot, maker, fresh_study):
    maker.set_study(fresh_study)
    maker._view.n.setValue(1000)
    seen = []

    def stop_once(news):
        if not seen:
            maker.stop()
        seen.append(news)

    maker._runner.progressed.connect(stop_once)
    with qtbot.waitSignal(maker.changed, timeout=WAIT):
        maker.start()
    assert maker._view.message.level == "warning"
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
    assert maker._view.message.level == "error"
    assert "another memscan is working on this study" in maker._view.message.text


def test_volumes_made_elsewhere_are_only_scanned(qtbot, maker, folder_study):
    maker.set_study(Study.open(folder_study))
    assert maker._view._form.isHidden()
    with qtbot.waitSignal(maker.changed, timeout=WAIT):
        maker._view.start_button.click()
    assert "Scanned 6 volumes: 2 above" in maker._view.message.text
