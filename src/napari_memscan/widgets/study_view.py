"""Step 1: open a study, or make one of a cohort, a generator and an embedder."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_memscan.widgets.look import Look
from napari_memscan.widgets.message import Message
from napari_memscan.widgets.path_row import PathRow

FIELDS = ("folder", "cohort", "generator", "embedder")


class StudyView(QWidget):
    """The form of a study.

    Attributes
    ----------
    open_requested : Signal(str)
        Open the study in this folder.
    new_requested, demo_requested : Signal()
        Start an empty form; open the demo study.
    choice_changed : Signal(str, str)
        A field (of `FIELDS`) has another value.
    confirmed : Signal()
        Make the study, or keep the changes of the open one.
    """

    open_requested = Signal(str)
    new_requested = Signal()
    demo_requested = Signal()
    choice_changed = Signal(str, str)
    confirmed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.open_button = QPushButton("Open study…")
        self.new_button = QPushButton("New study")
        self.demo_button = QPushButton("Demo study")
        self.demo_button.setToolTip("Phantoms as patients, and a small model that copied some")
        self.open_button.clicked.connect(self._browse)
        self.new_button.clicked.connect(self.new_requested)
        self.demo_button.clicked.connect(self.demo_requested)
        buttons = QHBoxLayout()
        buttons.setSpacing(3)
        for button in (self.open_button, self.new_button, self.demo_button):
            buttons.addWidget(button)
        self.title = QLabel()
        self.title.setStyleSheet("font-weight: bold;")
        self.message = Message()
        self.rows = {
            "folder": PathRow("Study folder", "an empty folder for all that the study makes"),
            "cohort": PathRow(
                "Cohort: which real volumes", "cohort.csv, or a folder", "Cohort (*.csv *.json)"
            ),
            "generator": PathRow(
                "Generator: where synthetic volumes come from",
                "LDM checkpoint, or a folder of volumes",
            ),
            "embedder": PathRow(
                "Embedder: what finds alike volumes", "low-resolution (needs no checkpoint)"
            ),
        }
        self.confirm_button = QPushButton()
        self.confirm_button.clicked.connect(self.confirmed)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(buttons)
        layout.addWidget(self.title)
        layout.addWidget(self.message)
        for field, row in self.rows.items():
            row.changed.connect(lambda value, f=field: self.choice_changed.emit(f, value))
            layout.addWidget(row)
        layout.addWidget(self.confirm_button)
        layout.addStretch(1)
        self.set_new()

    def values(self) -> dict[str, str]:
        """Return what stands in the fields."""
        return {field: row.value for field, row in self.rows.items()}

    def set_feedback(self, field: str, text: str, level: str) -> None:
        """Say what a field's value is: level ``ok``, ``info``, ``warning`` or ``error``."""
        self.rows[field].feedback.say(text, level)

    def set_new(self) -> None:
        """Show an empty form."""
        self.title.setText("New study")
        self.message.say("")
        for row in self.rows.values():
            row.set_value("")
            row.feedback.say("")
            row.set_fixed(False)
        self.confirm_button.setText("Create study")

    def set_open(self, name: str, values: dict[str, str]) -> None:
        """Show an open study; its folder and cohort can no longer change."""
        self.title.setText(f"Study: {name}")
        for field, row in self.rows.items():
            row.set_value(values.get(field, ""))
            row.set_fixed(field in ("folder", "cohort"))
        self.confirm_button.setText("Keep changes")

    def set_confirmable(self, yes: bool, why_not: str = "") -> None:
        """Enable the button, or say what is still missing."""
        self.confirm_button.setEnabled(yes)
        self.confirm_button.setToolTip(why_not)

    def set_busy(self, text: str) -> None:
        """Say that something is being done; an empty text says that it is over."""
        for button in (self.open_button, self.new_button, self.demo_button):
            button.setEnabled(not text)
        if text:
            self.message.say(text, "info")
            self.confirm_button.setEnabled(False)

    def set_look(self, look: Look) -> None:
        """Follow the theme."""
        self.message.set_look(look)
        for row in self.rows.values():
            row.set_look(look)

    def _browse(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Folder of a study (holds study.toml)")
        if path:
            self.open_requested.emit(path)
