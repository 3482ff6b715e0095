"""One choice of a file or a folder, with a line that says what it is."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QLabel, QLineEdit, QPushButton, QWidget

from napari_memscan.widgets.common.box_layouts import add_widgets, make_column, make_row
from napari_memscan.widgets.common.message import Message
from napari_memscan.widgets.common.theme import ThemeColours


class PathRow(QWidget):
    """Label, path, one or two browse buttons, and what was found there.

    Parameters
    ----------
    title : str
        What is to be chosen.
    hint : str
        Shown while nothing is.
    file_filter : str
        A Qt filter such as ``"Table (*.csv)"`` gives a second button for files.

    Attributes
    ----------
    changed : Signal(str)
        Somebody chose or typed another path.
    """

    changed = Signal(str)

    def __init__(
        self, title: str, hint: str = "", file_filter: str = "", parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._title = title
        self._filter = file_filter
        self._last = ""
        self.edit = QLineEdit()
        self.edit.setPlaceholderText(hint)
        self.edit.setAccessibleName(title)
        self.edit.editingFinished.connect(self._on_edited)
        self.folder_button = QPushButton("Folder…")
        self.folder_button.clicked.connect(self._browse_folder)
        self.file_button = QPushButton("File…")
        self.file_button.clicked.connect(self._browse_file)
        self.file_button.setVisible(bool(file_filter))
        self.feedback = Message()
        row = make_row(spacing=3)
        row.addWidget(self.edit, 1)
        add_widgets(row, self.file_button, self.folder_button)
        label = QLabel(title)
        label.setBuddy(self.edit)
        layout = make_column(self, spacing=2)
        layout.addWidget(label)
        layout.addLayout(row)
        layout.addWidget(self.feedback)

    @property
    def value(self) -> str:
        """The path, as typed."""
        return str(self.edit.text()).strip()

    def set_value(self, text: str) -> None:
        """Put a path there without telling anybody."""
        self._last = text
        self.edit.setText(text)
        self.edit.setToolTip(text)

    def choose(self, text: str) -> None:
        """Put a path there as if a person had."""
        self.edit.setText(text)
        self._on_edited()

    def set_fixed(self, fixed: bool) -> None:
        """Make it a statement instead of a question."""
        self.edit.setReadOnly(fixed)
        self.folder_button.setVisible(not fixed)
        self.file_button.setVisible(not fixed and bool(self._filter))

    def set_theme(self, look: ThemeColours) -> None:
        """Follow the theme."""
        self.feedback.set_theme(look)

    def _on_edited(self) -> None:
        if self.value != self._last:
            self._last = self.value
            self.edit.setToolTip(self.value)
            self.changed.emit(self.value)

    def _browse_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, self._title, self.value)
        if path:
            self.choose(path)

    def _browse_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, self._title, self.value, self._filter)
        if path:
            self.choose(path)
