"""The statistics on a real study, with a real mouse: drag the threshold, draw a lasso, follow."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pyqtgraph as pg
import pytest
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLabel

from napari_memscan.detection.exploration.embedding_map import fit_embedding_map
from napari_memscan.detection.exploration.threshold_curve import (
    count_above_threshold,
    is_threshold_inclusive,
)
from napari_memscan.jobs.scan.embedding_map import compute_embedding_map
from napari_memscan.study import Study
from napari_memscan.widgets.common.theme import ThemeColours
from napari_memscan.widgets.statistics import StatisticsPanel
from napari_memscan.widgets.statistics.controller import MapController
from napari_memscan.widgets.statistics.lasso import find_points_inside
from napari_memscan.widgets.statistics.threshold_view import compute_densities

WAIT = 20_000
LIGHT = ThemeColours(
    background="#efebe9",
    foreground="#d6d0ce",
    text="#3b3a39",
    accent="#fdf6e3",
    quiet="#bcb4b1",
    error="#99121f",
    warning="#e3b617",
    dark=False,
)


@pytest.fixture
def panel(qtbot):
    widget = StatisticsPanel()
    qtbot.addWidget(widget)
    widget.resize(420, 640)
    widget.show()
    qtbot.waitExposed(widget)
    yield widget
    widget.set_study(None, None)
    qtbot.waitUntil(lambda: not widget.busy, timeout=WAIT)


@pytest.fixture
def shown(panel, folder_study):
    study = Study.open(folder_study)
    panel.set_study(study, study.result())
    panel.study = study
    QTest.qWait(200)  # The layout settles.
    return panel


@pytest.fixture
def mapped(qtbot, shown):
    shown.tabs.setCurrentWidget(shown.map)
    qtbot.waitUntil(lambda: bool(shown.map.provenance.text()), timeout=WAIT)
    QTest.qWait(100)
    return shown


def names_of(study) -> list[str]:
    """Of the samples, in the order of the scan."""
    return [sample.name for sample in study.result().samples]


def scatters(panel):
    """The clouds of points that are drawn on the map."""
    items = panel.map.plot.getPlotItem().items
    return [item for item in items if isinstance(item, pg.ScatterPlotItem)]


def ringed(panel) -> str | None:
    """The volume that has the ring on the map."""
    x, y = panel.map.ring.getData()
    if len(x) == 0:
        return None
    away = np.hypot(*(panel.map.embedding_map.synthetic - (x[0], y[0])).T)
    return names_of(panel.study)[int(away.argmin())]


def pixel(plot, x, y) -> QPoint:
    at = plot.getPlotItem().getViewBox().mapViewToScene(QPointF(x, y))
    return plot.mapFromScene(at)


def drag(plot, points) -> None:
    """Press the left button, go along pixels, let go: slowly, as a hand does."""
    port = plot.viewport()
    QTest.mouseMove(port, points[0])
    QTest.qWait(30)
    QTest.mousePress(port, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, points[0])
    for point in points[1:]:
        QTest.mouseMove(port, point)
        QTest.qWait(25)
    QTest.mouseRelease(port, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, points[-1])
    QTest.qWait(60)


def told(result, threshold):
    values = [result.value(s) for s in result.samples]
    return count_above_threshold(
        values, result.null, threshold, reaching=is_threshold_inclusive(result)
    )


@pytest.mark.display
def test_the_threshold_is_dragged_and_counts_follow(qtbot, shown):
    view, result = shown.threshold, shown.study.result()
    assert view.line.value() == pytest.approx(result.threshold)
    found = told(result, result.threshold)
    assert f"<b>{found.above} of 6</b> synthetic volumes above" in view.counts.text()
    low, _ = view.plot.getPlotItem().viewRange()[0]
    middle = np.mean(view.plot.getPlotItem().viewRange()[1])
    start, end = pixel(view.plot, view.line.value(), middle), pixel(view.plot, low, middle)
    path = [QPoint(int(x), start.y()) for x in np.linspace(start.x(), end.x() + 12, 8)]
    with qtbot.waitSignal(shown.explored, timeout=WAIT):
        drag(view.plot, path)
    qtbot.waitUntil(lambda: "<b>6 of 6</b>" in view.counts.text(), timeout=WAIT)
    now = told(result, view.line.value())
    assert now.threshold < result.threshold
    assert now.above == 6 > found.above
    assert f"<b>6 of 6</b> synthetic volumes above {now.threshold:.3f}" in view.counts.text()
    assert f"<b>{now.null_above} of {len(result.null)}</b> of the null above" in view.counts.text()
    assert f"error rate <b>{now.error_rate:.1%}</b>" in view.counts.text()
    assert "Clopper-Pearson" in view.counts.text()
    assert view.box.value() == pytest.approx(now.threshold, abs=1e-3)
    # It explored, and changed nothing.
    assert shown.study.result().threshold == result.threshold
    view.back.click()
    assert view.line.value() == pytest.approx(result.threshold)
    assert f"<b>{found.above} of 6</b>" in view.counts.text()
    assert "only explores" in view.note.text()


def test_the_threshold_is_typed(qtbot, shown):
    view = shown.threshold
    with qtbot.waitSignal(shown.explored, timeout=WAIT) as heard:
        view.box.setFocus()
        view.box.selectAll()
        QTest.keyClicks(view.box.lineEdit(), "0.5")
        QTest.keyClick(view.box, Qt.Key.Key_Return)
    assert heard.args[0].threshold == pytest.approx(0.5)
    assert "above 0.500" in view.counts.text()


@pytest.mark.display
def test_a_lasso_of_the_mouse_picks_what_lies_inside(qtbot, mapped):
    view, names = mapped.map, names_of(mapped.study)
    points = view.embedding_map.synthetic
    target = 0
    centre = pixel(view.plot, *points[target])
    circle = [
        QPoint(round(centre.x() + 22 * np.cos(a)), round(centre.y() + 22 * np.sin(a)))
        for a in np.linspace(0, 2 * np.pi, 14)
    ]
    with qtbot.waitSignal(mapped.samples_selected, timeout=WAIT) as heard:
        drag(view.plot, circle)
    near = [
        name
        for name, p in zip(names, points, strict=True)
        if np.hypot(*((pixel(view.plot, *p) - centre).x(), (pixel(view.plot, *p) - centre).y()))
        < 18
    ]
    assert names[target] in heard.args[0]
    assert set(near) <= set(heard.args[0])
    assert len(heard.args[0]) < len(names)
    assert f"<b>{len(heard.args[0])} synthetic volume" in view.count.text()
    with qtbot.waitSignal(mapped.samples_selected) as cleared:
        QTest.keyClick(view.plot, Qt.Key.Key_Escape)
    assert cleared.args == [[]]
    # A rectangle over everything.
    view.rectangle.click()
    port = view.plot.viewport().rect()
    box = view.area.sceneBoundingRect().toRect().intersected(port).adjusted(6, 6, -6, -6)
    with qtbot.waitSignal(mapped.samples_selected) as every:
        drag(view.plot, [box.topLeft(), box.center(), box.bottomRight()])
    assert every.args[0] == names


@pytest.mark.display
def test_a_click_selects_a_volume_and_keys_go_on(qtbot, mapped):
    view, names = mapped.map, names_of(mapped.study)
    points = view.embedding_map.synthetic
    far = max(
        range(6), key=lambda i: min(np.abs(points[i] - points[j]).sum() for j in range(6) if j != i)
    )
    with qtbot.waitSignal(mapped.sample_selected, timeout=WAIT) as heard:
        QTest.mouseClick(
            view.plot.viewport(), Qt.MouseButton.LeftButton, pos=pixel(view.plot, *points[far])
        )
    assert heard.args == [names[far]]
    result = mapped.study.result()
    assert f"selected&nbsp;{result.value(result.samples[far]):.{result.digits}f}" in (
        mapped.threshold.legend.text()
    )
    assert ringed(mapped) == names[far]
    with qtbot.waitSignal(mapped.sample_selected) as heard:
        QTest.keyClick(view.plot, Qt.Key.Key_Right)
    order = [names[i] for i in np.argsort(points[:, 0], kind="stable")]
    assert heard.args == [order[(order.index(names[far]) + 1) % 6]]


def test_shift_and_arrows_draw_around_without_a_mouse(mapped):
    view, names = mapped.map, names_of(mapped.study)
    order = [names[i] for i in np.argsort(view.embedding_map.synthetic[:, 0], kind="stable")]
    drawn = []
    # As the window links them: the queue shows only what is drawn around.
    mapped.samples_selected.connect(drawn.append)
    mapped.samples_selected.connect(lambda names: mapped.set_visible_samples(names or None))
    mapped.set_selected(order[1])
    for _ in range(2):
        QTest.keyClick(view.plot, Qt.Key.Key_Right, Qt.KeyboardModifier.ShiftModifier)
    assert set(drawn[0]) == set(order[1:3])
    assert set(drawn[1]) == set(order[1:4])
    assert ringed(mapped) == order[3]
    QTest.keyClick(view.plot, Qt.Key.Key_Left)
    assert ringed(mapped) == order[2]
    QTest.keyClick(view.plot, Qt.Key.Key_Escape)
    assert drawn[2:] == [[]]


def test_the_queue_is_followed_and_nothing_is_sent_back(qtbot, mapped):
    names = names_of(mapped.study)
    sent = []
    mapped.sample_selected.connect(sent.append)
    mapped.samples_selected.connect(sent.append)
    mapped.set_selected(names[2])
    assert ringed(mapped) == names[2]
    mapped.set_visible_samples(names[:2])
    assert "of the 2 shown in the queue" in mapped.threshold.counts.text()
    assert sent == []
    # What the queue does not show cannot be picked, unlike what it shows.
    for point in mapped.map.embedding_map.synthetic:
        mapped.map.area.signals.clicked.emit(*point)
    assert set(sent) <= set(names[:2])
    assert sent
    mapped.set_visible_samples(None)
    assert "shown in the queue" not in mapped.threshold.counts.text()
    mapped.set_selected("no such")
    assert ringed(mapped) is None


def test_the_map_is_that_of_the_vectors(mapped, folder_study):
    study = Study.open(folder_study)
    from napari_memscan.jobs.scan.volumes import iter_vectors

    paths = {s: [r.path for r in study.cohort.rows(s)] for s in ("training", "validation")}
    vectors = {s: np.stack(list(iter_vectors(study, p))) for s, p in paths.items()}
    made = np.stack(
        list(iter_vectors(study, [str(study.path_of(s.name)) for s in study.result().samples]))
    )
    wanted = fit_embedding_map(vectors["training"], vectors["validation"], made)
    found = mapped.map.embedding_map.synthetic
    np.testing.assert_allclose(found, wanted.synthetic, atol=1e-6)
    called = [s.verdict in ("copy", "near-duplicate") for s in study.result().samples]
    stars = [
        np.stack(drawn.getData(), 1) for drawn in scatters(mapped) if drawn.opts["symbol"] == "star"
    ]
    assert sorted(map(tuple, np.concatenate(stars))) == sorted(map(tuple, found[called]))


def test_without_vectors_it_says_scan_first(qtbot, shown):
    shutil.rmtree(shown.study.cache_dir)
    shown.tabs.setCurrentWidget(shown.map)
    qtbot.waitUntil(lambda: "Scan first" in shown.map.message.text, timeout=WAIT)
    assert shown.map.message.level == "error"
    assert shown.map.embedding_map is None
    assert scatters(shown) == []


def test_without_a_scan_it_says_so(panel, fresh_study):
    panel.set_study(fresh_study, None)
    assert not panel.tabs.isVisible()
    assert any("Scan first" in label.text() for label in panel.findChildren(QLabel))
    panel.tabs.setCurrentWidget(panel.map)
    assert not panel.busy


def test_a_late_map_is_dropped(qtbot, folder_study):
    study = Study.open(folder_study)
    result = study.result()
    gate = threading.Event()
    made = []

    def slow(study, result, method):
        made.append(method)
        if method == "slow":
            gate.wait(10)
        return (yield from compute_embedding_map(study, result, "PCA"))

    maps = MapController(make=slow)
    answers = []
    maps.ready.connect(lambda found, failure: answers.append((made[-1], failure)))
    maps.ask(study, result, "slow")
    qtbot.waitUntil(lambda: made == ["slow"])
    maps.ask(study, result, "second")
    maps.ask(study, result, "third")
    gate.set()
    qtbot.waitUntil(lambda: len(answers) == 1 and not maps.busy, timeout=WAIT)
    assert made == ["slow", "third"]
    assert answers == [("third", "")]
    maps.ask(study, result, "fourth")
    maps.forget()
    qtbot.waitUntil(lambda: not maps.busy, timeout=WAIT)
    assert len(answers) == 1


def test_the_curve_says_how_many_training_volumes_have_a_copy(shown):
    result = shown.study.result()
    assert (
        f"<b>{result.n_mem} of 8</b> training volumes have a copy" in shown.rarefaction.text.text()
    )


@pytest.mark.display
@pytest.mark.parametrize("size", [(380, 640), (900, 420)])
def test_nothing_is_cut_in_either_theme(qtbot, mapped, tmp_path, size):
    mapped.resize(*size)
    for look in (ThemeColours(), LIGHT):
        mapped.set_theme(look)
        assert mapped.readers.minimumSizeHint().width() <= size[0]
        for view in (mapped.threshold, mapped.map, mapped.rarefaction):
            mapped.tabs.setCurrentWidget(view)
            QTest.qWait(80)
            assert mapped.width() == size[0]
            assert view.plot.height() >= 120
            picture = view.plot.grab().toImage()
            colours = {
                picture.pixelColor(x, y).name()
                for x in range(60, picture.width() - 10, 3)
                for y in range(10, picture.height() - 50, 3)
            }
            assert len(colours) >= 3, "the plot is empty"


def test_densities_are_percent_on_common_edges():
    edges, front, behind = compute_densities([0.1, 0.9, np.nan], [0.2] * 7, bins=8)
    assert edges[0] == pytest.approx(0.1)
    assert edges[-1] == pytest.approx(0.9)
    assert front.sum() == pytest.approx(100)
    assert behind.sum() == pytest.approx(100)
    assert front[-1] == 50
    for degenerate in ([], [0.5]):
        edges, front, behind = compute_densities(degenerate, degenerate)
        assert np.all(np.diff(edges) > 0)
        assert front.sum() == pytest.approx(100 * len(degenerate))


def test_inside_is_even_odd():
    square = [(0, 0), (2, 0), (2, 2), (0, 2)]
    points = [(1, 1), (3, 1), (-1, 1), (1, 3), (0.1, 1.9)]
    assert find_points_inside(points, square).tolist() == [True, False, False, False, True]
    bow = [(0, 0), (2, 2), (2, 0), (0, 2)]
    assert find_points_inside([(0.2, 1.0), (1.8, 1.0), (1.0, 0.2)], bow).tolist() == [
        True,
        True,
        False,
    ]
    assert not find_points_inside(points, square[:2]).any()
    assert find_points_inside(np.zeros((0, 2)), square).shape == (0,)
