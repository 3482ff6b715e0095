"""Step 1: open a study, or make one of a cohort, a generator and an embedder."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QProgressBar, QPushButton, QWidget

from napari_memscan.widgets.common.box_layouts import (
    add_widgets,
    make_column,
    make_row,
    make_wrapped_label,
)
from napari_memscan.widgets.common.message import Message
from napari_memscan.widgets.common.theme import ThemeColours
from napari_memscan.widgets.study.field_status import FieldChoice, FieldStatus
from napari_memscan.widgets.study.model_row import ModelRow
from napari_memscan.widgets.study.path_row import PathRow

FIELDS = ("folder", "cohort", "generator", "embedder")
MODELS = ("generator", "embedder")


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
    statement_changed : Signal(str, str)
        What is stated about a model (of `MODELS`) is another text.
    trust_requested : Signal(str)
        Somebody wants to run the own code of a model (of `MODELS`).
    confirmed : Signal()
        Make the study, or keep the changes of the open one.
    stop_requested : Signal()
        End what is being done.
    train_requested : Signal()
        A model is to be trained on the open study.
    """

    open_requested = Signal(str)
    new_requested = Signal()
    demo_requested = Signal()
    choice_changed = Signal(str, str)
    statement_changed = Signal(str, str)
    trust_requested = Signal(str)
    confirmed = Signal()
    stop_requested = Signal()
    train_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.open_button = QPushButton("Open study…")
        self.new_button = QPushButton("New study")
        self.demo_button = QPushButton("Demo study")
        self.demo_button.setToolTip("Phantoms as patients, and a small model that copied some")
        self.open_button.clicked.connect(self._browse)
        self.new_button.clicked.connect(self.new_requested)
        self.demo_button.clicked.connect(self.demo_requested)
        buttons = make_row(self.open_button, self.new_button, self.demo_button, spacing=3)
        self.title = QLabel()
        self.title.setStyleSheet("font-weight: bold;")
        self.message = Message()
        self.rows = {
            "folder": PathRow("Study folder", "an empty folder for all that the study makes"),
            "cohort": PathRow(
                "Cohort: which real volumes", "cohort.csv, or a folder", "Cohort (*.csv *.json)"
            ),
            "generator": ModelRow(
                "Generator: where synthetic volumes come from", "a model, or a folder of volumes"
            ),
            "embedder": ModelRow(
                "Embedder: what finds alike volumes", "empty: low-resolution, no model"
            ),
        }
        self.models: dict[str, ModelRow] = {
            field: row for field, row in self.rows.items() if isinstance(row, ModelRow)
        }
        self.confirm_button = QPushButton()
        self.confirm_button.clicked.connect(self.confirmed)
        self.train_button = QPushButton("Train a model …")
        self.train_button.setToolTip("A small generator or embedder, on this study's volumes")
        self.train_button.clicked.connect(self.train_requested)
        self.why_not = make_wrapped_label()
        self.progress = QProgressBar()
        self.progress.setFormat("%v of %m")
        self.stop_button = QPushButton("Stop")
        self.stop_button.clicked.connect(self.stop_requested)
        working = QHBoxLayout()
        working.addWidget(self.progress, 1)
        working.addWidget(self.stop_button)
        layout = make_column(self, spacing=4)
        layout.addLayout(buttons)
        add_widgets(layout, self.title, self.message)
        layout.addLayout(working)
        for field, row in self.rows.items():
            row.changed.connect(lambda value, f=field: self.choice_changed.emit(f, value))
            layout.addWidget(row)
        for field, model in self.models.items():
            model.stated.connect(lambda text, f=field: self.statement_changed.emit(f, text))
            model.trust_requested.connect(lambda f=field: self.trust_requested.emit(f))
        add_widgets(layout, self.confirm_button, self.why_not, self.train_button)
        layout.addStretch(1)
        self.set_busy("")
        self.set_new()

    def values(self) -> dict[str, str]:
        """Return what stands in the fields."""
        return {field: row.value for field, row in self.rows.items()}

    def statement(self, field: str) -> str:
        """Return what is stated about a model; empty for other fields."""
        return self.models[field].statement_text if field in self.models else ""

    def set_checking(self, field: str) -> None:
        """Say that a field's value is being looked at."""
        self.rows[field].feedback.say("Looking …" if self.rows[field].value else "", "info")
        if field in self.models:
            self.models[field].trust_button.hide()

    def set_finding(self, field: str, finding: FieldStatus) -> None:
        """Say what a field's value is."""
        if field in self.models:
            self.models[field].show_finding(finding)
        else:
            self.rows[field].feedback.say(finding.text, finding.level, finding.more)

    def set_new(self) -> None:
        """Show an empty form."""
        self.title.setText("New study")
        self.message.say("")
        for row in self.rows.values():
            row.set_value("")
            row.feedback.say("")
            row.set_fixed(False)
        for model in self.models.values():
            model.clear_finding()
        self.confirm_button.setText("Create study")
        self.train_button.hide()

    def set_open(self, name: str, choices: dict[str, FieldChoice]) -> None:
        """Show an open study; its folder and cohort can no longer change."""
        self.title.setText(f"Study: {name}")
        for field, row in self.rows.items():
            row.set_value(choices[field].path)
            row.set_fixed(field not in self.models)
        for field, model in self.models.items():
            model.clear_finding()
            model.set_statement(choices[field].stated)
        self.confirm_button.setText("Keep changes")
        self.train_button.show()

    def set_confirmable(self, yes: bool, why_not: str = "") -> None:
        """Enable the button, or say what is still missing."""
        self.confirm_button.setEnabled(yes)
        self.confirm_button.setToolTip("" if yes else why_not)
        self.why_not.setText("" if yes else why_not)
        self.why_not.setVisible(bool(self.why_not.text()))

    def set_busy(self, text: str, stoppable: bool = False) -> None:
        """Say that something is being done; an empty text says that it is over."""
        for button in (self.open_button, self.new_button, self.demo_button):
            button.setEnabled(not text)
        for row in self.rows.values():
            row.setEnabled(not text)
        self.progress.hide()
        self.stop_button.setVisible(bool(text) and stoppable)
        self.stop_button.setEnabled(True)
        if text:
            self.message.say(text, "info")
            self.confirm_button.setEnabled(False)
            self.why_not.hide()

    def set_progress(self, done: int, total: int, text: str) -> None:
        """Say how far it is."""
        self.message.say(text, "info")
        self.progress.setMaximum(total)
        self.progress.setValue(done)
        self.progress.show()

    def set_stopping(self) -> None:
        """Say that it will end soon."""
        self.stop_button.setEnabled(False)
        self.message.say("Stopping after this volume …", "info")

    def set_theme(self, look: ThemeColours) -> None:
        """Follow the theme."""
        self.message.set_theme(look)
        for row in self.rows.values():
            row.set_theme(look)

    def _browse(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Folder of a study (holds study.toml)")
        if path:
            self.open_requested.emit(path)
