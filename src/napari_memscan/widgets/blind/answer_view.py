"""The buttons, confidence and comment of step 3, for the questions of a blind reading."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtWidgets import QWidget

from napari_memscan.typing import Decision
from napari_memscan.widgets.review.actions import Action, ReviewAction
from napari_memscan.widgets.review.decision_view import DecisionView

COPY_LABELS: dict[Action, str] = {
    Decision.COPY: "✖ Copy",
    Decision.NOT_A_COPY: "✔ Not a copy",
    Decision.UNSURE: "? Unsure",
}
CHOICE_LABELS: dict[Action, str] = {Decision.COPY: "A is real", Decision.NOT_A_COPY: "B is real"}
"""The keys of the first two decisions, since a reader's fingers know them."""
SIDE_LABELS: dict[Action, str] = {Decision.COPY: "A", Decision.NOT_A_COPY: "B"}
"""What the buttons of a forced choice answer."""
UNDO_LABELS: dict[Action, str] = {ReviewAction.UNDO: "↶ Undo", ReviewAction.REDO: "↷ Redo"}
MOVE_LABELS: dict[Action, str] = {ReviewAction.PREVIOUS: "◀ Back", ReviewAction.NEXT: "Next ▶"}


class AnswerView(DecisionView):
    """Shows only the buttons that answer the question asked, with its words."""

    def __init__(self, parent: QWidget | None = None) -> None:
        self._spoken: dict[Action, str] = {}
        super().__init__(parent)
        self.comment.setPlaceholderText("Comment, kept with the answer")
        self.offer(COPY_LABELS)

    def offer(self, texts: Mapping[Action, str]) -> None:
        """Show the buttons of these actions, with these texts, and no others."""
        self._texts |= texts
        self._spoken = {name: text.lstrip("✖✔?↶↷◀ ").rstrip(" ▶") for name, text in texts.items()}
        for name, button in self.buttons.items():
            button.setVisible(name in texts)
        self.set_keys(self._keys)

    def set_keys(self, keys: Mapping[Action, str]) -> None:
        """Write the key of each action on its button, and say what the button says."""
        super().set_keys(keys)
        for name, said in self._spoken.items():
            key = keys.get(name, "")
            self.buttons[name].setAccessibleName(f"{said}, key {key}" if key else said)
            if self.buttons[name].toolTip():
                self.buttons[name].setToolTip(f"{said} ({key})" if key else said)
