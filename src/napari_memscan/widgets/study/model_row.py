"""The choice of a model: a file or a folder, what it is, and what its files do not say."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPlainTextEdit, QPushButton, QVBoxLayout, QWidget

from napari_memscan.checkpoints.families.family import MissingFact
from napari_memscan.checkpoints.overrides import ModelOverrides
from napari_memscan.widgets.common.box_layouts import add_widgets
from napari_memscan.widgets.common.theme import ThemeColours
from napari_memscan.widgets.study.field_status import FieldStatus
from napari_memscan.widgets.study.path_row import PathRow

MODEL_FILES = (
    "Models (*.pt *.pth *.ckpt *.safetensors *.bin *.tar *.json *.yaml *.yml);;All files (*)"
)
STATEMENT_EXAMPLE = "latent_shape=8,36,44,28; spacing=1.1,1.1,1.1"
MAX_LINES = 2
DECLARABLE_NAMES = ", ".join(sorted(set(ModelOverrides.model_fields) - {"scale_factor_from"}))


class ModelRow(PathRow):
    """A path, a field for what the files do not say, and a button for models of their own code.

    Attributes
    ----------
    stated : Signal(str)
        Somebody changed what is stated about the model.
    trust_requested : Signal()
        Somebody wants to run the model's own code.
    """

    stated = Signal(str)
    trust_requested = Signal()

    def __init__(self, title: str, hint: str = "", parent: QWidget | None = None) -> None:
        super().__init__(title, hint, MODEL_FILES, parent)
        self.trust_button = QPushButton("Trust and run…")
        self.trust_button.setToolTip("Asks first, and says what would be run")
        self.trust_button.clicked.connect(self.trust_requested)
        self.statement_label = QLabel("What the files do not say:")
        self.statement = QPlainTextEdit()
        self.statement.setAccessibleName(f"{title}: what the files do not say")
        self.statement.setTabChangesFocus(True)
        self.statement.setToolTip(
            "NAME=VALUE, separated by ; or line breaks. It is checked as you type.\nNames:"
            f" {DECLARABLE_NAMES}"
        )
        self.statement.setFixedHeight(self.statement.fontMetrics().lineSpacing() * MAX_LINES + 14)
        self.statement_label.setBuddy(self.statement)
        self.statement.textChanged.connect(self._on_stated)
        self.more_button = QPushButton("State more…")
        self.more_button.setFlat(True)
        self.more_button.setToolTip("State what the files do not say, or say wrongly")
        self.more_button.clicked.connect(self._open_statement)
        buttons = QHBoxLayout()
        add_widgets(buttons, self.trust_button, self.more_button)
        buttons.addStretch(1)
        layout = self.layout()
        assert isinstance(layout, QVBoxLayout)
        layout.addLayout(buttons)
        add_widgets(layout, self.statement_label, self.statement)
        self.changed.connect(lambda _path: self.set_statement(""))
        self._silent = False
        self.clear_finding()

    @property
    def statement_text(self) -> str:
        """What is stated, as typed."""
        return str(self.statement.toPlainText()).strip()

    def set_statement(self, text: str) -> None:
        """Put a statement there without telling anybody; an empty one closes the field."""
        self._silent = True
        self.statement.setPlainText(text)
        self._silent = False
        self._show_statement(bool(text))
        self.more_button.hide()

    def state(self, text: str) -> None:
        """Put a statement there as if a person had."""
        self._show_statement(True)
        self.statement.setPlainText(text)

    def clear_finding(self) -> None:
        """Show nothing of a model: the form is empty, or the path new."""
        self.feedback.say("")
        self.trust_button.hide()
        self.set_statement("")

    def show_finding(self, finding: FieldStatus) -> None:
        """Say what the model is; open the field where something is missing."""
        self.feedback.say(finding.text, finding.level, finding.more)
        self.trust_button.setVisible(bool(finding.code))
        opened = bool(finding.missing or self.statement_text) or (
            not self.statement.isHidden() and finding.about_model
        )
        self.statement.setPlaceholderText(suggest_statement(finding.missing))
        self._show_statement(opened)
        self.more_button.setVisible(finding.about_model and not opened)

    def set_theme(self, look: ThemeColours) -> None:
        """Follow the theme; napari leaves such fields as dark as what is behind them."""
        super().set_theme(look)
        self.statement.setStyleSheet(
            f"background-color: {look.foreground}; border: 1px solid {look.quiet};"
        )

    def _show_statement(self, yes: bool) -> None:
        self.statement_label.setVisible(yes)
        self.statement.setVisible(yes)

    def _open_statement(self) -> None:
        self.more_button.hide()
        self._show_statement(True)
        self.statement.setFocus()

    def _on_stated(self) -> None:
        if not self._silent:
            self.stated.emit(self.statement_text)


def suggest_statement(missing: tuple[MissingFact, ...]) -> str:
    """Return what could be typed for what is missing, with the examples that it names."""
    parts = [f"{fact.name}={fact.example or '…'}" for fact in missing if fact.name]
    return f"for example  {'; '.join(parts) or STATEMENT_EXAMPLE}"
