"""The real thing: a napari window with the dock, clicked and typed through."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_memscan.widgets.dock import REVIEW, STUDY, MemscanWidget
from napari_memscan.widgets.keys import KEYS

WAIT = 60_000
# napari's layers and viewer take these; what the dock takes must not be among them.
BOUND = set("1234567ABCDEFILMOPRSTVXYZ-=[]")


@pytest.fixture
def viewer(make_napari_viewer_proxy):
    return make_napari_viewer_proxy()


@pytest.fixture
def dock(viewer, qtbot):
    widget = MemscanWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Memscan")
    yield widget
    qtbot.waitUntil(lambda: idle(widget), timeout=WAIT)
    widget.review.set_study(None)


def idle(dock) -> bool:
    return not (dock.study.busy or dock.generate.busy or dock.review.busy or dock.panes.loading)


def open_study(qtbot, dock, folder) -> None:
    with qtbot.waitSignal(dock.study.opened, timeout=WAIT):
        dock.open_study(folder)
    qtbot.waitUntil(lambda: idle(dock), timeout=WAIT)


def titles(viewer) -> list[str]:
    return [layer.name for layer in viewer.layers if layer.visible]


def test_a_radiologist_reads_a_study(qtbot, viewer, dock, ldm_study):
    """Opens, decides, undoes, regenerates, reopens, and finds the decisions."""
    open_study(qtbot, dock, ldm_study)
    assert dock.step == REVIEW
    first = dock.review_view.current
    assert titles(viewer)[0] == f"Synthetic {first}"
    assert titles(viewer)[1].startswith("Training #1 similarity ")
    assert len(titles(viewer)) == 4

    dock.review_view.buttons["copy"].click()
    qtbot.waitUntil(lambda: idle(dock), timeout=WAIT)
    second = dock.review_view.current
    assert second != first
    assert titles(viewer)[0] == f"Synthetic {second}"
    dock.review_view.buttons["unsure"].click()
    dock.review_view.buttons["undo"].click()
    assert dock.review_view.current == second

    with qtbot.waitSignal(dock.review.running, timeout=WAIT):
        dock.review_view.buttons["regenerate"].click()
    qtbot.waitUntil(lambda: idle(dock), timeout=WAIT)
    assert titles(viewer)[0] == "Synthetic s000003"
    lineage = {row.sample: row.lineage for row in dock.review_view.model.rows}
    assert lineage[second] == "replaced by s000003"

    dock.study.new()
    assert titles(viewer) == []
    assert dock.step == STUDY
    open_study(qtbot, dock, ldm_study)
    rows = {row.sample: row for row in dock.review_view.model.rows}
    assert rows[first].decision == "copy"
    assert rows[second].decision == ""
    assert dock.review_view.progress.text() == "2 of 4 read"


def test_keys_are_free_and_given_back(qtbot, viewer, dock, folder_study):
    assert not {key for key in KEYS.values() if len(key) == 1} & BOUND
    theirs = []
    viewer.bind_key("K", lambda viewer: theirs.append(1))
    mine = viewer.keymap.copy()
    open_study(qtbot, dock, folder_study)
    assert viewer.keymap != mine
    dock.go_to(STUDY)
    assert viewer.keymap == mine


def test_keys_decide_in_the_dock_and_on_the_canvas(qtbot, viewer, dock, folder_study):
    viewer.window.resize(1280, 800)
    dock.parent().parent().show()
    qtbot.waitUntil(dock.isVisible, timeout=WAIT)
    open_study(qtbot, dock, folder_study)
    table = dock.review_view.table
    qtbot.keyClick(table, Qt.Key.Key_K)
    assert dock.review.progress[0] == 1
    canvas_key(viewer, "N")
    assert dock.review.progress[0] == 2
    qtbot.keyClick(table, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert dock.review.progress[0] == 1
    canvas_key(viewer, "Control-Z")
    assert dock.review.progress[0] == 0
    at = dock.review_view.current
    canvas_key(viewer, "J")
    qtbot.keyClick(table, Qt.Key.Key_H)
    assert dock.review_view.current == at
    # A name that is typed is no decision.
    dock.review_view.reader.clear()
    qtbot.keyClicks(dock.review_view.reader, "NUK")
    assert dock.review_view.reader.text() == "NUK"
    assert dock.review.progress[0] == 0
    dock.hide()
    canvas_key(viewer, "K")
    assert dock.review.progress[0] == 0


def canvas_key(viewer, key: str) -> None:
    """Press a key as the canvas does: through the viewer's keymap."""
    from napari.utils.key_bindings import coerce_keybinding

    function = viewer.keymap.get(coerce_keybinding(key))
    if function is not None:
        function(viewer)


@pytest.mark.display
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_volumes_are_seen_and_nothing_is_cut_at_1280x800(qtbot, viewer, dock, folder_study, theme):
    viewer.theme = theme
    viewer.window.show()
    viewer.window.resize(1280, 800)
    open_study(qtbot, dock, folder_study)
    qtbot.wait(800)
    QApplication.processEvents()
    assert dock.width() <= 420
    picture = viewer.screenshot(canvas_only=True, flash=False)[..., :3].mean(axis=-1)
    rows, columns = viewer.canvas.grid.shape
    height, width = picture.shape
    for i in range(len(dock.panes.layers)):
        row, column = divmod(i, columns)
        pane = picture[
            row * height // rows : (row + 1) * height // rows,
            column * width // columns : (column + 1) * width // columns,
        ]
        middle = pane[
            pane.shape[0] // 3 : -pane.shape[0] // 3, pane.shape[1] // 3 : -pane.shape[1] // 3
        ]
        assert middle.std() > 10, f"pane {i} is empty"
    # Read on black in both themes.
    assert np.median(picture[:3]) < 10
    area = dock._stack.currentWidget()
    assert area.horizontalScrollBar().maximum() == 0
