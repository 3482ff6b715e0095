"""The queue as a table: a model of its items, and what of them is shown, in which order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QObject, QSortFilterProxyModel, Qt

from napari_memscan.review.queue import QueueItem
from napari_memscan.review.queue_filter import QueueFilter
from napari_memscan.widgets.review.queue_columns import Column, list_columns
from napari_memscan.widgets.review.queue_text import explain_item

ALIGN_NUMBER = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


class QueueModel(QAbstractTableModel):
    """Items for a table view; read only.

    Parameters
    ----------
    list_columns : callable
        Returns the columns, given what the values are and their decimals.

    Attributes
    ----------
    items : tuple of QueueItem
        In reading order.
    columns : tuple of Column
        From left to right.
    """

    def __init__(
        self,
        parent: QObject | None = None,
        list_columns: Callable[..., tuple[Column, ...]] = list_columns,
    ) -> None:
        super().__init__(parent)
        self.items: tuple[QueueItem, ...] = ()
        self._rows: dict[str, int] = {}
        self._list_columns = list_columns
        self.columns = list_columns()

    def set_measure(self, measure: str, digits: int = 3) -> None:
        """Say what the values are, one of `MEASURES`, and how many decimals are shown."""
        self.columns = self._list_columns(measure, digits)
        self.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, len(self.columns) - 1)

    def set_items(self, items: Sequence[QueueItem]) -> None:
        """Replace all items; where only their contents changed, only these rows are drawn anew."""
        before, self.items = self.items, tuple(items)
        if [i.sample for i in items] == [i.sample for i in before]:
            for row, (old, new) in enumerate(zip(before, items, strict=True)):
                if old != new:
                    self.dataChanged.emit(
                        self.index(row, 0), self.index(row, len(self.columns) - 1)
                    )
            return
        self.beginResetModel()
        self._rows = {item.sample: row for row, item in enumerate(items)}
        self.endResetModel()

    def row_of(self, sample: str) -> int:
        """Return a sample's row, or -1."""
        return self._rows.get(sample, -1)

    def rowCount(self, parent: Any = None) -> int:  # noqa: N802 (Qt's name)
        """Return the number of volumes."""
        return 0 if parent is not None and parent.isValid() else len(self.items)

    def columnCount(self, parent: Any = None) -> int:  # noqa: N802 (Qt's name)
        """Return the number of columns."""
        return 0 if parent is not None and parent.isValid() else len(self.columns)

    def headerData(  # noqa: N802 (Qt's name)
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Return a column's title, and what its values are."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        column = self.columns[section]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.title
        return (column.tooltip or None) if role == Qt.ItemDataRole.ToolTipRole else None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return a cell's text, tooltip or alignment."""
        item, column = self.items[index.row()], self.columns[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.text(item)
        if role == Qt.ItemDataRole.ToolTipRole:
            return explain_item(item) or None
        if role == Qt.ItemDataRole.AccessibleTextRole and column.spoken is not None:
            return column.spoken(item)
        if role == Qt.ItemDataRole.TextAlignmentRole and column.number:
            return ALIGN_NUMBER
        return None


class QueueProxy(QSortFilterProxyModel):
    """What of the queue is shown; in reading order until somebody sorts by a column.

    Parameters
    ----------
    model : QueueModel
    """

    def __init__(self, model: QueueModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._model = model
        self._choice = QueueFilter()
        self._only: frozenset[str] | None = None
        self._descending = False
        self._listed: list[str] | None = None
        for changed in (
            self.layoutChanged,
            self.modelReset,
            self.rowsInserted,
            self.rowsRemoved,
            self.rowsMoved,
        ):
            changed.connect(self._forget)
        self.setSourceModel(model)

    @property
    def choice(self) -> QueueFilter:
        """Which items are shown."""
        return self._choice

    def set_choice(self, choice: QueueFilter) -> None:
        """Show the items that match."""
        if choice != self._choice:
            self._choice = choice
            self.invalidateFilter()

    def set_only(self, samples: Collection[str] | None) -> None:
        """Of these show no other samples; None for all."""
        self._only = None if samples is None else frozenset(samples)
        self.invalidateFilter()

    @property
    def samples(self) -> list[str]:
        """What is shown, in the order of the table."""
        if self._listed is None:  # of thousands it takes as long as drawing a volume
            rows = (self.mapToSource(self.index(row, 0)).row() for row in range(self.rowCount()))
            self._listed = [self._model.items[row].sample for row in rows]
        return list(self._listed)

    def _forget(self, *_: Any) -> None:
        self._listed = None

    def row_of(self, sample: str) -> int:
        """Return a sample's row in the table, or -1 where it is not shown."""
        row = self._model.row_of(sample)
        return self.mapFromSource(self._model.index(row, 0)).row() if row >= 0 else -1

    def sample_at(self, row: int) -> str:
        """Return the sample of a row of the table; empty where there is none."""
        source = self.mapToSource(self.index(row, 0)).row()
        return self._model.items[source].sample if source >= 0 else ""

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column; by -1 for the reading order."""
        self._descending = order == Qt.SortOrder.DescendingOrder
        super().sort(column, order)

    def filterAcceptsRow(self, row: int, parent: QModelIndex) -> bool:  # noqa: N802 (Qt's name)
        """Whether a row is shown."""
        item = self._model.items[row]
        return (self._only is None or item.sample in self._only) and self._choice.matches(item)

    def lessThan(self, left: QModelIndex, right: QModelIndex) -> bool:  # noqa: N802 (Qt's name)
        """Whether one row comes before another; what has no value comes last either way."""
        key = self._model.columns[left.column()].sort_key
        one, other = (key(self._model.items[index.row()]) for index in (left, right))
        if one is None or other is None:
            missing = (one is None) != (other is None)
            return missing and (other is None) != self._descending
        return bool(one < other)
