"""Verbs, confidence and comment; and the page of keys."""

import pytest
from qtpy.QtCore import Qt

from napari_memscan.widgets.common.preferences import Preferences
from napari_memscan.widgets.review.actions import ACTIONS
from napari_memscan.widgets.review.cheat_sheet import CheatSheet
from napari_memscan.widgets.review.decision_view import DecisionView
from napari_memscan.widgets.review.keys import assign_keys


@pytest.fixture
def view(qtbot):
    view = DecisionView()
    qtbot.addWidget(view)
    view.set_keys(assign_keys(Preferences()))
    view.set_enabled_actions({*ACTIONS, "regenerate flagged"})
    view.show()
    return view


def test_buttons_show_their_keys_and_emit_their_action(qtbot, view):
    seen = []
    view.action.connect(seen.append)
    for name, button in view.buttons.items():
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        assert seen[-1] == name
        assert name in button.accessibleName()
    assert "(K)" in view.buttons["copy"].text()
    assert "Ctrl+Shift+Z" in view.buttons["redo"].toolTip()


def test_confidence_is_optional_one_of_five_and_can_be_taken_back(qtbot, view):
    assert view.confidence is None
    assert "optional" in view.meaning.text()
    four = view.levels.button(4)
    qtbot.mouseClick(four, Qt.MouseButton.LeftButton)
    assert (view.confidence, view.meaning.text()) == (4, "sure")
    qtbot.mouseClick(view.levels.button(2), Qt.MouseButton.LeftButton)
    assert view.confidence == 2
    assert not four.isChecked()
    qtbot.mouseClick(view.levels.button(2), Qt.MouseButton.LeftButton)
    assert view.confidence is None
    view.set_confidence(5)
    view.comment.setText("same vessel")
    view.fresh()
    assert (view.confidence, view.comment.text()) == (None, "")


def test_return_and_escape_lead_back_from_the_comment(qtbot, view):
    back = []
    view.done_typing.connect(lambda: back.append(view.comment.text()))
    qtbot.keyClicks(view.comment, "KNU")
    qtbot.keyClick(view.comment, Qt.Key.Key_Return)
    qtbot.keyClick(view.comment, Qt.Key.Key_Escape)
    assert back == ["KNU", "KNU"]


def test_while_one_is_replaced_no_other_can_be(view):
    view.set_regenerating("step %v of %m", 3, 10)
    assert view.buttons["regenerate"].isHidden()
    assert not view.stop_button.isHidden()
    view.set_regenerating("")
    assert view.bar.isHidden()
    assert not view.buttons["regenerate"].isHidden()


def test_every_action_is_on_the_page_of_keys(qtbot):
    sheet = CheatSheet(Preferences())
    qtbot.addWidget(sheet)
    sheet.show()
    text = "".join(label.text() for label in sheet.columns.values())
    for name, key in assign_keys(Preferences()).items():
        assert ACTIONS[name].text in text
        assert f"<b>{key}</b>" in text
    qtbot.keyClick(sheet, Qt.Key.Key_Question, Qt.KeyboardModifier.ShiftModifier)
    assert sheet.isHidden()
