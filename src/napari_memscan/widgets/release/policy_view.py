"""What may leave the house: the policy of a study, as ``[release]`` in study.toml has it."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QCompleter,
    QFormLayout,
    QHBoxLayout,
    QSizePolicy,
    QWidget,
)

from napari_memscan.config import ReleaseConfig
from napari_memscan.typing import Verdict

READER_LABELS = {
    "called": "all but those that pass unread",
    "all": "every volume",
    "none": "none: verdicts decide alone",
}
"""Which volumes must be read."""
RULE_HELP = {
    Verdict.NOVEL: "Volumes that are no nearer to a training volume than new patients are",
    Verdict.UNDECIDED: (
        "Volumes of which the program says neither that they are copies nor that not"
    ),
}
"""Verdicts that may pass without a reader. Called volumes never do."""
LICENCES = (
    "CC-BY-4.0",
    "CC0-1.0",
    "CC-BY-SA-4.0",
    "CC-BY-NC-4.0",
    "CC-BY-NC-SA-4.0",
    "ODC-By-1.0",
    "CDLA-Permissive-2.0",
)
"""Usual SPDX identifiers for data."""


class _NoWheelComboBox(QComboBox):
    """Who scrolls through the step must not change what may leave the house."""

    def wheelEvent(self, event: QWheelEvent | None) -> None:  # noqa: N802 (Qt's name)
        if event is not None:
            event.ignore()


class PolicyView(QWidget):
    """Four lines of a form.

    Attributes
    ----------
    changed : Signal(dict)
        Fields of `ReleaseConfig` that somebody changed.
    """

    changed = Signal(dict)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.readers = _NoWheelComboBox()
        for name, text in READER_LABELS.items():
            self.readers.addItem(text, name)
        self.readers.setAccessibleName("Which volumes must be read")
        self.readers.setToolTip(
            "Who is to be read before anything is released. A decision can always take a volume out"
        )
        self.rule = {name: QCheckBox(name) for name in RULE_HELP}
        passing = QHBoxLayout()
        for name, box in self.rule.items():
            box.setToolTip(RULE_HELP[name])
            box.setAccessibleName(f"{name} volumes pass without a reader")
            box.clicked.connect(self._on_rule)
            passing.addWidget(box)
        passing.addStretch(1)
        self.licence = _NoWheelComboBox()
        self.licence.setEditable(True)
        self.licence.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.licence.addItems(LICENCES)
        # Completed in the line itself, half a word would become a licence that nobody chose.
        self.licence.completer().setCompletionMode(QCompleter.CompletionMode.PopupCompletion)
        self.licence.setAccessibleName("Licence")
        self.licence.setToolTip("An SPDX identifier, or a text of your own")
        self.licence.lineEdit().setPlaceholderText("choose, or type your own")
        for box in (self.readers, self.licence):
            # As wide as the dock, not as the longest of the texts.
            box.setMinimumContentsLength(12)
            box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.readers.activated.connect(
            lambda _i: self.changed.emit({"readers": self.readers.currentData()})
        )
        self.licence.textActivated.connect(self._on_licence)
        self.licence.lineEdit().editingFinished.connect(self._on_licence)
        self.dicom = QCheckBox("DICOM series as well")
        self.dicom.setToolTip("Beside the NIfTI files; without dates and persons")
        self.dicom.clicked.connect(lambda on: self.changed.emit({"dicom": bool(on)}))
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setVerticalSpacing(4)
        form.addRow("Must be read", self.readers)
        form.addRow("Pass unread", passing)
        form.addRow("Licence", self.licence)
        form.addRow("Files", self.dicom)
        self.show_policy(ReleaseConfig())

    def show_policy(self, policy: ReleaseConfig) -> None:
        """Show what a study says."""
        self.readers.setCurrentIndex(self.readers.findData(policy.readers))
        for name, box in self.rule.items():
            box.setChecked(name in policy.rule)
            # Where every volume must be read, none passes unread.
            box.setEnabled(policy.readers != "all")
        self.dicom.setChecked(policy.dicom)
        self.licence.setEditText(policy.license)
        # As the field has it: a text of several lines is not taken for a changed one.
        self._licence = self.licence.currentText()

    def _on_rule(self) -> None:
        self.changed.emit({"rule": [name for name, box in self.rule.items() if box.isChecked()]})

    def _on_licence(self, _text: str = "") -> None:
        text = self.licence.currentText()
        if text != self._licence:
            self._licence = text
            self.changed.emit({"license": text.strip()})
