"""The table of synthetic volumes, nearest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QObject, Qt

VERDICTS = {
    "copy": "▲ copy",
    "near-duplicate": "△ near-duplicate",
    "novel": "○ novel",
    "undecided": "? undecided",
}
DECISIONS = {"copy": "✖ copy", "not a copy": "✔ not a copy", "unsure": "? unsure"}
COLUMNS = ("Volume", "Similarity", "Verdict", "Decision")
MEASURES = {
    "similarity": ("Similarity", "Of the embeddings of the volume and its nearest training volume"),
    "score": ("Score", "Local correlation with the nearest training volume after registration"),
}
"""What verdicts rest on: the title of its column, and what it is."""


@dataclass(frozen=True)
class Row:
    """One synthetic volume as the table shows it.

    Attributes
    ----------
    sample : str
        Its id, such as ``s000003``.
    value : float
        What the verdict rests on, score or similarity; larger is nearer.
    verdict, reason : str
        What the program says, and why it could not tell.
    decision : str
        What the reader said; empty when unread.
    parent, replaced_by : str
        The volume it replaces, and the one that replaces it; empty when none.
    digits : int
        Decimals of the value that are shown.
    p_value : float or None
        How often a new patient's volume would be as near.
    """

    sample: str
    value: float
    verdict: str
    reason: str = ""
    decision: str = ""
    parent: str = ""
    replaced_by: str = ""
    digits: int = 3
    p_value: float | None = None

    @property
    def lineage(self) -> str:
        """``replaced by ...``, ``replaces ...``, both, or nothing."""
        parts = [f"replaced by {self.replaced_by}"] if self.replaced_by else []
        parts += [f"replaces {self.parent}"] if self.parent else []
        return ", ".join(parts)

    @property
    def status(self) -> str:
        """What was decided, and what it replaces or is replaced by."""
        decision = DECISIONS.get(self.decision, self.decision)
        return ", ".join(part for part in (decision, self.lineage) if part)

    @property
    def explained(self) -> str:
        """The reason of the verdict, its p-value, and the status; one a line."""
        p_value = "" if self.p_value is None else f"p = {self.p_value:.2g}"
        return "\n".join(part for part in (self.reason, p_value, self.status) if part)


class ReviewTable(QAbstractTableModel):
    """Rows for a table view; read only."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._rows: list[Row] = []
        self._measure = "similarity"

    def set_measure(self, measure: str) -> None:
        """Say what the values are: one of `MEASURES`."""
        if measure != self._measure:
            self._measure = measure
            self.headerDataChanged.emit(Qt.Orientation.Horizontal, 1, 1)

    def set_rows(self, rows: Sequence[Row]) -> None:
        """Replace all rows, keeping a selection when only their contents changed."""
        same = [r.sample for r in rows] == [r.sample for r in self._rows]
        if same:
            self._rows = list(rows)
            if rows:
                last = self.index(len(rows) - 1, len(COLUMNS) - 1)
                self.dataChanged.emit(self.index(0, 0), last)
            return
        self.beginResetModel()
        self._rows = list(rows)
        self.endResetModel()

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows, in order."""
        return tuple(self._rows)

    def row_of(self, sample: str) -> int:
        """Return a sample's row number, or -1."""
        return next((i for i, row in enumerate(self._rows) if row.sample == sample), -1)

    def rowCount(self, parent: Any = None) -> int:  # noqa: N802 (Qt's name)
        """Return the number of volumes."""
        return 0 if parent is not None and parent.isValid() else len(self._rows)

    def columnCount(self, parent: Any = None) -> int:  # noqa: N802 (Qt's name)
        """Return the number of columns."""
        return 0 if parent is not None and parent.isValid() else len(COLUMNS)

    def headerData(  # noqa: N802 (Qt's name)
        self,
        section: int,
        orientation: Qt.Orientation,
        role: int = Qt.ItemDataRole.DisplayRole,
    ) -> Any:
        """Return a column's title, and what its values are."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        title, meaning = MEASURES[self._measure]
        if role == Qt.ItemDataRole.DisplayRole:
            return title if section == 1 else COLUMNS[section]
        if role == Qt.ItemDataRole.ToolTipRole and section == 1:
            return f"{meaning}; larger is nearer"
        return None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return a cell's text, tooltip or alignment."""
        row = self._rows[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return (
                row.sample,
                f"{row.value:.{row.digits}f}",
                VERDICTS.get(row.verdict, f"? {row.verdict}"),
                row.status,
            )[index.column()]
        if role == Qt.ItemDataRole.ToolTipRole:
            return row.explained or None
        if role == Qt.ItemDataRole.TextAlignmentRole and index.column() == 1:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        return None
