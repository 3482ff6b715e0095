"""What readers agree on, as text, and three buttons that save it."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_memscan.widgets.common.message import Message
from napari_memscan.widgets.common.theme import ThemeColours

FILES = {
    "csv": ("CSV …", "events.csv", "All events, one a row"),
    "json": ("JSON …", "readers.json", "All events and all numbers"),
    "imrmc": ("iMRMC …", "study.imrmc", "Scores for the FDA's iMRMC, with what is known"),
}
"""Kind of file: its button, the name that is offered, and what it holds."""
TRUTHS = {
    "validation volumes and planted copies": "",
    "these, of all others the program's verdicts": "program",
}
"""From where it is known what a copy is: what is chosen, and the `truth` of `compared`."""
TABLE_CHOICE = "these, of all others a table …"


class ReadersView(QWidget):
    """The findings of a reader study.

    Attributes
    ----------
    wanted : Signal()
        It came in sight, or other names are wanted: count anew.
    save_requested : Signal(str, str)
        One of `FILES`, and the path.
    """

    wanted = Signal()
    save_requested = Signal(str, str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.text = QPlainTextEdit()
        self.text.setReadOnly(True)
        self.text.setPlaceholderText("Nobody has decided anything yet.")
        # Tab goes on to the buttons.
        self.text.setTabChangesFocus(True)
        self.text.setAccessibleName("How far readers agree")
        self.anonymous = QCheckBox("R1, R2 … in place of names")
        self.anonymous.setToolTip("Also in the files; not in comments, which somebody typed")
        self.anonymous.toggled.connect(self.wanted)
        self._make_truth()
        self.buttons: dict[str, QPushButton] = {}
        row = QHBoxLayout()
        row.addStretch(1)
        for kind, (text, _, tip) in FILES.items():
            button = QPushButton(text)
            button.setAccessibleName(f"Save as {text.removesuffix(' …')}")
            button.setToolTip(tip)
            button.clicked.connect(lambda _=False, k=kind: self._choose(k))
            self.buttons[kind] = button
            row.addWidget(button)
        self.message = Message()
        layout = QVBoxLayout(self)
        words = QLabel("Truth:")
        words.setBuddy(self.truth)
        known = QHBoxLayout()
        known.addWidget(words)
        known.addWidget(self.truth, 1)
        layout.addWidget(self.text, 1)
        layout.addWidget(self.message)
        layout.addLayout(known)
        layout.addWidget(self.anonymous)
        layout.addLayout(row)
        self.show_findings("")

    def _make_truth(self) -> None:
        self.truth = QComboBox()
        self.truth.setAccessibleName("From where it is known what a copy is")
        self.truth.setToolTip("What sensitivity, specificity and iMRMC rest on")
        self.truth.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        for text, source in (*TRUTHS.items(), (TABLE_CHOICE, None)):
            self.truth.addItem(text, source)
        self.truth.activated.connect(self._on_truth)

    @property
    def source(self) -> str:
        """What truth is taken from: empty, ``program``, or the path of a table."""
        return str(self.truth.currentData() or "")

    def show_findings(self, text: str) -> None:
        """Show what was found; an empty text: nothing, and nothing to save."""
        self.text.setPlainText(text)
        for button in self.buttons.values():
            button.setEnabled(bool(text))

    def set_theme(self, look: ThemeColours) -> None:
        """Follow the theme."""
        self.message.set_theme(look)

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802 (Qt's name)
        """Ask for what is so now."""
        super().showEvent(event)
        self.wanted.emit()

    def _on_truth(self, row: int) -> None:
        if self.truth.itemText(row) == TABLE_CHOICE:
            path, _ = QFileDialog.getOpenFileName(
                self, "Table with the columns sample and truth", "", "Table (*.csv)"
            )
            self.truth.setItemData(row, path)
        self.wanted.emit()

    def _choose(self, kind: str) -> None:
        path, _ = QFileDialog.getSaveFileName(self, FILES[kind][2], FILES[kind][1])
        if path:
            self.save_requested.emit(kind, path)
