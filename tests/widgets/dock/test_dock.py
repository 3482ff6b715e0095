"""The dock on napari's model of a viewer: no window is opened, so these are quick."""

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication

from napari_memscan.review.session import ReviewSession
from napari_memscan.study import Study
from napari_memscan.typing import Decision
from napari_memscan.widgets.dock.dock import GENERATE, REVIEW, STUDY, MemscanWidget
from napari_memscan.widgets.review.actions import ReviewAction
from napari_memscan.widgets.study.trust_dialog import TrustDialog

WAIT = 60_000


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def dock(viewer, qtbot):
    def settle(widget):
        qtbot.waitUntil(lambda: idle(widget), timeout=WAIT)
        widget.review.set_study(None)

    widget = MemscanWidget(viewer)
    qtbot.addWidget(widget, before_close_func=settle)
    return widget


def idle(dock) -> bool:
    return not (dock.study.busy or dock.generate.busy or dock.review.busy or dock.viewing.loading)


def open_study(qtbot, dock, folder) -> None:
    with qtbot.waitSignal(dock.study.opened, timeout=WAIT):
        dock.open_study(folder)
    qtbot.waitUntil(lambda: idle(dock), timeout=WAIT)


def titles(viewer) -> list[str]:
    return [layer.name for layer in viewer.layers if layer.visible]


def test_the_next_step_is_always_said(qtbot, dock, fresh_study):
    assert dock.step == STUDY
    assert "open a study" in dock.steps.next_text
    assert not dock.steps.button(GENERATE).isEnabled()
    open_study(qtbot, dock, fresh_study.folder)
    assert dock.step == GENERATE
    assert "Generate" in dock.steps.next_text
    assert not dock.steps.button(REVIEW).isEnabled()
    dock.generate_view.n.setValue(2)
    with qtbot.waitSignal(dock.generate.changed, timeout=WAIT):
        dock.generate_view.start_button.click()
        assert "Stop" in dock.steps.next_text
    assert "3 Review, 2 to read" in dock.steps.next_text
    dock.steps.button(REVIEW).click()
    qtbot.waitUntil(lambda: idle(dock), timeout=WAIT)
    assert dock.step == REVIEW
    assert "decide" in dock.steps.next_text


def test_what_a_model_lacks_is_the_next_step(qtbot, dock, bundles):
    dock.study_view.rows["generator"].choose(str(bundles / "bare"))
    qtbot.waitUntil(lambda: idle(dock), timeout=WAIT)
    assert dock.steps.next_text.endswith("state latent_shape below the generator")
    dock.study_view.models["generator"].state("latent_shape=2,8,8,8")
    qtbot.waitUntil(lambda: idle(dock), timeout=WAIT)
    assert dock.steps.next_text.endswith("choose folder, cohort")


def test_nothing_is_regenerated_with_code_that_nobody_trusts(qtbot, dock, ldm_study, tmp_path):
    (tmp_path / "own.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    study = Study.open(ldm_study)
    study.update(embedder=f"{tmp_path / 'own.py'}:make", embedder_trust=True)
    open_study(qtbot, dock, ldm_study)
    asked = []

    def refuse() -> None:
        dialog = QApplication.activeModalWidget()
        if isinstance(dialog, TrustDialog):
            asked.append(dialog.path)
            dialog.reject()

    timer = QTimer(dock)
    timer.timeout.connect(refuse)
    timer.start(20)
    dock.review.act(ReviewAction.REGENERATE)
    timer.stop()
    assert asked == [f"{tmp_path / 'own.py'}:make"]
    assert not dock.review.busy
    assert "Not run" in dock.review_view.message.text
    assert len(Study.open(ldm_study).samples()) == 3


def test_window_level_zoom_and_slice_are_shared_and_stay(qtbot, viewer, dock, folder_study):
    open_study(qtbot, dock, folder_study)
    layers = dock.viewing.layers
    assert viewer.canvas.grid.enabled
    assert np.prod(viewer.canvas.grid.shape) >= len(layers)
    assert viewer.dims.current_step[2] == 8
    layers[2].contrast_limits = (0.2, 0.7)
    assert all(layer.contrast_limits == [0.2, 0.7] for layer in layers)
    viewer.dims.set_current_step(2, 3)
    zoom = viewer.scene.camera.zoom = viewer.scene.camera.zoom * 2
    dock.review.act(ReviewAction.NEXT)
    qtbot.waitUntil(lambda: idle(dock), timeout=WAIT)
    assert titles(viewer)[0].startswith("Synthetic made4.nii.gz")
    assert layers[0].contrast_limits == [0.2, 0.7]
    assert viewer.dims.current_step[2] == 3
    assert viewer.scene.camera.zoom == zoom
    # Another number of neighbours keeps the window, too.
    dock.review_view.k.setValue(1)
    qtbot.waitUntil(lambda: idle(dock) and len(titles(viewer)) == 2, timeout=WAIT)
    assert dock.viewing.layers[1].contrast_limits == [0.2, 0.7]


def test_anterior_is_up_and_the_right_side_is_marked(qtbot, viewer, dock, folder_study):
    open_study(qtbot, dock, folder_study)
    assert viewer.dims.order == (2, 1, 0)
    overlay = viewer.canvas.overlays["memscan_left"]
    assert (overlay.text, overlay.visible) == ("R", True)
    assert viewer.canvas.overlays["memscan_bottom"].text == "P"
    dock.viewing.set_plane("Sagittal")
    assert viewer.dims.order == (0, 2, 1)
    assert overlay.text == "A"
    viewer.scene.camera.orientation2d = ("up", "right")  # the reader may turn it: the mark follows
    assert overlay.text == "P"
    viewer.dims.ndisplay = 3
    assert overlay.text == ""


def test_the_window_is_given_back_as_it_was(qtbot, viewer, dock, folder_study):
    own = viewer.add_image(np.ones((8, 8)), name="mine")
    before = viewer.canvas.grid.enabled, viewer.canvas.grid.shape, viewer.canvas.background_color
    open_study(qtbot, dock, folder_study)
    assert not own.visible
    assert "mine" not in titles(viewer)
    dock.study.new()
    assert titles(viewer) == ["mine"]
    after = viewer.canvas.grid.enabled, viewer.canvas.grid.shape, viewer.canvas.background_color
    assert np.all([np.all(a == b) for a, b in zip(before, after, strict=True)])
    assert "memscan_left" not in viewer.canvas.overlays


def test_a_layer_that_somebody_removed_comes_back(qtbot, viewer, dock, folder_study):
    open_study(qtbot, dock, folder_study)
    viewer.layers.remove(viewer.layers[1])
    dock.review.act(ReviewAction.NEXT)
    qtbot.waitUntil(lambda: idle(dock), timeout=WAIT)
    assert len(titles(viewer)) == 4


def test_a_volume_that_cannot_be_read_is_said_in_the_dock(qtbot, viewer, dock, ldm_study):
    for file in (ldm_study / "synthetic").glob("*.nii.gz"):
        file.unlink()
    open_study(qtbot, dock, ldm_study)
    assert dock.review_view.message.level == "error"
    assert "missing. Restore" in dock.review_view.message.text
    assert titles(viewer) == []
    # What is not seen can only be left as unsure.
    dock.review.act(Decision.COPY)
    assert dock.review.progress[0] == 0
    dock.review.act(Decision.UNSURE)
    assert dock.review.progress[0] == 1
    (event,) = dock.review.session.store.history()
    assert event.evidence["sample_sha256"] == ""


def test_why_nothing_can_be_read_is_said_where_one_is(qtbot, dock, folder_study):
    (folder_study / "scan" / "verdicts.parquet").write_bytes(b"half a file")
    open_study(qtbot, dock, folder_study)
    assert dock.step == GENERATE
    assert dock.generate_view.message.level == "error"
    assert "Scan again" in dock.generate_view.message.text


def test_a_closed_window_holds_no_case(qtbot, dock, folder_study):
    dock.show()
    open_study(qtbot, dock, folder_study)
    current, session = dock.review_view.queue.current, dock.review.session
    other = ReviewSession(Study.open(folder_study).store())
    other.reader = "somebody else"
    try:
        assert other.open(current) == session.reader
        dock.hide()
        assert other.open(current) == ""
    finally:
        other.close()


def test_keys_are_free_and_given_back(qtbot, viewer, dock, folder_study):
    theirs = []
    viewer.bind_key("K", lambda viewer: theirs.append(1))
    mine = viewer.keymap.copy()
    dock.show()
    open_study(qtbot, dock, folder_study)
    assert viewer.keymap != mine
    dock.go_to(STUDY)
    assert viewer.keymap == mine


def test_keys_decide_in_the_dock_and_on_the_canvas(qtbot, viewer, dock, folder_study):
    dock.show()
    dock.activateWindow()
    qtbot.waitUntil(dock.isActiveWindow, timeout=WAIT)
    open_study(qtbot, dock, folder_study)
    table = dock.review_view.queue.table
    qtbot.keyClick(table, Qt.Key.Key_K)
    assert dock.review.progress[0] == 1
    qtbot.waitUntil(lambda: idle(dock), timeout=WAIT)
    canvas_key(viewer, "N")
    assert dock.review.progress[0] == 2
    qtbot.keyClick(table, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert dock.review.progress[0] == 1
    canvas_key(viewer, "Control-Z")
    assert dock.review.progress[0] == 0
    at = dock.review_view.queue.current
    canvas_key(viewer, "J")
    qtbot.keyClick(table, Qt.Key.Key_H)
    assert dock.review_view.queue.current == at
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
