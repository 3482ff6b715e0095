"""The real window: pixels, the mouse, and the controls."""

import numpy as np
import pytest
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_memscan.widgets.viewing import PAIR_MODES, VIEW_ACTIONS, ViewerController, ViewingBar

from .conftest import WAIT

RIGHT, LEFT = Qt.MouseButton.RightButton, Qt.MouseButton.LeftButton


@pytest.fixture
def window(shared_viewer, qtbot):
    """A napari window, a Viewing over what plugins get of it, and its canvas."""
    from napari.utils._proxies import PublicOnlyProxy

    viewer = shared_viewer
    viewer.window.resize(1000, 700)
    canvases = [w for w in QApplication.allWidgets() if isinstance(w, QOpenGLWidget)]
    (canvas,) = [widget for widget in canvases if widget.isVisible()]
    viewing = ViewerController(PublicOnlyProxy(viewer), memory_mb=64)
    yield viewer, viewing, canvas
    viewing.clear()
    qtbot.waitUntil(lambda: not viewing.preloading, timeout=WAIT)
    assert len(viewer.layers) == 0


def picture(viewer, qtbot) -> np.ndarray:
    qtbot.wait(300)
    QApplication.processEvents()
    return viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(float)


def panes(viewer, image: np.ndarray, n: int) -> list[np.ndarray]:
    """The middle of each pane: what a volume covers, and no title or letter."""
    rows, columns = viewer.canvas.grid.shape
    high, wide = image.shape[0] // rows, image.shape[1] // columns
    found = []
    for i in range(n):
        top, left = (i // columns) * high, (i % columns) * wide
        pane = image[top : top + high, left : left + wide]
        found.append(pane[high // 3 : 2 * high // 3, wide // 3 : 2 * wide // 3])
    return found


@pytest.mark.display
def test_every_way_to_show_a_pair_is_another_picture(window, shelf, show, settle, qtbot):
    viewer, viewing, _ = window
    viewing.set_layout("pair")
    viewing.set_partner(1)
    show(viewing, shelf.case(0))
    viewing.set_partner(1)
    settle(viewing)
    seen = {}
    for mode in PAIR_MODES[1:]:
        viewing.set_pair_mode(mode)
        settle(viewing)
        (seen[mode],) = panes(viewer, picture(viewer, qtbot), 1)
        assert seen[mode].std() > 5, mode
    colour = {mode: np.ptp(pane, axis=-1).mean() for mode, pane in seen.items()}
    for mode in ("blink", "fade", "checkerboard"):
        assert colour[mode] < 1, f"{mode} is grey"
    for mode in ("difference", "contours", "similarity map"):
        assert colour[mode] > 2, f"{mode} has colour"
    names = list(seen)
    for i, mode in enumerate(names):
        for other in names[i + 1 :]:
            assert np.abs(seen[mode] - seen[other]).mean() > 1, f"{mode} looks like {other}"


@pytest.mark.display
def test_while_a_case_loads_the_canvas_is_black(window, shelf, show, qtbot):
    viewer, viewing, _ = window
    show(viewing, shelf.case(0))
    shelf.gate.clear()
    viewing.show(shelf.case(1), shelf.load, shelf.spacing)
    image = picture(viewer, qtbot)
    shelf.gate.set()
    quarter = panes(viewer, image, 4)[0]
    assert np.median(quarter) == 0
    qtbot.waitUntil(lambda: not viewing.loading, timeout=WAIT)


def centre(viewer, canvas, pane: int) -> QPoint:
    rows, columns = viewer.canvas.grid.shape
    x = (pane % columns + 0.5) * canvas.width() / columns
    y = (pane // columns + 0.5) * canvas.height() / rows
    return QPoint(int(x), int(y))


def drag(canvas, button, start: QPoint, by: tuple[int, int], modifier=None) -> None:
    modifier = modifier or Qt.KeyboardModifier.NoModifier
    QTest.mousePress(canvas, button, modifier, start)
    for share in (0.5, 1.0):
        QTest.mouseMove(canvas, start + QPoint(int(by[0] * share), int(by[1] * share)))
        QTest.qWait(20)
    QTest.mouseRelease(canvas, button, modifier, start + QPoint(*by))


def turn(canvas, at: QPoint, steps: int, modifier=Qt.KeyboardModifier.NoModifier) -> None:
    event = QWheelEvent(
        QPointF(at),
        QPointF(canvas.mapToGlobal(at)),
        QPoint(),
        QPoint(0, 120 * steps),
        Qt.MouseButton.NoButton,
        modifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(canvas, event)
    QTest.qWait(20)


@pytest.mark.display
def test_a_right_drag_is_the_window_and_leaves_the_camera(window, shelf, show, qtbot):
    viewer, viewing, canvas = window
    show(viewing, shelf.case(0), modality="CT", units=(-300, 900))
    qtbot.wait(300)
    camera = viewer.scene.camera
    zoom, at = camera.zoom, camera.center
    start = centre(viewer, canvas, 2)
    drag(canvas, RIGHT, start, (120, 0))
    width, level = viewing.window.width_level
    assert width > 1300
    assert level == pytest.approx(300)
    drag(canvas, RIGHT, start, (0, -100))
    assert viewing.window.width_level[1] < 250, "upwards is brighter"
    width = viewing.window.width_level[0]
    drag(canvas, LEFT, start, (-120, 0), Qt.KeyboardModifier.ShiftModifier)
    assert viewing.window.width_level[0] < width
    assert (camera.zoom, tuple(camera.center)) == (zoom, tuple(at))
    assert len({tuple(layer.contrast_limits) for layer in viewing.layers}) == 1
    # A left drag pans, as ever, and is no click.
    drag(canvas, LEFT, start, (40, 30))
    assert tuple(camera.center) != tuple(at)
    assert viewing.partner == 0


@pytest.mark.display
def test_a_click_chooses_the_partner_and_the_wheel_the_slice(window, shelf, show, qtbot):
    viewer, viewing, canvas = window
    show(viewing, shelf.case(0))
    qtbot.wait(300)
    QTest.mouseClick(canvas, LEFT, Qt.KeyboardModifier.NoModifier, centre(viewer, canvas, 2))
    assert viewing.partner == 1
    zoom = viewer.scene.camera.zoom
    at = centre(viewer, canvas, 0)
    turn(canvas, at, -2)
    assert viewing.position["slice"] == 8
    assert viewer.dims.point[2] == 8
    assert viewer.scene.camera.zoom == zoom
    turn(canvas, at, 1, Qt.KeyboardModifier.ControlModifier)
    assert viewer.scene.camera.zoom > zoom
    assert viewing.position["slice"] == 8
    # napari's own slider is followed.
    viewer.dims.set_current_step(2, 3)
    assert viewing.position["slice"] == 3


@pytest.mark.display
def test_the_crosshair_goes_where_the_mouse_clicks(window, shelf, show, settle, qtbot):
    viewer, viewing, canvas = window
    show(viewing, shelf.case(0))
    viewing.set_layout("planes")
    settle(viewing)
    qtbot.wait(300)
    before = viewing.position["voxel"]
    place = centre(viewer, canvas, 3) + QPoint(-40, -25)
    QTest.mouseClick(canvas, LEFT, Qt.KeyboardModifier.NoModifier, place)
    x, y, z = viewing.position["voxel"]
    # In the partner's axial pane: to the left is the patient's right, up is anterior.
    assert x > before[0]
    assert y > before[1]
    assert z == before[2]
    turn(canvas, centre(viewer, canvas, 2), -1)
    assert viewing.position["voxel"] == [x + 1, y, z]


@pytest.fixture
def bar(viewing, qtbot):
    bar = ViewingBar()
    qtbot.addWidget(bar)
    bar.set_viewing(viewing)
    bar.resize(404, bar.sizeHint().height())
    bar.show()
    return bar


@pytest.mark.display
def test_controls_fit_the_dock_and_follow(viewing, bar, shelf, show, settle):
    assert bar.minimumSizeHint().width() <= 404
    assert bar.height() <= 130
    show(viewing, shelf.case(0), modality="CT", units=(-300, 900))
    assert bar.layouts["grid"].isChecked()
    bar.layouts["pair"].click()
    settle(viewing)
    assert viewing.layout == "pair"
    assert bar.layouts["pair"].text() == "Pair ●"
    for mode, widget in (("fade", bar.fade), ("blink", bar.blinking)):
        bar.mode.setCurrentText(mode)
        bar.mode.textActivated.emit(mode)
        settle(viewing)
        assert bar.extra.currentWidget() is widget
    assert not viewing.blinking
    bar.blink.setValue(300)
    assert not viewing.blinking
    bar.timer.click()
    assert viewing.blinking
    assert bar.timer.text() == "■ Stop"
    assert viewing.blink_interval == 300
    bar.preset.textActivated.emit("Bone")
    assert (bar.width_.value(), bar.level.value()) == (1000, 400)
    bar.level.setValue(100)
    assert viewing.window.width_level == pytest.approx((1000, 100))
    assert bar.preset.currentText() == "Custom"
    bar.reset.click()
    assert viewing.limits == (0, 1)
    show(viewing, shelf.case(1, transform=None))
    assert bar.extra.currentWidget() is bar.offset
    assert not bar.mode.isEnabled()


def test_everything_is_done_by_actions_with_keys_that_napari_leaves_free(
    viewer, viewing, bar, shelf, show, settle
):
    show(viewing, shelf.case(0, transform=None))
    for name, (words, key) in VIEW_ACTIONS.items():
        assert words
        assert key.replace("PgUp", "PageUp").replace("PgDown", "PageDown") not in {
            str(k) for k in (*viewer.keymap, *viewer.class_keymap)
        }
        before = (viewing.position, viewing.offset, viewing.state.flipped)
        if name in ("offset down", "offset up"):
            viewing.set_layout("pair")
            settle(viewing)
        if name == "reset window":
            assert viewing.window.preset != "Full"
        bar.act(name)
        settle(viewing)
        after = (viewing.position, viewing.offset, viewing.state.flipped)
        assert after != before or name in ("map", "pair mode"), name
