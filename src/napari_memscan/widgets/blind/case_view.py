"""The page on which cases are read blind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QLabel, QListWidget, QProgressBar, QPushButton, QWidget

from napari_memscan.widgets.blind.answer_view import AnswerView
from napari_memscan.widgets.common.box_layouts import (
    add_widgets,
    make_column,
    make_row,
    make_separator,
)
from napari_memscan.widgets.common.message import Message
from napari_memscan.widgets.common.theme import ThemeColours
from napari_memscan.widgets.review.actions import Action
from napari_memscan.widgets.viewing import ViewingBar


class CaseView(QWidget):
    """The question, the answers, what the case was, and how volumes are looked at.

    Attributes
    ----------
    reveal_requested, end_requested, help_requested : Signal()
    case_chosen : Signal(int)
        Row of the list.
    answers : AnswerView
    bar : ViewingBar
    message, truth : Message
        What happened; what the case was.
    """

    reveal_requested = Signal()
    end_requested = Signal()
    help_requested = Signal()
    case_chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.title, self.question = QLabel(), QLabel()
        for label in (self.title, self.question):
            label.setWordWrap(True)
            label.setTextFormat(Qt.TextFormat.PlainText)
        self.title.setStyleSheet("font-weight: bold;")
        self.question.setStyleSheet("font-weight: bold;")
        self.progress = QProgressBar()
        self.progress.setAccessibleName("Cases answered")
        self.progress.setFormat("%v of %m answered")
        self.message, self.truth = Message(), Message()
        self.list = QListWidget()
        self.list.setAccessibleName("Cases")
        self.list.setWordWrap(True)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.currentRowChanged.connect(self._on_row)
        self.answers, self.bar = AnswerView(), ViewingBar()
        self.reveal, self.end = QPushButton("Reveal all"), QPushButton("End blind reading")
        self.reveal.clicked.connect(self.reveal_requested)
        self.end.clicked.connect(self.end_requested)
        self.end.setToolTip("Back to step 3. What is answered is kept; the rest can follow later")
        self.help = QPushButton("?")
        self.help.setAccessibleName("Keys")
        self.help.setToolTip("All keys")
        self.help.setMaximumWidth(26)
        self.help.clicked.connect(self.help_requested)
        for button in (self.reveal, self.end, self.help):
            button.setStyleSheet("padding: 4px 5px;")
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.space = QWidget()
        self._lay_out()
        self.set_list(())

    def _lay_out(self) -> None:
        below = make_row(spacing=4)
        below.addWidget(self.end, 1)
        below.addWidget(self.help)
        layout = make_column(self, spacing=6)
        add_widgets(
            layout,
            self.title,
            self.progress,
            self.truth,
            self.question,
            self.answers,
            self.message,
            self.reveal,
        )
        layout.addWidget(self.list, 2)
        layout.addWidget(self.space, 1)
        add_widgets(layout, make_separator(), self.bar, make_separator())
        layout.addLayout(below)

    def set_keys(self, keys: Mapping[Action, str]) -> None:
        """Say which key does what."""
        self.answers.set_keys(keys)
        self.bar.set_keys(keys)

    def set_progress(self, done: int, total: int) -> None:
        """Say how many cases are answered."""
        self.progress.setRange(0, max(total, 1))
        self.progress.setValue(done)

    def set_list(self, texts: Sequence[str], current: int = -1) -> None:
        """List the cases, without a signal; none hides the list."""
        blocker = QSignalBlocker(self.list)
        self.list.clear()
        self.list.addItems(list(texts))
        self.list.setCurrentRow(current)
        del blocker
        self.list.setVisible(bool(texts))
        self.space.setVisible(not texts)

    def set_theme(self, look: ThemeColours) -> None:
        """Follow the theme."""
        self.message.set_theme(look)
        self.truth.set_theme(look)

    def _on_row(self, row: int) -> None:
        if row >= 0:
            self.case_chosen.emit(row)
