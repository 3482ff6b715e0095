"""The queue: search, filter, the table, and how far the reader is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from qtpy.QtCore import QItemSelectionModel, QModelIndex, QSize, Qt, Signal
from qtpy.QtGui import QKeyEvent, QResizeEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPushButton,
    QTableView,
    QWidget,
)

from napari_memscan.review.queue import QueueItem
from napari_memscan.review.queue_filter import QueueFilter
from napari_memscan.typing import Verdict
from napari_memscan.widgets.common.box_layouts import (
    add_widgets,
    make_column,
    make_row,
    make_wrapped_label,
)
from napari_memscan.widgets.common.theme import ThemeColours
from napari_memscan.widgets.review.actions import Action, ReviewAction
from napari_memscan.widgets.review.queue_columns import Column, list_columns
from napari_memscan.widgets.review.queue_model import QueueModel, QueueProxy

FILTER_CHOICES = {
    "All": QueueFilter(),
    "Unread": QueueFilter(show="unread"),
    "Flagged": QueueFilter(show="flagged"),
    "Verdict: copy": QueueFilter(verdict=Verdict.COPY),
    "Verdict: near-duplicate": QueueFilter(verdict=Verdict.NEAR_DUPLICATE),
    "Verdict: undecided": QueueFilter(verdict=Verdict.UNDECIDED),
    "Verdict: novel": QueueFilter(verdict=Verdict.NOVEL),
    "Readers disagree": QueueFilter(show="readers disagree"),
    "Reader and program disagree": QueueFilter(show="program disagrees"),
}


class _QueueTable(QTableView):
    """A table that never loses its selected row from sight, and is the first to give room."""

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        return self.minimumSize()

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802 (Qt's name)
        super().resizeEvent(event)
        self.scrollTo(self.currentIndex())

    def keyboardSearch(self, search: str | None) -> None:  # noqa: N802 (Qt's name)
        """Leave letters to the keys of the reading room."""


class _SearchEdit(QLineEdit):
    """Return and Escape lead back to the table."""

    left = Signal()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802 (Qt's name)
        if event is not None and event.key() == Qt.Key.Key_Escape:
            self.clear()
            self.left.emit()
            return
        super().keyPressEvent(event)


class QueueView(QWidget):
    """Synthetic volumes to read.

    Parameters
    ----------
    list_columns : callable
        Returns the columns of the table.

    Attributes
    ----------
    selected : Signal(str)
        Somebody chose another sample.
    shown_changed : Signal()
        Other samples are shown, or in another order.
    """

    selected = Signal(str)
    shown_changed = Signal()

    def __init__(
        self,
        parent: QWidget | None = None,
        list_columns: Callable[..., tuple[Column, ...]] = list_columns,
    ) -> None:
        super().__init__(parent)
        self.current = ""
        self._sorted: tuple[int, Qt.SortOrder] | None = None
        self.progress = QLabel()
        self.progress.setStyleSheet("font-weight: bold;")
        self.progress.setWordWrap(True)
        self.filter = QComboBox()
        self.filter.addItems(list(FILTER_CHOICES))
        self.filter.setAccessibleName("Which volumes are listed")
        self.filter.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.filter.setMinimumContentsLength(11)
        self.search = _SearchEdit()
        self.search.setPlaceholderText("Search")
        self.search.setAccessibleName("Search the queue")
        self.search.setClearButtonEnabled(True)
        # Needed only after a click on a title sorted by it.
        self.order = QPushButton("Nearest first")
        self.order.setToolTip("The order of reading again")
        self.order.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.order.hide()
        self.everything = QPushButton("List all")
        self.everything.setToolTip("Only some volumes are listed: list the others again")
        self.everything.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.everything.hide()
        self.nothing = make_wrapped_label("Nothing matches. Choose All and empty the search.")
        self.nothing.hide()
        self._make_table(QueueModel(self, list_columns))
        self.filter.currentTextChanged.connect(self._on_choice)
        self.search.textChanged.connect(self._on_choice)
        self.search.returnPressed.connect(self.table.setFocus)
        self.search.left.connect(self.table.setFocus)
        self.order.clicked.connect(self.restore_reading_order)
        self.everything.clicked.connect(lambda: self.set_only(None))
        row = make_row(spacing=4)
        row.addWidget(self.search, 1)
        row.addWidget(self.filter, 1)
        add_widgets(row, self.order, self.everything)
        layout = make_column(self, spacing=4)
        layout.addLayout(row)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.nothing)

    def _make_table(self, model: QueueModel) -> None:
        self.model = model
        self.proxy = QueueProxy(self.model, self)
        self.table = _QueueTable()
        self.table.setModel(self.proxy)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setTabKeyNavigation(False)
        self.table.setShowGrid(False)
        self.table.setWordWrap(False)
        self.table.setMinimumHeight(112)
        self.table.setAccessibleName("Synthetic volumes")
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(22)
        header = self.table.horizontalHeader()
        # Widths come from what is in sight: thousands of rows are never asked.
        header.setResizeContentsPrecision(0)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setStretchLastSection(True)
        header.setSectionsClickable(True)
        header.setSortIndicatorShown(False)
        header.sectionClicked.connect(self._on_title)
        self.table.selectionModel().currentRowChanged.connect(self._on_row)
        self.set_keys({})

    @property
    def samples(self) -> list[str]:
        """What is listed, in the order of the table."""
        return self.proxy.samples

    def set_items(self, items: Sequence[QueueItem]) -> None:
        """Fill the table; the selection stays where its sample is listed, without a signal."""
        self._quietly(lambda: self.model.set_items(items))
        if self.model.row_of(self.current) < 0:
            self.current = ""

    def set_only(self, samples: Collection[str] | None) -> None:
        """List no other samples than these; None for all."""
        self.everything.setVisible(samples is not None)
        self._quietly(lambda: self.proxy.set_only(samples))
        self.shown_changed.emit()

    def list_these(self, samples: Collection[str]) -> None:
        """List these samples, whatever was filtered and searched before."""
        self.search.clear()
        self.filter.setCurrentIndex(0)
        self.set_only(samples)

    def select(self, sample: str) -> None:
        """Select a sample, listed or not; `selected` follows if it was another one."""
        if self.model.row_of(sample) < 0:
            return
        other, self.current = sample != self.current, sample
        self._quietly(lambda: None)
        if other:
            self.selected.emit(sample)

    def set_progress(self, text: str) -> None:
        """Say how far the reader is."""
        self.progress.setText(text)

    def set_keys(self, keys: Mapping[Action, str]) -> None:
        """Say which key sorts, and which goes to the search."""
        for widget, text, action in (
            (self.table.horizontalHeader(), "Click a title to sort by it", ReviewAction.SORT),
            (self.search, "Volume, file, comment or reader", ReviewAction.SEARCH),
        ):
            key = keys.get(action, "")
            widget.setToolTip(f"{text} ({key})" if key else text)

    def sort_next(self) -> None:
        """Sort as the next title would, pressed once and then again; after the last as read."""
        column, order = self._sorted or (-1, None)
        again = column >= 0 and order == self._first(column)
        column += not again
        if column == self.model.columnCount():
            self.restore_reading_order()
        else:
            self._on_title(column)

    def restore_reading_order(self) -> None:
        """List in the order of reading again."""
        self._sorted = None
        self.proxy.sort(-1)
        self.table.horizontalHeader().setSortIndicatorShown(False)
        self.order.hide()
        self._mark()
        self.shown_changed.emit()

    def set_theme(self, look: ThemeColours) -> None:
        """Follow the theme."""
        self.table.setStyleSheet(
            f"QTableView {{ background: {look.background}; color: {look.text};"
            f" border: 1px solid {look.quiet};"
            f" selection-background-color: {look.accent}; selection-color: {look.text}; }}"
            f"QTableView::item:selected {{ background: {look.accent}; color: {look.text}; }}"
            f"QHeaderView::section {{ background: {look.foreground}; color: {look.text};"
            " border: none; padding: 3px; }"
        )

    def _quietly(self, change: Callable[[], object]) -> None:
        """Change what is listed, and mark the current sample again, without a signal."""
        selection = self.table.selectionModel()
        selection.blockSignals(True)
        change()
        self._mark()
        selection.blockSignals(False)
        # What was drawn of the selection while its signals were held back.
        self.table.viewport().update()

    def _mark(self) -> None:
        selection = self.table.selectionModel()
        row = self.proxy.row_of(self.current)
        self.nothing.setVisible(self.proxy.rowCount() == 0 and self.model.rowCount() > 0)
        blocked = selection.blockSignals(True)
        if row < 0:
            selection.clear()
        else:
            index = self.proxy.index(row, 0)
            flags = QItemSelectionModel.SelectionFlag
            selection.setCurrentIndex(index, flags.ClearAndSelect | flags.Rows | flags.Current)
            self.table.scrollTo(index)
        selection.blockSignals(blocked)

    def _on_choice(self, _text: str = "") -> None:
        chosen = FILTER_CHOICES[self.filter.currentText()]
        choice = QueueFilter(chosen.show, chosen.verdict, self.search.text())
        self._quietly(lambda: self.proxy.set_choice(choice))
        self.shown_changed.emit()

    def _on_title(self, column: int) -> None:
        header = self.table.horizontalHeader()
        # Not what the header says: Qt turns its sign round before it tells of the click.
        order = first = self._first(column)
        if self._sorted == (column, first):
            order = Qt.SortOrder(1 - first.value)
        self._sorted = (column, order)
        header.setSortIndicatorShown(True)
        header.setSortIndicator(column, order)
        self.proxy.sort(column, order)
        self.order.show()
        self._mark()
        self.shown_changed.emit()

    def _first(self, column: int) -> Qt.SortOrder:
        """Nearest first, which is what one looks for; names and words from A to Z."""
        number = self.model.columns[column].number
        return Qt.SortOrder.DescendingOrder if number else Qt.SortOrder.AscendingOrder

    def _on_row(self, current: QModelIndex, _previous: QModelIndex) -> None:
        sample = self.proxy.sample_at(current.row()) if current.isValid() else ""
        if sample and sample != self.current:
            self.current = sample
            self.selected.emit(sample)
