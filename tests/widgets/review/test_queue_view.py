"""The queue as a table: what is listed, in which order, and what is selected."""

from dataclasses import replace

import pytest
from qtpy.QtCore import QPoint, Qt

from napari_memscan.detection.results.scan_result import Neighbour
from napari_memscan.review.events import ReadingEvent
from napari_memscan.review.queue import QueueItem
from napari_memscan.typing import Verdict
from napari_memscan.widgets.review.queue_columns import VERDICT_LABELS, Column, list_columns
from napari_memscan.widgets.review.queue_model import QueueModel
from napari_memscan.widgets.review.queue_view import QueueView

NEAR = (Neighbour("/data/T001.nii.gz", 0.9),)


def item(sample, value, verdict, **more):
    values = {"similarity": value, "reason": "", "neighbours": NEAR}
    values |= {"decision": None, "parent": None, "replaced_by": None, "value": value}
    return QueueItem(sample=sample, verdict=Verdict(verdict), **values | more)


def said(sample, decision, reader="Ann", note="", confidence=None):
    made = ReadingEvent(1, sample, decision, reader, "", note, {}, confidence=confidence)
    return {"decision": made, "decisions": (made,), "own": made}


ITEMS = [
    item("s000003", 0.97, "copy"),
    item("s000000", 0.61, "undecided", reason="too few validation volumes"),
    item("s000001", 0.32, "novel", **said("s000001", "not a copy", note="blurred", confidence=4)),
    item("s000002", 0.2, "novel", **said("s000002", "copy")),
]


@pytest.fixture
def queue(qtbot):
    view = QueueView()
    qtbot.addWidget(view)
    view.set_items(ITEMS)
    return view


def texts(model, row):
    return [model.data(model.index(row, c)) for c in range(model.columnCount())]


def test_rows_say_value_verdict_decision_and_lineage(qtmodeltester):
    model = QueueModel()
    replaced = item("s000004", 0.2, "novel", parent="s000003", replaced_by="s000007")
    model.set_items([*ITEMS, replaced])
    qtmodeltester.check(model)
    assert texts(model, 0) == ["s000003", "0.970", "▲ copy", ""]
    assert texts(model, 2) == ["s000001", "0.320", "○ novel", "✔ not a copy 4/5"]
    assert texts(model, 4)[3] == "replaced by s000007, replaces s000003"
    tip = Qt.ItemDataRole.ToolTipRole
    assert model.data(model.index(1, 2), tip) == "too few validation volumes"
    assert "Ann: not a copy, confidence 4 of 5, blurred" in model.data(model.index(2, 0), tip)
    assert "contradicts the program" in model.data(model.index(3, 0), tip)


def test_a_verified_scan_says_score_and_every_verdict_has_a_sign_of_its_own(qtmodeltester):
    model = QueueModel()
    model.set_items([item("s000001", 0.5, "near-duplicate", p_value=0.0123)])
    model.set_measure("score", 2)
    qtmodeltester.check(model)
    across, role = Qt.Orientation.Horizontal, Qt.ItemDataRole
    assert model.headerData(1, across) == "Score"
    assert "after registration; larger" in model.headerData(1, across, role.ToolTipRole)
    assert texts(model, 0)[1:3] == ["0.50", "△ near-dup."]
    assert model.data(model.index(0, 2), role.ToolTipRole) == "p = 0.012"
    assert "larger is nearer" in model.data(model.index(0, 1), role.AccessibleTextRole)
    model.set_measure("similarity")
    assert model.headerData(1, across) == "Similarity"
    assert len({VERDICT_LABELS[verdict].split()[0] for verdict in Verdict}) == 4


def test_filters_and_search_list_what_they_say(qtbot, queue):
    for name, listed in {
        "Unread": ["s000003", "s000000"],
        "Flagged": ["s000003", "s000002"],
        "Verdict: novel": ["s000001", "s000002"],
        "Reader and program disagree": ["s000002"],
        "Readers disagree": [],
    }.items():
        queue.filter.setCurrentText(name)
        assert queue.samples == listed
        assert queue.nothing.isHidden() == bool(listed)
    queue.filter.setCurrentText("All")
    qtbot.keyClicks(queue.search, "blurr ann")
    assert queue.samples == ["s000001"]
    qtbot.keyClick(queue.search, Qt.Key.Key_Escape)
    assert len(queue.samples) == 4
    queue.set_only(["s000002", "s000000"])
    assert queue.samples == ["s000000", "s000002"]
    queue.set_only(None)
    assert len(queue.samples) == 4


def sorted_by(queue):
    """What the header shows to be sorted by: the title and whether the largest is first."""
    header = queue.table.horizontalHeader()
    if not header.isSortIndicatorShown():
        return None
    title = header.model().headerData(header.sortIndicatorSection(), Qt.Orientation.Horizontal)
    return title, header.sortIndicatorOrder() == Qt.SortOrder.DescendingOrder


def click_title(qtbot, queue, title):
    header = queue.table.horizontalHeader()
    titles = [
        header.model().headerData(i, Qt.Orientation.Horizontal) for i in range(header.count())
    ]
    x = header.sectionViewportPosition(titles.index(title)) + 8
    at = QPoint(x, header.height() // 2)
    qtbot.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=at)


def test_a_key_sorts_by_one_title_after_the_other(queue):
    seen = []
    for _ in range(9):
        queue.sort_next()
        seen.append((sorted_by(queue), queue.samples))
    assert [order for order, _ in seen] == [
        ("Volume", False),
        ("Volume", True),
        ("Similarity", True),
        ("Similarity", False),
        ("Verdict", False),
        ("Verdict", True),
        ("Decision", False),
        ("Decision", True),
        None,
    ]
    assert seen[0][1] == sorted(queue.samples)
    assert seen[-1][1] == [item.sample for item in ITEMS]


def test_a_title_sorts_and_the_order_of_reading_comes_back(qtbot, queue):
    queue.resize(500, 400)
    with qtbot.waitExposed(queue):
        queue.show()
    click_title(qtbot, queue, "Similarity")
    assert queue.samples == [i.sample for i in ITEMS]
    click_title(qtbot, queue, "Similarity")
    assert queue.samples == [i.sample for i in reversed(ITEMS)]
    click_title(qtbot, queue, "Decision")
    # What has no decision comes last, up or down.
    assert queue.samples[:2] == ["s000002", "s000001"]
    click_title(qtbot, queue, "Decision")
    assert queue.samples[:2] == ["s000001", "s000002"]
    assert sorted_by(queue) == ("Decision", True)
    queue.order.click()
    assert queue.samples == [i.sample for i in ITEMS]


def test_another_column_is_one_entry_more(qtbot):
    def with_p_value(*scale):
        p_value = Column(
            "p",
            lambda item: "" if item.p_value is None else f"{item.p_value:.2g}",
            lambda item: item.p_value,
            tooltip="Of the volume among real ones",
            number=True,
        )
        return (*list_columns(*scale), p_value)

    queue = QueueView(list_columns=with_p_value)
    qtbot.addWidget(queue)
    queue.set_items(
        [replace(i, p_value=p) for i, p in zip(ITEMS, (0.2, None, 0.01, 0.5), strict=True)]
    )
    queue.model.set_measure("score", 2)
    queue.resize(600, 400)
    with qtbot.waitExposed(queue):
        queue.show()
    across, role = Qt.Orientation.Horizontal, Qt.ItemDataRole
    assert [queue.model.headerData(i, across) for i in range(5)][3:] == ["Decision", "p"]
    assert queue.model.headerData(4, across, role.ToolTipRole) == "Of the volume among real ones"
    assert [texts(queue.model, row)[4] for row in range(4)] == ["0.2", "", "0.01", "0.5"]
    click_title(qtbot, queue, "p")
    assert sorted_by(queue) == ("p", True)
    assert queue.samples == ["s000002", "s000003", "s000001", "s000000"]
    click_title(qtbot, queue, "p")
    assert queue.samples == ["s000001", "s000003", "s000002", "s000000"]


def test_selection_survives_new_contents_and_filters_without_a_signal(queue):
    queue.select("s000000")
    seen = []
    queue.selected.connect(seen.append)
    queue.set_items([item("s000009", 0.99, "copy", parent="s000001"), *ITEMS])
    assert queue.current == "s000000"
    queue.set_items(ITEMS)
    queue.filter.setCurrentText("Verdict: novel")
    assert queue.current == "s000000"  # still the one that is looked at
    assert not queue.table.currentIndex().isValid()
    queue.filter.setCurrentText("All")
    assert queue.proxy.sample_at(queue.table.currentIndex().row()) == "s000000"
    assert seen == []
    queue.select("s000001")
    assert seen == ["s000001"]
    queue.select("no such")
    assert queue.current == "s000001"


def test_a_decision_draws_only_its_own_row(queue):
    drawn = []
    queue.model.dataChanged.connect(lambda first, last, *_: drawn.append((first.row(), last.row())))
    changed = list(ITEMS)
    changed[1] = replace(ITEMS[1], **said("s000000", "unsure"))
    queue.set_items(changed)
    assert drawn == [(1, 1)]


def test_the_selected_row_stays_in_sight(qtbot, queue):
    queue.set_items([item(f"s{i:06d}", 1 - i / 50, "novel") for i in range(50)])
    queue.resize(400, 500)
    with qtbot.waitExposed(queue):
        queue.show()
    last_in_sight = queue.table.rowAt(queue.table.viewport().height() - 1)
    queue.select(f"s{last_in_sight:06d}")
    queue.resize(400, 300)
    qtbot.wait(50)
    row = queue.table.visualRect(queue.table.currentIndex())
    assert queue.table.viewport().rect().contains(row)


def test_letters_in_the_table_are_left_to_the_keys(qtbot, queue):
    queue.select("s000003")
    qtbot.keyClicks(queue.table, "s000001")
    assert queue.current == "s000003"


def test_thousands_of_rows_are_listed_without_a_widget_each(qtbot, queue):
    many = [item(f"s{i:06d}", 1 - i / 5000, "novel") for i in range(5000)]
    queue.resize(400, 500)
    with qtbot.waitExposed(queue):
        queue.show()
    before = len(queue.findChildren(object))
    queue.set_items(many)
    queue.select("s004321")
    queue.filter.setCurrentText("Unread")
    qtbot.wait(1)
    assert len(queue.findChildren(object)) - before < 50
    assert (
        queue.table.viewport().rect().intersects(queue.table.visualRect(queue.table.currentIndex()))
    )
