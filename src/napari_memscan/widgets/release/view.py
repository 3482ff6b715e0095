"""Step 4: what would be released, by which policy; the report; and the folder to hand out."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPlainTextEdit, QProgressBar, QPushButton, QWidget

from napari_memscan.widgets.common.box_layouts import (
    add_widgets,
    make_column,
    make_row,
    make_wrapped_label,
)
from napari_memscan.widgets.common.message import Message
from napari_memscan.widgets.common.theme import ThemeColours
from napari_memscan.widgets.release.policy_view import PolicyView
from napari_memscan.widgets.release.summary_view import SummaryView
from napari_memscan.widgets.study.path_row import PathRow

PLACE_LABELS = {"page": "Open page", "pdf": "Open PDF", "folder": "Open folder"}
"""What can be opened with the system's own programs, and the buttons for it."""
MAX_LINES = 2
"""Of the fingerprint: 64 digits are wider than the dock."""


class ReleaseView(QWidget):
    """Four parts, from top to bottom: now, policy, report, release.

    Attributes
    ----------
    report_requested, release_requested, verify_requested, stop_requested : Signal()
    open_requested : Signal(str)
        One of `PLACE_LABELS` is to be opened.
    summary : SummaryView
    policy : PolicyView
    folder : PathRow
        Where the release is, or shall be.
    """

    report_requested = Signal()
    release_requested = Signal()
    verify_requested = Signal()
    stop_requested = Signal()
    open_requested = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.summary, self.policy = SummaryView(), PolicyView()
        self.report_message, self.message = Message(), Message()
        self._make_buttons()
        self.folder = PathRow("Folder of the release", "a new or an empty folder")
        self.folder.edit.setToolTip("Nothing but a release is ever written there or replaced")
        self.why_not = make_wrapped_label()
        self.fingerprint = QPlainTextEdit()
        self.fingerprint.setPlaceholderText("to be noted after a release, or as it was noted")
        self.fingerprint.setToolTip(
            "Stands for every byte of the release. Note it where nobody can change it; Verify "
            "compares the folder with what stands here"
        )
        self.fingerprint.setAccessibleName("Fingerprint")
        self.fingerprint.setTabChangesFocus(True)
        self.fingerprint.setFixedHeight(
            self.fingerprint.fontMetrics().lineSpacing() * MAX_LINES + 14
        )
        self.bar = QProgressBar()
        self.note = make_wrapped_label()
        self._lay_out()
        self.set_running("")
        self.set_possible(dict.fromkeys(PLACE_LABELS, False), "")

    def _make_buttons(self) -> None:
        self.report_button = QPushButton("Write report")
        self.report_button.setToolTip("Findings and evidence as a page and, where possible, a PDF")
        self.report_button.clicked.connect(self.report_requested)
        self.release_button = QPushButton("Release")
        self.release_button.setToolTip("Writes the volumes that pass, with the evidence")
        self.release_button.clicked.connect(self.release_requested)
        self.verify_button = QPushButton("Verify")
        self.verify_button.setToolTip("Is every file of the release there, and as it was written?")
        self.verify_button.clicked.connect(self.verify_requested)
        self.stop_button = QPushButton("Stop")
        self.stop_button.clicked.connect(self.stop_requested)
        self.open_buttons = {place: QPushButton(text) for place, text in PLACE_LABELS.items()}
        for place, button in self.open_buttons.items():
            button.clicked.connect(lambda _on=False, p=place: self.open_requested.emit(p))

    def _lay_out(self) -> None:
        opened = self.open_buttons
        label = QLabel("Fingerprint")
        label.setBuddy(self.fingerprint)
        layout = make_column(self, spacing=4)
        layout.addWidget(_make_title("What would be released now"))
        layout.addWidget(self.summary)
        layout.addWidget(_make_title("Policy"))
        layout.addWidget(self.policy)
        layout.addWidget(_make_title("Report, to stay in the house"))
        layout.addLayout(_make_row(self.report_button, opened["page"], opened["pdf"]))
        layout.addWidget(self.report_message)
        layout.addWidget(_make_title("Release, to be handed out"))
        layout.addWidget(self.folder)
        layout.addLayout(_make_row(self.release_button, self.verify_button, opened["folder"]))
        add_widgets(layout, self.why_not, label, self.fingerprint)
        working = QHBoxLayout()
        working.addWidget(self.bar, 1)
        working.addWidget(self.stop_button)
        layout.addWidget(self.note)
        layout.addLayout(working)
        layout.addWidget(self.message)
        layout.addStretch(1)

    @property
    def noted(self) -> str:
        """The fingerprint that stands there, without blanks and line breaks."""
        return "".join(self.fingerprint.toPlainText().split())

    def set_possible(self, places: dict[str, bool], why_not: str, folder: bool = False) -> None:
        """Enable what can be done.

        Parameters
        ----------
        places : dict of str to bool
            Which of `PLACE_LABELS` there are.
        why_not : str
            Why nothing can be released; empty where it can.
        folder : bool
            There is a folder to verify.
        """
        for place, button in self.open_buttons.items():
            button.setEnabled(places[place])
        self.release_button.setEnabled(not why_not)
        self.verify_button.setEnabled(folder)
        self.why_not.setText(why_not)
        self.why_not.setVisible(bool(why_not))

    def set_running(self, text: str, stoppable: bool = False) -> None:
        """Say that something is done; an empty text says that it is over."""
        for part in (self.policy, self.folder, self.report_button, self.fingerprint):
            part.setEnabled(not text)
        if text:
            self.release_button.setEnabled(False)
            self.verify_button.setEnabled(False)
            self.why_not.hide()
        for part in (self.bar, self.note, self.stop_button):
            part.setVisible(bool(text))
        self.stop_button.setEnabled(stoppable)
        self.bar.setRange(0, 0)
        self.note.setText(text)

    def set_progress(self, done: int, total: int, text: str) -> None:
        """Say how far it is."""
        self.bar.setRange(0, total)
        self.bar.setValue(done)
        self.note.setText(text)

    def set_stopping(self) -> None:
        """Say that Stop was heard."""
        self.stop_button.setEnabled(False)
        self.note.setText("Stopping …")

    def set_theme(self, look: ThemeColours) -> None:
        """Follow the theme."""
        for part in (self.summary, self.folder, self.report_message, self.message):
            part.set_theme(look)


def _make_title(text: str) -> QLabel:
    label = QLabel(text)
    label.setStyleSheet("font-weight: bold; margin-top: 4px;")
    label.setTextFormat(Qt.TextFormat.PlainText)
    return label


def _make_row(*buttons: QPushButton) -> QHBoxLayout:
    row = make_row(spacing=3)
    for button in buttons:
        row.addWidget(button, 1)
    return row
