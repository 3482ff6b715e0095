"""Views by themselves: no study, no napari window."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QLabel

from napari_memscan.checkpoints.families.family import MissingFact
from napari_memscan.widgets.blind.case_view import CaseView
from napari_memscan.widgets.common.message import Message
from napari_memscan.widgets.common.theme import get_theme_colours
from napari_memscan.widgets.dock.step_bar import StepBar
from napari_memscan.widgets.generate.view import GenerateView
from napari_memscan.widgets.review.view import ReviewView
from napari_memscan.widgets.study.field_status import FieldChoice, FieldStatus
from napari_memscan.widgets.study.form_state import find_missing_fields
from napari_memscan.widgets.study.model_row import STATEMENT_EXAMPLE, ModelRow, suggest_statement
from napari_memscan.widgets.study.path_row import PathRow
from napari_memscan.widgets.study.trust_dialog import TrustDialog
from napari_memscan.widgets.study.view import StudyView


def luminance(colour: str) -> float:
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def label(message, name) -> str:
    """What is written: the symbol or the text of a message."""
    return message.findChild(QLabel, name).text()


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_text_and_alarm_are_seen_in_both_themes(theme):
    look = get_theme_colours(theme)
    assert look.dark == (theme == "dark")
    assert contrast(look.text, look.background) > 7
    assert contrast(look.alarm, look.background) > 3
    assert contrast(look.text, look.accent) > 4.5


def test_message_stays_and_is_not_told_by_colour_alone(qtbot):
    message = Message()
    qtbot.addWidget(message)
    assert message.isHidden()
    message.say("/data/a_very/long/path.nii.gz: missing.", "error")
    assert not message.isHidden()
    assert message.text == "/data/a_very/long/path.nii.gz: missing."
    assert label(message, "symbol") == "✖"
    assert get_theme_colours("dark").alarm in message.styleSheet()
    message.set_theme(get_theme_colours("light"))
    assert get_theme_colours("light").alarm in message.styleSheet()
    message.say("")
    assert message.isHidden()


def test_a_long_path_does_not_widen_the_dock(qtbot):
    message = Message()
    qtbot.addWidget(message)
    message.say("/" + "x" * 400 + ": missing.", "error")
    assert message.minimumSizeHint().width() < 200


def test_path_row_tells_a_change_once(qtbot):
    row = PathRow("Cohort", file_filter="Table (*.csv)")
    qtbot.addWidget(row)
    seen = []
    row.changed.connect(seen.append)
    row.choose("/data/cohort.csv")
    row.edit.editingFinished.emit()
    row.set_value("/other")
    row.edit.editingFinished.emit()
    assert seen == ["/data/cohort.csv"]
    row.set_fixed(True)
    assert row.edit.isReadOnly()


def test_study_view_emits_choices_and_fixes_what_cannot_change(qtbot):
    view = StudyView()
    qtbot.addWidget(view)
    seen = []
    view.choice_changed.connect(lambda *args: seen.append(args))
    view.rows["generator"].choose("/models/ldm")
    assert seen == [("generator", "/models/ldm")]
    paths = {"folder": "/s", "cohort": "/s/cohort.csv", "generator": "/m", "embedder": ""}
    view.set_open("Audit", {field: FieldChoice(path) for field, path in paths.items()})
    assert view.rows["folder"].edit.isReadOnly()
    assert not view.rows["embedder"].edit.isReadOnly()
    assert view.values() == paths


MISSING = (
    MissingFact("latent_shape", "channels and axes", "8,36,44,28"),
    MissingFact("", "which file: there are two; name one"),
)


def test_a_model_row_opens_a_field_for_what_is_missing(qtbot):
    row = ModelRow("Generator")
    qtbot.addWidget(row)
    assert row.statement.isHidden()
    assert row.more_button.isHidden()
    row.show_finding(FieldStatus("3D LDM", about_model=True))
    assert row.statement.isHidden()
    row.more_button.click()
    assert not row.statement.isHidden()
    row.show_finding(FieldStatus("folder of volumes"))
    assert row.statement.isHidden()
    assert row.more_button.isHidden()
    row.show_finding(FieldStatus("a bundle", "missing", missing=MISSING, about_model=True))
    assert not row.statement.isHidden()
    assert row.statement.placeholderText().endswith("latent_shape=8,36,44,28")
    assert label(row.feedback, "symbol") == "?"
    seen = []
    row.stated.connect(seen.append)
    row.state("latent_shape=8,4,4,4")
    assert seen == ["latent_shape=8,4,4,4"]
    row.show_finding(FieldStatus("usable", about_model=True))
    assert not row.statement.isHidden()  # what was stated stays in sight
    row.choose("/another")
    assert row.statement_text == ""  # it was about the model before
    assert seen == ["latent_shape=8,4,4,4"]


def test_examples_of_what_could_be_stated():
    assert suggest_statement(()) == f"for example  {STATEMENT_EXAMPLE}"
    missing = (
        MissingFact("downsample", "by how much", "4,4,2"),
        MissingFact("spacing", "voxel size in mm"),
    )
    assert suggest_statement(missing).endswith("downsample=4,4,2; spacing=…")
    assert suggest_statement(MISSING[1:]) == f"for example  {STATEMENT_EXAMPLE}"
    config = (MissingFact("config", "the configuration", "configs/inference.json"),)
    assert suggest_statement(config).endswith("  config=configs/inference.json")


def test_a_model_can_be_a_file_or_a_folder(qtbot, tmp_path, monkeypatch):
    view = StudyView()
    qtbot.addWidget(view)
    file = tmp_path / "model.pt"
    seen = []
    view.choice_changed.connect(lambda *args: seen.append(args))
    for field in ("generator", "embedder"):
        row = view.rows[field]
        assert not row.file_button.isHidden()
        assert not row.folder_button.isHidden()

    def answer(parent, title, start, filters):
        assert "*.safetensors" in filters
        return str(file), filters

    # The dialog is the system's own; what is asked of it and what comes of its answer is ours.
    monkeypatch.setattr(QFileDialog, "getOpenFileName", answer)
    view.rows["embedder"].file_button.click()
    assert seen == [("embedder", str(file))]


def test_what_to_do_next_is_always_said():
    assert find_missing_fields({}, False, None)[1].startswith("open a study")
    chosen = {"folder": FieldStatus("", value=1)}
    assert find_missing_fields(chosen, False, None) == (
        "Still to choose: cohort, generator",
        "choose cohort, generator",
    )
    missing = {"generator": FieldStatus("a bundle", "missing", missing=MISSING[:1])}
    assert find_missing_fields(missing, True, None)[1] == "state latent_shape below the generator"
    code = {"embedder": FieldStatus("needs code", "error", code="a plug-in")}
    assert find_missing_fields(code, False, True)[1] == "Trust and run, or choose another embedder"
    assert find_missing_fields({"cohort": FieldStatus("none", "error")}, False, None)[1].endswith(
        "wrong: cohort"
    )
    assert find_missing_fields({}, True, None)[0].startswith("Looking")
    assert find_missing_fields({}, False, True) == ("", "Keep changes")
    assert find_missing_fields({}, False, False) == ("Nothing was changed", "")


def test_a_trust_button_only_where_code_would_run(qtbot):
    view = StudyView()
    qtbot.addWidget(view)
    button = view.models["generator"].trust_button
    assert button.isHidden()
    seen = []
    view.trust_requested.connect(seen.append)
    view.set_finding("generator", FieldStatus("needs code", "error", code="it is a program"))
    assert not button.isHidden()
    button.click()
    assert seen == ["generator"]
    view.set_checking("generator")
    assert button.isHidden()


def test_the_dialog_says_what_is_run_and_cancels_by_default(qtbot):
    dialog = TrustDialog("/models/own.py:make", "It is a plug-in.")
    qtbot.addWidget(dialog)
    texts = " ".join(label.text() for label in dialog.findChildren(QLabel)).replace("\u200b", "")
    for part in ("/models/own.py:make", "It is a plug-in.", "your rights", "no sandbox"):
        assert part in texts
    assert dialog.cancel_button.isDefault()
    assert not dialog.run_button.isEnabled()
    assert not dialog.tick.isChecked()
    with qtbot.waitExposed(dialog):
        dialog.open()
    qtbot.keyClick(dialog, Qt.Key.Key_Return)
    assert dialog.result() == TrustDialog.DialogCode.Rejected
    dialog.open()
    dialog.tick.setChecked(True)
    assert dialog.run_button.isEnabled()
    qtbot.keyClick(dialog, Qt.Key.Key_Return)  # still the default
    assert dialog.result() == TrustDialog.DialogCode.Rejected
    dialog.open()
    dialog.run_button.click()
    assert dialog.result() == TrustDialog.DialogCode.Accepted


def test_step_bar_marks_done_steps_and_says_what_is_next(qtbot):
    bar = StepBar()
    qtbot.addWidget(bar)
    bar.set_state([True, *[False] * 3], [True, True, False, False], "2 Generate")
    texts = [bar.button(i).text() for i in range(4)]
    assert texts == ["✔ Study", "2 Generate", "3 Review", "4 Release"]
    assert not bar.button(2).isEnabled()
    assert "2 Generate" in bar.next_text
    with qtbot.waitSignal(bar.chosen) as signal:
        qtbot.mouseClick(bar.button(1), Qt.MouseButton.LeftButton)
    assert signal.args == [1]


def test_generate_view_settings_and_bars(qtbot):
    view = GenerateView()
    qtbot.addWidget(view)
    assert view.settings() == {"n": 16, "seed": 0, "sampler": None, "steps": None}
    view.sampler.setCurrentText("DDPM")
    view.steps.setValue(50)
    assert view.settings()["sampler"] == "ddpm"
    assert view.settings()["steps"] == 50
    assert view.step_bar.isHidden()
    view.set_running(True)
    view.set_volumes(3, 16, "generated s000002")
    view.set_step(12, 25)
    assert (view.volume_bar.value(), view.volume_bar.maximum()) == (3, 16)
    assert "12 of 25" in view.step_label.text()
    assert not view.start_button.isEnabled()
    assert view.stop_button.isEnabled()
    view.set_running(False)
    assert view.volume_bar.isHidden()
    assert not view.stop_button.isEnabled()


@pytest.fixture
def review(qtbot):
    view = ReviewView()
    qtbot.addWidget(view)
    return view


def test_review_fits_beside_the_volumes(review):
    assert review.minimumSizeHint().width() <= 420


def test_reasons_to_doubt_are_read_without_hovering(qtbot, review):
    review.set_summary(
        "N_copies 1 of 3", "", ["a"], [("No power", "No power. More."), ("Shifted", "")]
    )
    assert [alarm.text for alarm in review.alarms] == ["No power\nNo power. More.", "Shifted"]
    for alarm in review.alarms:
        assert alarm.level == "warning"
        assert not alarm.isHidden()
        assert label(alarm, "symbol") == "⚠"
    assert "1 warning" in review.warnings.text
    review.set_summary("N_copies 1 of 3")
    assert all(alarm.isHidden() for alarm in review.alarms)


def test_what_is_hovered_for_is_read_by_keyboard_too(qtbot, review):
    review.show()
    review.set_summary(
        "N_copies 1 of 3",
        "",
        ["few patients", "thick slices"],
        [("No power.", "No power. Three are needed.")],
    )
    for message, seen in (
        (review.warnings, "few patients\n\nthick slices"),
        (review.alarms[0], "No power. Three are needed."),
    ):
        assert message.focusPolicy() == Qt.FocusPolicy.TabFocus
        assert seen not in label(message, "text")
        qtbot.keyClick(message, Qt.Key.Key_Return)
        assert seen in label(message, "text")
        qtbot.mouseClick(message, Qt.MouseButton.LeftButton)
        assert seen not in label(message, "text")
    assert review.alarms[1].focusPolicy() == Qt.FocusPolicy.NoFocus


def test_tooltips_name_the_keys_that_were_chosen(qtbot):
    bars = ReviewView(), CaseView()
    for view in bars:
        qtbot.addWidget(view)
        bar = view.bar
        assert bar.plane.toolTip() == "Plane; next one: 9"
        view.set_keys({"plane": "P", "offset up": "Ctrl+U"})
        assert bar.plane.toolTip() == "Plane; next one: P"
        assert bar.mode.toolTip() == "How the pair is shown"
        assert bar.offset.toolTip().endswith("is ahead; one more: Ctrl+U")
        assert bar.reset.toolTip() == "The whole range of grey"
