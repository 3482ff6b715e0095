"""The four steps of a study, which one is open, what is done, and what comes next."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QButtonGroup, QSizePolicy, QToolButton, QWidget

from napari_memscan.widgets.common.box_layouts import make_column, make_row, make_wrapped_label
from napari_memscan.widgets.common.theme import ThemeColours

STEPS = ("Study", "Generate", "Review", "Release")


class StepBar(QWidget):
    """Four buttons, ``1 Study`` to ``4 Release``, and the line ``Next: ...``.

    Attributes
    ----------
    chosen : Signal(int)
        Somebody pressed a step, 0 to 3.
    """

    chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._group = QButtonGroup(self)
        self._group.setExclusive(True)
        self._done = [False] * len(STEPS)
        row = make_row(spacing=2)
        for i, name in enumerate(STEPS):
            button = QToolButton()
            button.setText(f"{i + 1} {name}")
            button.setCheckable(True)
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
            button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            button.setMinimumHeight(30)
            button.setAccessibleName(f"Step {i + 1} of {len(STEPS)}: {name}")
            self._group.addButton(button, i)
            row.addWidget(button)
        self._group.idClicked.connect(self.chosen)
        self._next = make_wrapped_label()
        self._next.setTextFormat(Qt.TextFormat.PlainText)
        layout = make_column(self, spacing=4)
        layout.addLayout(row)
        layout.addWidget(self._next)
        self.set_theme(ThemeColours())
        self.set_step(0)

    def button(self, step: int) -> QToolButton:
        """Return the button of a step."""
        return self._group.button(step)

    @property
    def step(self) -> int:
        """The open step."""
        return int(self._group.checkedId())

    @property
    def next_text(self) -> str:
        """What the line says."""
        return str(self._next.text())

    def set_step(self, step: int) -> None:
        """Mark a step as open."""
        self._group.button(step).setChecked(True)

    def set_state(self, done: list[bool], possible: list[bool], next_text: str) -> None:
        """Say which steps are done and which can be opened, and what to do next."""
        for i, name in enumerate(STEPS):
            button = self._group.button(i)
            button.setText(f"{'✔' if done[i] else i + 1} {name}")
            button.setEnabled(possible[i])
        self._next.setText(f"▶ Next: {next_text}" if next_text else "")

    def set_theme(self, look: ThemeColours) -> None:
        """Follow the theme."""
        self.setStyleSheet(
            f"QToolButton {{ border: 1px solid {look.quiet}; border-radius: 3px; padding: 2px; }}"
            f"QToolButton:checked {{ background: {look.accent}; font-weight: bold; }}"
            f"QToolButton:disabled {{ color: {look.quiet}; }}"
            "QLabel { font-weight: bold; }"
        )
