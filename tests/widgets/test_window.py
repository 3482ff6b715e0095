"""The real thing: a napari window with the dock, driven with the mouse and with keys."""

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_memscan import jobs
from napari_memscan.report.verification import verify_release
from napari_memscan.review.audit import audit_store
from napari_memscan.study import Study
from napari_memscan.widgets.dock.dock import RELEASE, REVIEW, STUDY, MemscanWidget
from napari_memscan.widgets.viewing import LAYOUTS

WAIT = 60_000
LEFT = Qt.MouseButton.LeftButton
ALT, CTRL = Qt.KeyboardModifier.AltModifier, Qt.KeyboardModifier.ControlModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier
Key = Qt.Key


class Room:
    """A window with the dock, and the hands of somebody who reads in it."""

    def __init__(self, viewer, qtbot) -> None:
        self.qtbot, self.closed = qtbot, False
        # Not the proxy: keys are pressed on the canvas itself, which napari keeps to itself.
        self.viewer = viewer
        self.viewer.window.resize(1280, 800)
        self.dock = MemscanWidget(self.viewer)
        self.dock.review_view.reader.setText("R. Reader")
        self.viewer.window.add_dock_widget(self.dock, name="Memscan")
        self.window = self.dock.window()
        self.canvas = self.window.findChild(QOpenGLWidget)
        self.view = self.dock.review_view
        self.queue, self.decision = self.view.queue, self.view.decision
        self.window.activateWindow()

    def settle(self) -> None:
        dock = self.dock
        self.qtbot.waitUntil(
            lambda: (
                not (
                    dock.study.busy
                    or dock.generate.busy
                    or dock.review.busy
                    or dock.release.busy
                    or dock.blind.busy
                    or dock.release.counting
                    or dock.viewing.loading
                    or dock.statistics.busy
                )
            ),
            timeout=WAIT,
        )

    def open(self, folder) -> None:
        with self.qtbot.waitSignal(self.dock.study.opened, timeout=WAIT):
            self.dock.open_study(folder)
        self.settle()

    def close(self) -> None:
        self.settle()
        self.viewer.close()
        self.closed = True

    def click(self, button) -> None:
        stopped = self.dock.release_view.summary.stopped.text
        assert button.isVisible(), f"{button.text()} {stopped}"
        assert button.isEnabled(), button.text()
        self.qtbot.mouseClick(button, LEFT)
        self.settle()

    def press(self, key, *modifiers, on=None) -> None:
        held = Qt.KeyboardModifier.NoModifier
        for modifier in modifiers:
            held |= modifier
        self.qtbot.keyClick(self.canvas if on is None else on, key, held)
        self.settle()

    def title(self, column: int) -> None:
        """Click on a column's title."""
        header = self.queue.table.horizontalHeader()
        place = QPoint(header.sectionViewportPosition(column) + 8, header.height() // 2)
        self.qtbot.mouseClick(header.viewport(), LEFT, pos=place)
        self.settle()

    def titles(self) -> list[str]:
        return [layer.name for layer in self.viewer.layers if layer.visible]

    def decided(self) -> dict[str, str]:
        """What the table itself says of each sample."""
        model = self.queue.model
        rows = range(model.rowCount())
        return {
            model.data(model.index(r, 0)): model.data(model.index(r, 3))
            for r in rows
            if model.data(model.index(r, 3))
        }

    def look_at_panes(self, margin: float = 1 / 3) -> int:
        """Every pane shows something within this margin, on black; return how many there are."""
        QApplication.processEvents()
        picture = self.viewer.screenshot(canvas_only=True, flash=False)[..., :3].mean(axis=-1)
        shown = len(self.dock.viewing.layers)
        rows, columns = self.viewer.canvas.grid.shape if self.viewer.canvas.grid.enabled else (1, 1)
        high, wide = picture.shape[0] // rows, picture.shape[1] // columns
        for i in range(min(shown, rows * columns)):
            top, left = (i // columns) * high, (i % columns) * wide
            pane = picture[top : top + high, left : left + wide]
            top, left = int(high * margin), int(wide * margin)
            middle = pane[top : high - top, left : wide - left]
            assert middle.std() > 10, f"pane {i} of {self.dock.viewing.layout} is empty"
        assert np.median(picture[:3]) < 10, "read on black"
        return min(shown, rows * columns)


@pytest.fixture
def room(shared_viewer, qtbot):
    """A dock in the window that the tests of this module share."""
    room = Room(shared_viewer, qtbot)
    yield room
    room.settle()
    room.dock.review.set_study(None)
    shared_viewer.window.remove_dock_widget("all")
    shared_viewer.theme = "dark"
    room.dock.deleteLater()
    assert len(shared_viewer.layers) == 0


@pytest.fixture
def rooms(make_napari_viewer, qtbot):
    """Return a function that opens a window of its own; at the end all are left in peace."""
    opened: list[Room] = []

    def make() -> Room:
        opened.append(Room(make_napari_viewer(show=True), qtbot))
        return opened[-1]

    yield make
    for room in opened:
        if not room.closed:
            room.settle()
            room.dock.review.set_study(None)
    # napari counts what still holds its windows.
    opened.clear()


@pytest.fixture
def queue_study(ldm_study):
    """Seven samples of an LDM, scanned."""
    study = Study.open(ldm_study)
    jobs.run_job(jobs.generate_volumes(study, 7))
    jobs.run_job(jobs.scan_study(study))
    return ldm_study


@pytest.mark.display
def test_a_radiologist_clears_a_queue(rooms, queue_study, qtbot):
    """Decides, undoes, regenerates, reads blind, closes the window, and finds everything again."""
    room = rooms()
    room.open(queue_study)
    assert room.dock.step == REVIEW
    queue, table = room.queue, room.queue.table
    order = queue.samples
    assert queue.current == order[0]
    assert room.titles()[0].startswith(f"Synthetic {order[0]}")
    assert room.titles()[1].startswith("Training #1 similarity ")
    assert len(room.titles()) == 4
    room.look_at_panes()

    # With the mouse; then with keys on the table, with how certain and why; then on the canvas.
    room.click(room.decision.buttons["copy"])
    assert queue.current == order[1]
    assert room.titles()[0].startswith(f"Synthetic {order[1]}")
    table.setFocus()
    room.press(Key.Key_4, ALT, on=table)
    room.press(Key.Key_N, ALT, on=table)
    comment = room.decision.comment
    qtbot.waitUntil(comment.hasFocus)
    # Letters that decide elsewhere are letters here.
    qtbot.keyClicks(comment, "knujh? same nodule")
    qtbot.keyClick(comment, Key.Key_Return)
    qtbot.waitUntil(table.hasFocus)
    assert room.dock.review.progress == (1, 7)
    room.press(Key.Key_N, on=table)
    room.press(Key.Key_U)
    room.press(Key.Key_2, ALT)
    room.press(Key.Key_K)
    room.click(room.decision.levels.button(5))
    room.press(Key.Key_N)
    assert room.dock.review.progress == (5, 7)
    expected = {
        order[0]: "✖ copy",
        order[1]: "✔ not a copy 4/5",
        order[2]: "? unsure",
        order[3]: "✖ copy 2/5",
        order[4]: "✔ not a copy 5/5",
    }
    assert room.decided() == expected

    room.press(Key.Key_Z, CTRL)
    assert queue.current == order[4]
    assert room.dock.review.progress == (4, 7)
    room.press(Key.Key_Z, CTRL, SHIFT, on=table)
    assert room.decided() == expected
    room.click(room.decision.buttons["undo"])
    assert room.dock.review.progress == (4, 7)
    room.click(room.decision.buttons["redo"])
    assert room.decided() == expected
    room.look_at_panes()

    # The first one is replaced beside the reading, and shown in its place.
    table.scrollToTop()
    place = table.visualRect(queue.proxy.index(queue.proxy.row_of(order[0]), 0)).center()
    qtbot.mouseClick(table.viewport(), LEFT, pos=place)
    room.settle()
    assert queue.current == order[0]
    room.click(room.decision.buttons["regenerate"])
    item = room.dock.review.items[order[0]]
    assert item.replaced_by is not None
    assert queue.current == item.replaced_by
    assert room.titles()[0].startswith(f"Synthetic {item.replaced_by}")
    assert "replaces" in room.view.message.text or "Gave up" in room.view.message.text
    assert f"replaced by {item.replaced_by}" in room.decided()[order[0]]
    room.look_at_panes()
    lineage = {name: one.parent for name, one in room.dock.review.items.items() if one.parent}
    assert room.dock.review.progress == (5, 7 + len(lineage))

    # Three are read blind, with keys on the canvas.
    room.click(room.view.blind)
    page = room.dock.blind_view
    page.start.cases.setValue(3)
    room.click(page.start.start)
    for number, key in enumerate((Key.Key_K, Key.Key_N, Key.Key_U), 1):
        assert page.case.title.text() == f"Case {number} of 3"
        assert room.titles() == ["A", "B"]
        # What random weights make may be dark in the middle.
        room.look_at_panes(0.15)
        room.press(key)
        room.press(Key.Key_J)
    assert room.dock.blind.cases.progress == (3, 3)
    room.click(page.case.end)
    assert room.dock.step == REVIEW
    before, progress = room.decided(), queue.progress.text()
    assert [before[sample] for sample in order[1:5]] == [expected[s] for s in order[1:5]]
    room.close()

    again = rooms()
    again.open(queue_study)
    assert again.dock.step == REVIEW
    assert again.decided() == before
    assert {n: i.parent for n, i in again.dock.review.items.items() if i.parent} == lineage
    assert again.queue.progress.text() == progress
    assert again.dock.review.items[again.queue.current].unread
    first = again.dock.review.items[order[1]].decision
    assert (first.reader, first.confidence) == ("R. Reader", 4)
    assert first.note == "knujh? same nodule"
    assert first.seconds > 0
    again.look_at_panes()
    again.click(again.view.blind)
    assert "is done: 3 cases" in again.dock.blind_view.start.there.text
    again.dock.blind.close()
    again.dock.study.new()
    assert again.titles() == []
    assert again.dock.step == STUDY
    store = Study.open(queue_study).store(read_only=True)
    found, blind = audit_store(store), [e.decision for e in store.history() if e.stage == "blind"]
    store.close()
    assert found.intact, str(found)
    assert blind == ["copy", "not a copy", "unsure"]
    # Two were undone and made again; each blind one was unveiled.
    assert found.n_events == 5 + 4 + 6


@pytest.mark.display
def test_what_is_read_is_released(room, folder_study):
    room.open(folder_study)
    dock, queue, step = room.dock, room.queue, room.dock.release_view
    # One that passes unread is not in the way; the two that are called are.
    room.click(dock.steps.button(RELEASE))
    assert dock.step == RELEASE
    room.click(step.summary.unread_button)
    assert dock.step == REVIEW
    assert sorted(queue.samples) == ["made1.nii.gz", "made4.nii.gz"]
    assert queue.current == queue.samples[0]
    assert queue.everything.isVisible()
    room.press(Key.Key_K)
    room.press(Key.Key_N)
    assert "4 Release" in dock.steps.next_text
    room.click(queue.everything)
    assert len(queue.samples) == 6
    assert not queue.everything.isVisible()
    room.click(dock.steps.button(RELEASE))
    assert "choose a licence" in dock.steps.next_text
    line = step.policy.licence.lineEdit()
    line.clear()
    room.qtbot.keyClicks(line, "CC0-1.0")
    room.press(Key.Key_Return, on=line)
    room.qtbot.keyClicks(step.folder.edit, "handed-out")
    room.press(Key.Key_Return, on=step.folder.edit)
    room.click(step.release_button)
    out = folder_study.parent / "handed-out"
    assert verify_release(out, step.noted).intact
    assert len(list(out.glob("volume-*.nii.gz"))) == 5
    assert "under CC0-1.0" in (out / "LICENSE").read_text()
    assert "hand out the folder" in dock.steps.next_text
    # No part of the step sticks out of the dock.
    for part in (step.summary, step.policy, step.folder, step.fingerprint, step.message):
        assert part.mapTo(dock, part.rect().topRight()).x() <= dock.width()


@pytest.mark.display
def test_a_queue_is_filtered_searched_and_sorted(room, folder_study, qtbot):
    room.open(folder_study)
    queue, table = room.queue, room.queue.table
    order = queue.samples
    for key in (Key.Key_K, Key.Key_N):
        room.press(key)
    # Unread, with a key on the box; the one being read stays the one being read.
    queue.filter.setFocus()
    room.press(Key.Key_Down, on=queue.filter)
    assert queue.filter.currentText() == "Unread"
    assert queue.samples == order[2:]
    assert queue.current == order[2]
    room.press(Key.Key_U)
    assert queue.samples == order[3:]
    assert queue.current == order[3]
    assert table.selectionModel().currentIndex().row() == 0

    room.press(Key.Key_Up, on=queue.filter)
    assert queue.samples == order
    room.press(Key.Key_Q, ALT, on=table)
    qtbot.waitUntil(queue.search.hasFocus)
    qtbot.keyClicks(queue.search, "MADE2")
    assert queue.samples == ["made2.nii.gz"]
    qtbot.keyClicks(queue.search, "nowhere")
    assert queue.samples == []
    assert queue.nothing.isVisible()
    # Escape forgets the search, and the keys of the reading room work again.
    qtbot.keyClick(queue.search, Key.Key_Escape)
    qtbot.waitUntil(table.hasFocus)
    queue.search.clear()
    assert queue.samples == order
    assert room.dock.review.progress == (3, 6)

    room.title(0)
    assert queue.samples == sorted(order)
    room.title(0)
    assert queue.samples == sorted(order, reverse=True)
    # Down the list as it is sorted, not as it was scanned.
    current = queue.current
    below = queue.samples[queue.samples.index(current) + 1]
    room.press(Key.Key_J, on=table)
    assert queue.current == below
    room.click(queue.order)
    assert queue.samples == order
    assert not queue.order.isVisible()


@pytest.mark.display
def test_volumes_are_looked_at_in_every_way(room, verified_study):
    room.open(verified_study)
    viewing = room.dock.viewing
    seen = []
    for _ in range(4):
        room.press(Key.Key_W)
        seen.append((viewing.layout, room.look_at_panes()))
    assert seen == [("pair", 2), ("planes", 6), ("3D", 2), ("grid", 4)]
    assert {layout for layout, _ in seen} == set(LAYOUTS)
    modes = []
    for _ in range(3):
        room.press(Key.Key_W, SHIFT, on=room.queue.table)
        modes.append(viewing.pair_mode if viewing.layout == "pair" else viewing.layout)
        room.look_at_panes()
    assert viewing.layout == "pair"
    assert len(set(modes)) == 3
    # What is on the screen is what is recorded.
    room.press(Key.Key_N)
    store = Study.open(verified_study).store()
    (event,) = store.history()
    store.close()
    assert event.evidence["layout"] == "pair"
    assert event.evidence["view"]["pair_mode"] == modes[-1]
    room.click(room.view.bar.layouts["grid"])
    assert viewing.layout == "grid"
    room.look_at_panes()


@pytest.mark.display
def test_statistics_are_beside_the_volumes(room, verified_study, qtbot):
    room.open(verified_study)
    panel = room.dock.statistics
    room.click(room.view.statistics)
    qtbot.waitUntil(panel.isVisible)
    qtbot.wait(200)
    room.look_at_panes()
    # The line of the threshold is dragged to the left: more volumes are above it.
    plot, box = panel.threshold.plot, panel.threshold.plot.getPlotItem().getViewBox()
    before = panel.threshold.line.value()

    def pixel(value: float) -> QPoint:
        (_, (low, high)) = box.viewRange()
        scene = box.mapViewToScene(box.mapToView(box.mapFromView(_point(value, (low + high) / 2))))
        return plot.mapFromScene(scene)

    start, end = pixel(before), pixel(box.viewRange()[0][0])
    port = plot.viewport()
    QTest.mouseMove(port, start)
    QTest.qWait(30)
    QTest.mousePress(port, LEFT, Qt.KeyboardModifier.NoModifier, start)
    for x in np.linspace(start.x(), end.x() + 15, 8):
        QTest.mouseMove(port, QPoint(int(x), start.y()))
        QTest.qWait(25)
    QTest.mouseRelease(port, LEFT, Qt.KeyboardModifier.NoModifier, QPoint(end.x() + 15, start.y()))
    qtbot.waitUntil(lambda: panel.threshold.line.value() < before)
    qtbot.waitUntil(lambda: "6 of 6" in panel.threshold.counts.text())

    # Queue and panel follow each other.
    other = room.queue.samples[3]
    panel.sample_selected.emit(other)
    room.settle()
    assert room.queue.current == other
    assert room.titles()[0].startswith(f"Synthetic {other}")
    panel.samples_selected.emit(room.queue.samples[:2])
    assert len(room.queue.samples) == 2
    panel.samples_selected.emit([])
    assert len(room.queue.samples) == 6
    # Keys of the reading room work on: the focus is no further than the canvas.
    room.press(Key.Key_K)
    assert room.dock.review.progress[0] == 1
    room.click(room.view.statistics)
    assert not panel.isVisible()


def _point(x: float, y: float):
    from qtpy.QtCore import QPointF

    return QPointF(x, y)


@pytest.mark.display
@pytest.mark.parametrize("kind", ["folder", "verified"])
def test_nothing_is_cut_at_1280x800(request, room, kind):
    room.open(request.getfixturevalue(f"{kind}_study"))
    dock = room.dock
    for theme in ("dark", "light"):
        room.viewer.theme = theme
        room.qtbot.wait(800)
        QApplication.processEvents()
        assert dock.width() <= 420
        area = room.view.parentWidget().parentWidget()
        assert area.horizontalScrollBar().maximum() == 0
        assert area.verticalScrollBar().maximum() == 0, area.widget().sizeHint()
        room.look_at_panes()
    # Also with what a decision and an error say.
    room.press(Key.Key_K)
    room.press(Key.Key_Z, CTRL)
    assert "withdrawn" in room.view.message.text
    room.qtbot.wait(100)
    assert area.horizontalScrollBar().maximum() == 0
