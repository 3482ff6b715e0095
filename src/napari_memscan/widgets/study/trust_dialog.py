"""Running a model's own code: only after somebody has said so in an explicit dialog."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QDialog, QDialogButtonBox, QLabel, QVBoxLayout, QWidget

from napari_memscan.checkpoints.trusted.trust_check import TRUST_WARNING
from napari_memscan.study import Study
from napari_memscan.widgets.common.box_layouts import add_widgets
from napari_memscan.widgets.common.message import insert_break_points
from napari_memscan.widgets.study.tasks import get_study_models

REFUSED = "Not run: nobody has said in this window that the model's own code may be run."


class TrustDialog(QDialog):
    """What would be run, and with whose rights; Cancel is the default.

    Parameters
    ----------
    path : str
        Of the model.
    why : str
        Why it needs its code.
    """

    def __init__(self, path: str, why: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Run code of a model?")
        self.setModal(True)
        self.path = path
        title = _make_label("This model can only be used by running code that comes with it.")
        title.setStyleSheet("font-weight: bold;")
        self.what = _make_label(f"What would be run:\n{insert_break_points(path)}")
        self.what.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.tick = QCheckBox("I know where this comes from and trust it")
        self.buttons = QDialogButtonBox()
        self.run_button = self.buttons.addButton(
            "Trust and run", QDialogButtonBox.ButtonRole.AcceptRole
        )
        self.cancel_button = self.buttons.addButton(QDialogButtonBox.StandardButton.Cancel)
        self.run_button.setAutoDefault(False)
        self.run_button.setEnabled(False)
        self.cancel_button.setDefault(True)
        self.cancel_button.setFocus()
        self.tick.toggled.connect(self.run_button.setEnabled)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.setSpacing(10)
        add_widgets(
            layout,
            title,
            self.what,
            _make_label(insert_break_points(why)),
            _make_label(TRUST_WARNING),
        )
        add_widgets(layout, self.tick, self.buttons)
        self.setMinimumWidth(440)


def _make_label(text: str) -> QLabel:
    label = QLabel(text)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    return label


class SessionTrust:
    """What may be run in this session; never written down, and for no other path."""

    def __init__(self) -> None:
        self._granted: set[str] = set()

    def ask(self, path: str, why: str, parent: QWidget | None) -> bool:
        """Ask about a model, each time anew; return whether its code may be run."""
        yes = TrustDialog(path, why, parent).exec() == QDialog.DialogCode.Accepted
        if yes:
            self._granted.add(path)
        return yes

    def allows(self, path: str, parent: QWidget | None) -> bool:
        """Return whether a model that a study already trusts may be run; asks once a session."""
        return path in self._granted or self.ask(
            path, "Its study says that it may be run; somebody has allowed it before.", parent
        )

    def allows_study(self, study: Study, parent: QWidget | None) -> bool:
        """Return whether all models of a study may be run; asks about those of their own code."""
        models = [m for m in get_study_models(study).values() if m is not None and m.trust]
        return all(self.allows(model.path, parent) for model in models)
