"""Blind reading in the real window: what is recorded, and that nothing tells."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLabel,
    QLineEdit,
    QListWidget,
    QProgressBar,
    QTableView,
    QWidget,
)

from napari_memscan.jobs.readers.blind_study import find_latest_plan
from napari_memscan.study import Study
from napari_memscan.typing import Decision
from napari_memscan.widgets.dock.dock import BLIND, GENERATE, REVIEW, STUDY, MemscanWidget
from napari_memscan.widgets.review.actions import ReviewAction

WAIT = 60_000


@pytest.fixture
def viewer(shared_viewer):
    shared_viewer.window.resize(1280, 800)
    return shared_viewer


@pytest.fixture
def dock(viewer, qtbot):
    widget = MemscanWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Memscan")
    yield widget
    qtbot.waitUntil(lambda: idle(widget), timeout=WAIT)
    widget.blind.close()
    widget.review.set_study(None)
    viewer.window.remove_dock_widget("all")
    widget.deleteLater()
    assert len(viewer.layers) == 0


def idle(dock) -> bool:
    return not (
        dock.study.busy
        or dock.review.busy
        or dock.blind.busy
        or dock.viewing.loading
        or dock.viewing.preloading
    )


def open_study(qtbot, dock, folder, reader="Ann") -> None:
    dock.review_view.reader.setText(reader)
    with qtbot.waitSignal(dock.study.opened, timeout=WAIT):
        dock.open_study(folder)
    qtbot.waitUntil(lambda: idle(dock), timeout=WAIT)


def start(qtbot, dock, *, forced=False, cases=0, planted=0, end=False) -> None:
    dock.review_view.blind.click()
    page = dock.blind_view.start
    page.kinds.button(int(forced)).click()
    page.cases.setValue(cases)
    page.planted.setValue(planted)
    page.reveals.button(int(end)).click()
    page.start.click()
    qtbot.waitUntil(lambda: dock.blind.reading and idle(dock), timeout=WAIT)


def press(qtbot, dock, name) -> None:
    button = dock.blind_view.case.answers.buttons[name]
    assert button.isVisible(), name
    assert button.isEnabled(), name
    button.click()
    qtbot.waitUntil(lambda: idle(dock), timeout=WAIT)


def canvas_of(dock) -> QWidget:
    """What napari draws on, which takes the keys."""
    return dock.window().findChild(QOpenGLWidget)


def titles(viewer) -> list[str]:
    return [layer.name for layer in viewer.layers if layer.visible]


def text_of(label) -> str:
    return label.text().replace("\u200b", "")


def widget_texts(widget) -> list[str]:
    """Everything a widget writes, and says when one hovers over it or has it read aloud."""
    found = [
        widget.toolTip(),
        widget.statusTip(),
        widget.whatsThis(),
        widget.windowTitle(),
        widget.accessibleName(),
        widget.accessibleDescription(),
    ]
    if isinstance(widget, QLabel | QAbstractButton | QAbstractSpinBox | QLineEdit | QProgressBar):
        found.append(widget.text())
    if isinstance(widget, QLineEdit):
        found.append(widget.placeholderText())
    if isinstance(widget, QComboBox):
        found += [widget.itemText(i) for i in range(widget.count())]
    if isinstance(widget, QListWidget):
        found += [widget.item(i).text() for i in range(widget.count())]
    if isinstance(widget, QTableView) and widget.model() is not None:
        model = widget.model()
        found += [
            str(model.data(model.index(row, column), role))
            for row in range(model.rowCount())
            for column in range(model.columnCount())
            for role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole)
        ]
    return found


def everything(viewer) -> list[str]:
    """All that a person in front of the window could read, hover or have read aloud."""
    found = [viewer.title, str(viewer.status), viewer.help, viewer.tooltip.text]
    found += [str(getattr(o, "text", "")) for o in viewer.canvas.overlays.values()]
    for layer in viewer.layers:
        found += [layer.name, str(layer.metadata), str(layer.source), layer.help]
        # The grey value below the mouse is no score, but may be the same number.
        status = layer.get_status((0, 0, 0))
        found += [str(v) for k, v in status.items() if k not in ("value", "coordinates")]
        found.append(str(getattr(layer, "features", "")))
        found.append(str(getattr(layer.name_overlay, "text", "")))
    for top in QApplication.topLevelWidgets():
        for widget in (top, *top.findChildren(QWidget)):
            if widget.isVisible():
                found += widget_texts(widget)
                found += [action.text() for action in widget.actions()]
    return [text for text in found if text]


def secrets_of(study) -> set[str]:
    """Names, files, places and scores of a study, and verdicts that are no answer as well."""
    result = study.result()
    found = {
        study.folder.name,
        str(study.folder),
        "near-duplicate",
        "novel",
        "undecided",
        "distractor",
        "validation",
        "verdict",
        "similarity 0",
        "planted",
    }
    for row in study.cohort.rows():
        found |= {row.path, Path(row.path).name, Path(row.path).name.split(".")[0]}
        found |= {row.subject_id} if row.subject_id else set()
    for row in study.samples():
        found |= {row.sample, study.sample_path(row).name}
    for i in range(40):
        found |= {f"s{i:06d}", f"v{i:06d}", f"p{i:06d}"}
    for sample in result.samples:
        found |= {f"{result.value(sample):.3f}", sample.name, sample.neighbour}
        found |= {f"{n.similarity:.3f}" for n in sample.neighbours}
    return found


def leaks(viewer, secrets) -> list[tuple[str, str]]:
    return [(s, text) for text in everything(viewer) for s in secrets if s and s in text]


@pytest.mark.display
def test_what_is_looked_for_is_found_while_one_sees(qtbot, viewer, dock, verified_study):
    """The test below would fail without blinding: open reading shows what it looks for."""
    open_study(qtbot, dock, verified_study)
    found = {secret for secret, _ in leaks(viewer, secrets_of(Study.open(verified_study)))}
    assert {"made0.nii.gz", "novel"} <= found


@pytest.mark.display
@pytest.mark.parametrize("forced", [False, True])
def test_nothing_tells(qtbot, viewer, dock, verified_study, forced):
    open_study(qtbot, dock, verified_study)
    dock.statistics_window.toggle()
    viewer.status = "Synthetic made1.nii.gz"
    secrets = secrets_of(Study.open(verified_study))
    start(qtbot, dock, forced=forced, cases=6, planted=1, end=True)
    layouts, seen = ("pair", "planes", "3D"), {}
    while dock.blind.cases.case is not None:
        for layout in ("grid", layouts[dock.blind.cases.progress[0] % 3]):
            dock.viewing.set_layout(layout)
            qtbot.waitUntil(lambda: idle(dock), timeout=WAIT)
            assert leaks(viewer, secrets) == []
            # Nothing but numbers differs from case to case: of the case, and grey values.
            same = {re.sub(r"-?\d[\d.e-]*", "#", text) for text in everything(viewer)}
            assert same == seen.setdefault(layout, same)
        dock.viewing.set_layout("grid")
        qtbot.waitUntil(lambda: idle(dock), timeout=WAIT)
        assert titles(viewer) == ["A", "B"]
        done, total = dock.blind.cases.progress
        if total - done <= 2:  # with fewer there is nothing to skip to, and no buttons for it
            break
        press(qtbot, dock, "not a copy")
    kinds = {
        s.exhibit.kind for s in find_latest_plan(Study.open(verified_study), "Ann", forced).secrets
    }
    assert kinds == {"synthetic", "planted"} | (set() if forced else {"distractor"})
    # Nor can it be brought back.
    dock.statistics_window.toggle()
    dock.go_to(STUDY)
    dock.go_to(GENERATE)
    dock.blind.act(ReviewAction.STATISTICS)
    assert dock.step == BLIND
    assert not any(dock.steps.button(step).isEnabled() for step in (STUDY, GENERATE))
    qtbot.keyClick(canvas_of(dock), Qt.Key.Key_G, Qt.KeyboardModifier.AltModifier)
    assert leaks(viewer, secrets) == []


@pytest.mark.display
def test_three_are_read_and_all_is_there_when_one_comes_back(qtbot, viewer, dock, verified_study):
    open_study(qtbot, dock, verified_study)
    start(qtbot, dock)
    page = dock.blind_view.case
    total = dock.blind.cases.progress[1]
    assert page.title.text() == f"Case 1 of {total}"
    assert page.question.text() == "Is A a copy of B?"
    assert dock.viewing.registered
    picture = viewer.screenshot(canvas_only=True, flash=False)[..., :3].mean(axis=-1)
    left, right = np.array_split(picture, 2, axis=1)
    assert min(left.std(), right.std()) > 10, "a pane is empty"

    page.answers.set_confidence(4)
    page.answers.comment.setText("same trabeculae")
    press(qtbot, dock, "copy")
    assert page.truth.text.startswith("Case 1: A was ")
    assert page.truth.text.endswith("You said: copy.")
    assert page.answers.confidence is None
    press(qtbot, dock, "not a copy")  # with the truth in sight
    assert page.title.text() == f"Case 2 of {total}"
    assert page.truth.text == ""
    assert "second decision recorded, not a copy" in page.message.text
    canvas = canvas_of(dock)
    qtbot.keyClick(canvas, Qt.Key.Key_N)
    qtbot.waitUntil(lambda: idle(dock), timeout=WAIT)
    assert page.truth.text.endswith("You said: not a copy.")
    qtbot.keyClick(canvas, Qt.Key.Key_J)
    qtbot.waitUntil(lambda: idle(dock), timeout=WAIT)
    press(qtbot, dock, "unsure")
    assert dock.blind.cases.progress == (3, total)
    dock.blind_view.case.end.click()
    qtbot.waitUntil(lambda: idle(dock), timeout=WAIT)
    assert dock.step == REVIEW
    assert titles(viewer)[0].startswith("Synthetic made")

    events = dock.review.session.store.history()
    assert [(e.stage, e.decision) for e in events] == [
        ("blind", "copy"),
        ("revealed", "unveiled"),
        ("revealed", "not a copy"),
        ("blind", "not a copy"),
        ("revealed", "unveiled"),
        ("blind", "unsure"),
        ("revealed", "unveiled"),
    ]
    first, again = events[0], events[2]
    assert (first.confidence, first.note, first.reader) == (4, "same trabeculae", "Ann")
    assert first.seconds > 0
    assert first.evidence["layout"] == "grid"
    assert first.evidence["blind"] is True
    assert again.evidence["blind"] is False
    assert again.sample == first.sample

    dock.study.new()
    open_study(qtbot, dock, verified_study)
    dock.review_view.blind.click()
    assert f"3 of {total} cases" in dock.blind_view.start.there.text
    assert dock.blind_view.start.start.text() == "Go on"
    dock.blind_view.start.start.click()
    qtbot.waitUntil(lambda: dock.blind.reading and idle(dock), timeout=WAIT)
    assert page.title.text() == f"Case 4 of {total}"
    assert dock.blind.cases.progress == (3, total)
    dock.open_study(verified_study)  # somebody drops another study on the window
    qtbot.waitUntil(lambda: idle(dock), timeout=WAIT)
    assert not dock.blind.opened
    assert dock.step == REVIEW


@pytest.mark.display
def test_a_forced_choice_is_revealed_at_the_end(qtbot, viewer, dock, folder_study):
    open_study(qtbot, dock, folder_study)
    start(qtbot, dock, forced=True, cases=3, end=True)
    page = dock.blind_view.case
    assert page.question.text() == "Which one is the real one?"
    assert page.answers.buttons["copy"].text() == "A is real (K)"
    assert page.answers.buttons["copy"].accessibleName() == "A is real, key K"
    assert not page.answers.buttons["unsure"].isVisible()
    dock.blind.act(Decision.UNSURE)
    assert dock.blind.cases.progress == (0, 3)
    press(qtbot, dock, "copy")
    press(qtbot, dock, "next")  # skips one
    assert page.title.text() == "Case 3 of 3"
    press(qtbot, dock, "not a copy")
    assert page.title.text() == "Case 2 of 3"
    press(qtbot, dock, "undo")
    assert page.title.text() == "Case 3 of 3"
    press(qtbot, dock, "redo")
    press(qtbot, dock, "copy")
    assert page.title.text() == "All 3 cases are answered"
    assert titles(viewer) == []
    assert dock.steps.next_text.endswith("Reveal all")
    assert not page.list.isVisible()
    page.reveal.click()
    qtbot.waitUntil(lambda: idle(dock), timeout=WAIT)
    assert page.list.count() == 3
    assert titles(viewer) == ["A", "B"]
    made = find_latest_plan(Study.open(folder_study), "Ann", True)
    for i, (secret, side) in enumerate(zip(made.secrets, "AAB", strict=True)):
        text = page.list.item(i).text()
        assert secret.exhibit.name in text
        assert f"You said: {side} is real" in text
    press(qtbot, dock, "next")
    assert page.truth.text.startswith("Case 2")
    assert not page.answers.buttons["copy"].isVisible()
    dock.blind.close()
    dock.review_view.blind.click()
    dock.blind_view.start.kinds.button(1).click()
    assert "is done: 3 cases" in dock.blind_view.start.there.text
    assert dock.blind_view.start.start.text() == "Start"


@pytest.mark.display
def test_second_decisions_are_made_from_the_list(qtbot, dock, folder_study):
    open_study(qtbot, dock, folder_study)
    start(qtbot, dock, cases=3, end=True)
    for _ in range(3):
        press(qtbot, dock, "unsure")
    dock.blind_view.case.reveal.click()
    page = dock.blind_view.case
    page.list.setCurrentRow(1)
    qtbot.waitUntil(lambda: idle(dock), timeout=WAIT)
    assert page.title.text() == "Case 2 of 3"
    press(qtbot, dock, "copy")
    assert page.list.item(1).text().endswith("You said: unsure. Then: copy.")
    assert page.list.currentRow() == 1
    named = find_latest_plan(Study.open(folder_study), "Ann", False).secrets[1].exhibit.name
    assert dock.review.session.store.standing().current()[named].decision == "copy"


@pytest.mark.display
def test_a_missing_file_a_lost_store_and_a_stopped_plan(
    qtbot, monkeypatch, viewer, dock, folder_study
):
    from napari_memscan.errors import JobFailed
    from napari_memscan.review.store import DecisionStore

    study = Study.open(folder_study)
    open_study(qtbot, dock, folder_study)
    dock.review_view.blind.click()
    dock.blind_view.start.start.click()
    dock.blind_view.start.stop.click()
    qtbot.waitUntil(lambda: not dock.blind.busy, timeout=WAIT)
    if not dock.blind.reading:
        assert "Stopped" in dock.blind_view.start.message.text
        dock.blind.close()
        start(qtbot, dock)
    dock.blind.close()
    made = find_latest_plan(study, "Ann", False)
    victim = study.path_of(made.secrets[0].exhibit.shown.name)
    kept = victim.read_bytes()
    victim.unlink()
    for key in study.cache.folder.rglob("*.npy"):
        key.unlink()
    page = dock.blind_view.case
    dock.review_view.blind.click()
    dock.blind_view.start.start.click()
    qtbot.waitUntil(lambda: dock.blind.reading and idle(dock), timeout=WAIT)
    assert page.message.level == "error"
    assert "Case 1, A cannot be read" in page.message.text
    assert leaks(viewer, secrets_of(study)) == []
    press(qtbot, dock, "copy")
    assert "Not recorded" in page.message.text
    assert dock.blind.cases.progress[0] == 0
    press(qtbot, dock, "next")
    assert titles(viewer) == ["A", "B"]
    assert page.message.text == ""

    def lost(*_args, **_values):
        raise JobFailed("The store is locked by another program. Try again.")

    with monkeypatch.context() as patch:
        patch.setattr(DecisionStore, "_append", lost)
        press(qtbot, dock, "copy")
    assert page.message.text.startswith("Not recorded. The store is locked")
    assert page.title.text().startswith("Case 2")
    press(qtbot, dock, "copy")
    assert page.truth.text.endswith("You said: copy.")
    victim.write_bytes(kept)
