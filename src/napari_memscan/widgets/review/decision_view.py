"""What a reader decides: the verbs, how certain, and a comment."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QButtonGroup,
    QGridLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QToolButton,
    QWidget,
)

from napari_memscan.typing import Decision
from napari_memscan.widgets.common.box_layouts import make_column, make_row
from napari_memscan.widgets.review.actions import Action, ConfidenceAction, ReviewAction

BUTTONS: dict[Action, tuple[str, int, int]] = {
    Decision.COPY: ("✖ Copy", 0, 0),
    Decision.NOT_A_COPY: ("✔ Not a copy", 0, 2),
    Decision.UNSURE: ("? Unsure", 0, 4),
    ReviewAction.PREVIOUS: ("◀ Back", 1, 0),
    ReviewAction.NEXT: ("Next ▶", 1, 2),
    ReviewAction.UNDO: ("↶ Undo", 1, 4),
    ReviewAction.REDO: ("↷ Redo", 1, 5),
}
"""Text, row and column of each button."""
CONFIDENCE_LABELS = ("guessed", "rather unsure", "fairly sure", "sure", "certain")
"""What 1 to 5 mean."""


class _CommentEdit(QLineEdit):
    """Return and Escape lead back to where one decides."""

    left = Signal()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802 (Qt's name)
        if event is not None and event.key() == Qt.Key.Key_Escape:
            self.left.emit()
            return
        super().keyPressEvent(event)


class DecisionView(QWidget):
    """Buttons for decisions and moves, confidence, comment, and the regeneration under way.

    Attributes
    ----------
    action : Signal(object)
        A button was pressed: an `Action`.
    stop_requested : Signal()
        End the regeneration.
    done_typing : Signal()
        The comment is written; the keys of the reading room are wanted again.
    """

    action = Signal(object)
    stop_requested = Signal()
    done_typing = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.comment = _CommentEdit()
        self.comment.setPlaceholderText("Comment, kept with the decision")
        self.comment.returnPressed.connect(self.done_typing)
        self.comment.left.connect(self.done_typing)
        self._make_buttons()
        self._make_confidence()
        self._lay_out()
        self.set_keys({})
        self.set_regenerating("")

    def _make_buttons(self) -> None:
        self.buttons: dict[Action, QPushButton] = {}
        names = {name: text for name, (text, *_) in BUTTONS.items()}
        names |= {
            ReviewAction.REGENERATE: "⟳ Regenerate",
            ReviewAction.REGENERATE_FLAGGED: "⟳ All flagged",
        }
        for name in names:
            button = QPushButton()
            button.setStyleSheet("padding: 4px 2px;")  # three fit side by side
            button.setMinimumWidth(40)
            # The focus stays in the table, and Space never presses a button by accident.
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            button.clicked.connect(lambda _=False, n=name: self.action.emit(n))
            self.buttons[name] = button
        self._texts = names
        self.buttons[ReviewAction.REGENERATE_FLAGGED].setToolTip(
            "Replace every volume that a reader called a copy and that has no replacement yet"
        )
        self.stop_button = QPushButton("Stop")
        self.stop_button.clicked.connect(self.stop_requested)
        self.bar = QProgressBar()

    def _make_confidence(self) -> None:
        self.levels = QButtonGroup(self)
        # Not exclusive by itself: pressed again, a level is taken back.
        self.levels.setExclusive(False)
        for n, meaning in enumerate(CONFIDENCE_LABELS, 1):
            level = QToolButton(self)  # the group does not own it
            level.setText(str(n))
            level.setCheckable(True)
            level.setAccessibleName(f"Confidence {n} of 5, {meaning}")
            self.levels.addButton(level, n)
        self.levels.idToggled.connect(self._on_level)
        self.meaning = QLabel()

    def _lay_out(self) -> None:
        grid = QGridLayout()
        grid.setSpacing(3)
        for name, (_, row, column) in BUTTONS.items():
            wide = 1 if name in (ReviewAction.UNDO, ReviewAction.REDO) else 2
            grid.addWidget(self.buttons[name], row, column, 1, wide)
        for column in range(6):
            grid.setColumnStretch(column, 1)
        certainty = make_row(spacing=3)
        certainty.addWidget(QLabel("Confidence"))
        for level in self.levels.buttons():
            certainty.addWidget(level)
        certainty.addWidget(self.meaning, 1)
        again = make_row(spacing=3)
        for name in (ReviewAction.REGENERATE, ReviewAction.REGENERATE_FLAGGED):
            again.addWidget(self.buttons[name], 1)
        again.addWidget(self.bar, 2)
        again.addWidget(self.stop_button)
        layout = make_column(self, spacing=3)
        layout.addLayout(certainty)
        layout.addWidget(self.comment)
        layout.addLayout(grid)
        layout.addLayout(again)

    @property
    def confidence(self) -> int | None:
        """From 1 to 5; None where nothing is said."""
        found = [self.levels.id(level) for level in self.levels.buttons() if level.isChecked()]
        return found[0] if found else None

    def set_confidence(self, level: int | None) -> None:
        """Say how certain; None for nothing said."""
        for button in self.levels.buttons():
            button.setChecked(self.levels.id(button) == level)
        self._say_confidence()

    def fresh(self) -> None:
        """Forget confidence and comment: another volume is before the reader."""
        self.set_confidence(None)
        self.comment.clear()

    def set_keys(self, keys: Mapping[Action, str]) -> None:
        """Write the key of each action on its button."""
        self._keys = dict(keys)
        for name, button in self.buttons.items():
            key = keys.get(name, "")
            # A long key is read on hovering.
            short = 0 < len(key) <= 2
            button.setText(self._texts[name] + (f" ({key})" if short else ""))
            button.setAccessibleName(f"{name}, key {key}" if key else name)
            if key and not short:
                button.setToolTip(f"{name.capitalize()} ({key})")
        for level in self.levels.buttons():
            n = self.levels.id(level)
            key = keys.get(list(ConfidenceAction)[n - 1], "")
            level.setToolTip(
                f"{CONFIDENCE_LABELS[n - 1]} ({key})" if key else CONFIDENCE_LABELS[n - 1]
            )
        self._say_confidence()

    def set_enabled_actions(self, names: Collection[Action]) -> None:
        """Enable these actions' buttons and no others."""
        for name, button in self.buttons.items():
            button.setEnabled(name in names)
        deciding = Decision.COPY in names
        self.comment.setEnabled(deciding)
        for level in self.levels.buttons():
            level.setEnabled(deciding)

    def set_regenerating(self, text: str, done: int = 0, total: int = 0) -> None:
        """Show how far a regeneration is; an empty text says that none runs."""
        self.bar.setVisible(bool(text))
        self.stop_button.setVisible(bool(text))
        for name in (ReviewAction.REGENERATE, ReviewAction.REGENERATE_FLAGGED):
            self.buttons[name].setVisible(not text)
        self.bar.setRange(0, total)
        self.bar.setValue(done)
        self.bar.setFormat(text)
        self.bar.setToolTip(text)

    def _on_level(self, level: int, checked: bool) -> None:
        if checked:
            for button in self.levels.buttons():
                if self.levels.id(button) != level:
                    button.setChecked(False)
        self._say_confidence()

    def _say_confidence(self) -> None:
        level = self.confidence
        key = self._keys.get(ConfidenceAction.GUESSED, "")
        hint = f"optional ({key} to 5)" if key else "optional"
        self.meaning.setText(hint if level is None else CONFIDENCE_LABELS[level - 1])
