"""Step 3: read the synthetic volumes one by one and decide."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QItemSelectionModel, QModelIndex, QSize, Qt, Signal
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from napari_memscan.widgets.histogram import Histogram
from napari_memscan.widgets.keys import KEYS
from napari_memscan.widgets.look import Look
from napari_memscan.widgets.message import Message
from napari_memscan.widgets.review_table import ReviewTable, Row
from napari_memscan.widgets.selftest_row import SelfTestRow

# Action: its button's text, row and column.
BUTTONS = {
    "copy": ("✖ Copy", 0, 0),
    "not a copy": ("✔ Not a copy", 0, 1),
    "unsure": ("? Unsure", 0, 2),
    "previous": ("◀ Previous", 1, 0),
    "next": ("Next ▶", 1, 1),
    "undo": ("↶ Undo", 1, 2),
    "regenerate": ("⟳ Regenerate", 2, 0),
}


class _Table(QTableView):
    """A table that never loses its selected row from sight, and is the first to give room."""

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        return self.minimumSize()

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802 (Qt's name)
        super().resizeEvent(event)
        self.scrollTo(self.currentIndex())


class ReviewView(QWidget):
    """Table, histogram, and what can be done with the selected volume.

    Attributes
    ----------
    selected : Signal(str)
        Another sample is selected; empty when none is.
    action : Signal(str)
        A button was pressed; one of `KEYS`.
    stop_requested : Signal()
        End the regeneration.
    k_changed : Signal(int)
        So many neighbours are wanted beside the volume.
    plane_changed : Signal(str)
        Axial, coronal or sagittal.
    """

    selected = Signal(str)
    action = Signal(str)
    stop_requested = Signal()
    k_changed = Signal(int)
    plane_changed = Signal(str)

    def __init__(self, planes: Sequence[str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        # Why the verdicts must be doubted: read without hovering. There are two such reasons.
        self.alarms = (Message(), Message())
        self.warnings = Message()
        self.message = Message()
        self.progress = QLabel()
        self.progress.setStyleSheet("font-weight: bold;")
        self.reader = QLineEdit()
        self.reader.setToolTip("Stored with every decision")
        self.reader.setMaximumWidth(130)
        self.detail = QLabel()
        self.detail.setWordWrap(True)
        self.k = QSpinBox()
        self.k.setRange(1, 1)
        self.k.setToolTip("Nearest training volumes shown beside the synthetic one")
        self.k.valueChanged.connect(self.k_changed)
        self.plane = QComboBox()
        self.plane.addItems(list(planes))
        self.plane.currentTextChanged.connect(self.plane_changed)
        self.histogram = Histogram()
        self.selftest = SelfTestRow()
        self._make_table()
        self._make_buttons()
        self._lay_out()
        self.set_regenerating("")

    def _make_table(self) -> None:
        self.model = ReviewTable(self)
        self.table = _Table()
        self.table.setModel(self.model)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setTabKeyNavigation(False)
        self.table.setShowGrid(False)
        self.table.setWordWrap(False)
        self.table.setMinimumHeight(120)
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(22)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setStretchLastSection(True)
        self.table.selectionModel().currentRowChanged.connect(self._on_row)

    def _make_buttons(self) -> None:
        self.buttons: dict[str, QPushButton] = {}
        for name, (text, _, _) in BUTTONS.items():
            button = QPushButton(f"{text} ({KEYS[name]})")
            button.setStyleSheet("padding: 4px 2px;")  # three fit side by side
            button.setAccessibleName(f"{name}, key {KEYS[name]}")
            # The focus stays in the table, and Space never presses a button by accident.
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            button.clicked.connect(lambda _=False, n=name: self.action.emit(n))
            self.buttons[name] = button
        self.stop_button = QPushButton("Stop")
        self.stop_button.clicked.connect(self.stop_requested)
        self.bar = QProgressBar()

    def _lay_out(self) -> None:
        reading = QHBoxLayout()
        reading.addWidget(self.progress, 1)
        reading.addWidget(QLabel("Reader"))
        reading.addWidget(self.reader)
        shown = QHBoxLayout()
        for label, widget in (("Neighbours", self.k), ("Plane", self.plane)):
            shown.addWidget(QLabel(label))
            shown.addWidget(widget, 1)
        grid = QGridLayout()
        grid.setSpacing(3)
        for name, (_, row, column) in BUTTONS.items():
            grid.addWidget(self.buttons[name], row, column)
        grid.addWidget(self.bar, 2, 1)
        grid.addWidget(self.stop_button, 2, 2)
        for column in range(3):
            grid.setColumnStretch(column, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(5)
        layout.addWidget(self.summary)
        for alarm in self.alarms:
            layout.addWidget(alarm)
        layout.addWidget(self.warnings)
        layout.addWidget(self.message)
        layout.addLayout(reading)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.detail)
        layout.addLayout(grid)
        layout.addLayout(shown)
        layout.addWidget(self.histogram)
        layout.addWidget(self.selftest)

    @property
    def current(self) -> str:
        """The selected sample; empty when none is."""
        row = self.table.currentIndex().row()
        rows = self.model.rows
        return rows[row].sample if 0 <= row < len(rows) else ""

    def set_rows(self, rows: Sequence[Row], measure: str = "similarity") -> None:
        """Fill the table; the selection stays on its sample, without a signal, if still there.

        Parameters
        ----------
        rows : sequence of Row
        measure : str
            What their values are; see `review_table.MEASURES`.
        """
        sample = self.current
        selection = self.table.selectionModel()
        selection.blockSignals(True)
        self.model.set_measure(measure)
        self.model.set_rows(rows)
        if sample:
            self._set_current(sample)
        selection.blockSignals(False)
        # What was drawn of the selection while its signals were held back.
        self.table.viewport().update()

    def select(self, sample: str) -> None:
        """Select a sample and scroll to it; `selected` follows if it was another one."""
        self._set_current(sample)

    def _set_current(self, sample: str) -> None:
        row = self.model.row_of(sample)
        if row < 0:
            return
        index = self.model.index(row, 0)
        flags = QItemSelectionModel.SelectionFlag
        self.table.selectionModel().setCurrentIndex(
            index, flags.ClearAndSelect | flags.Rows | flags.Current
        )
        self.table.scrollTo(index)

    def set_reading(self, read: int, total: int) -> None:
        """Say how many are read."""
        self.progress.setText(f"{read} of {total} read")

    def set_neighbours(self, k: int, most: int) -> None:
        """Set the number of neighbours shown, and how many there are, without a signal."""
        self.k.blockSignals(True)
        self.k.setRange(1, max(most, 1))
        self.k.setValue(k)
        self.k.blockSignals(False)

    def set_summary(
        self,
        text: str,
        explained: str = "",
        warnings: Sequence[str] = (),
        alarms: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Show the scan's numbers, what they mean on hovering, and how much is to be known.

        Parameters
        ----------
        text, explained : str
            The numbers, and what is read on hovering.
        warnings : sequence of str
            Counted; read on hovering.
        alarms : sequence of (str, str)
            At most two: what is read at once, and all of it on hovering.
        """
        self.summary.setText(text)
        self.summary.setToolTip(explained)
        for i, message in enumerate(self.alarms):
            shown, more = alarms[i] if i < len(alarms) else ("", "")
            message.say(shown, "warning", more)
        n = len(warnings)
        text = f"{n} warning{'s' if n > 1 else ''} on these numbers: hover to read" if n else ""
        self.warnings.say(text, "warning", "\n\n".join(warnings))

    def set_enabled_actions(self, names: set[str]) -> None:
        """Enable these actions' buttons and no others."""
        for name, button in self.buttons.items():
            button.setEnabled(name in names)

    def set_regenerating(self, text: str, done: int = 0, total: int = 0) -> None:
        """Show how far a regeneration is; an empty text says that none runs."""
        self.bar.setVisible(bool(text))
        self.stop_button.setVisible(bool(text))
        self.bar.setRange(0, total)
        self.bar.setValue(done)
        self.bar.setFormat(text)
        self.bar.setToolTip(text)

    def set_look(self, look: Look) -> None:
        """Follow the theme."""
        self.message.set_look(look)
        self.warnings.set_look(look)
        self.selftest.set_look(look)
        for alarm in self.alarms:
            alarm.set_look(look)
        self.histogram.set_look(look)
        self.table.setStyleSheet(
            f"QTableView {{ background: {look.background}; color: {look.text};"
            f" border: 1px solid {look.quiet};"
            f" selection-background-color: {look.accent}; selection-color: {look.text}; }}"
            f"QTableView::item:selected {{ background: {look.accent}; color: {look.text}; }}"
            f"QHeaderView::section {{ background: {look.foreground}; color: {look.text};"
            " border: none; padding: 3px; }"
        )

    def _on_row(self, current: QModelIndex, _previous: QModelIndex) -> None:
        self.selected.emit(self.current if current.isValid() else "")
