"""The real thing: a napari window with the dock, clicked and typed through."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_memscan.widgets.dock import REVIEW, STUDY, MemscanWidget

WAIT = 60_000


@pytest.fixture
def viewer(make_napari_viewer_proxy):
    viewer = make_napari_viewer_proxy(show=True)
    viewer.window.resize(1280, 800)
    return viewer


@pytest.fixture
def dock(viewer, qtbot):
    widget = MemscanWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Memscan")
    yield widget
    qtbot.waitUntil(lambda: idle(widget), timeout=WAIT)
    widget.review.set_study(None)


def idle(dock) -> bool:
    return not (dock.study.busy or dock.generate.busy or dock.review.busy or dock.viewing.loading)


def open_study(qtbot, dock, folder) -> None:
    with qtbot.waitSignal(dock.study.opened, timeout=WAIT):
        dock.open_study(folder)
    qtbot.waitUntil(lambda: idle(dock), timeout=WAIT)


def titles(viewer) -> list[str]:
    return [layer.name for layer in viewer.layers if layer.visible]


@pytest.mark.display
def test_a_radiologist_reads_a_study(qtbot, viewer, dock, ldm_study):
    """Opens, decides, undoes, regenerates, reopens, and finds the decisions."""
    open_study(qtbot, dock, ldm_study)
    assert dock.step == REVIEW
    first = dock.review_view.queue.current
    assert titles(viewer)[0].startswith(f"Synthetic {first}")
    assert titles(viewer)[1].startswith("Training #1 similarity ")
    assert len(titles(viewer)) == 4

    dock.review_view.decision.buttons["copy"].click()
    qtbot.waitUntil(lambda: idle(dock), timeout=WAIT)
    second = dock.review_view.queue.current
    assert second != first
    assert titles(viewer)[0].startswith(f"Synthetic {second}")
    dock.review_view.decision.buttons["unsure"].click()
    dock.review_view.decision.buttons["undo"].click()
    assert dock.review_view.queue.current == second

    with qtbot.waitSignal(dock.review.running, timeout=WAIT):
        dock.review_view.decision.buttons["regenerate"].click()
    qtbot.waitUntil(lambda: idle(dock), timeout=WAIT)
    assert titles(viewer)[0].startswith("Synthetic s000003")
    assert dock.review.items[second].replaced_by == "s000003"

    dock.study.new()
    assert titles(viewer) == []
    assert dock.step == STUDY
    open_study(qtbot, dock, ldm_study)
    assert dock.review.items[first].decision.decision == "copy"
    assert dock.review.items[second].decision is None
    assert dock.review_view.queue.progress.text() == "2 of 4 read"


@pytest.mark.display
def test_volumes_are_seen_and_nothing_is_cut_at_1280x800(qtbot, make_napari_viewer, folder_study):
    # Not the proxy: a key is pressed on the canvas itself, which napari keeps to itself.
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1280, 800)
    dock = MemscanWidget(viewer)
    viewer.window.add_dock_widget(dock, name="Memscan")
    open_study(qtbot, dock, folder_study)
    for theme in ("dark", "light"):
        viewer.theme = theme
        qtbot.wait(800)
        QApplication.processEvents()
        assert dock.width() <= 420
        area = dock._stack.currentWidget()
        assert area.horizontalScrollBar().maximum() == 0
        look_at_panes(viewer, len(dock.viewing.layers))
    canvas = viewer.window._qt_viewer.canvas.native
    qtbot.keyClick(canvas, Qt.Key.Key_K)
    assert dock.review.progress[0] == 1
    qtbot.keyClick(canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert dock.review.progress[0] == 0
    qtbot.waitUntil(lambda: idle(dock), timeout=WAIT)
    dock.review.set_study(None)


def look_at_panes(viewer, n: int) -> None:
    """Every pane shows something, and all of it on black, in both themes."""
    picture = viewer.screenshot(canvas_only=True, flash=False)[..., :3].mean(axis=-1)
    rows, columns = viewer.canvas.grid.shape
    high, wide = picture.shape[0] // rows, picture.shape[1] // columns
    for i in range(n):
        top, left = (i // columns) * high, (i % columns) * wide
        pane = picture[top : top + high, left : left + wide]
        middle = pane[high // 3 : 2 * high // 3, wide // 3 : 2 * wide // 3]
        assert middle.std() > 10, f"pane {i} is empty"
    assert np.median(picture[:3]) < 10
