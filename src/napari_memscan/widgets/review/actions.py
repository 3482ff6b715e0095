"""Everything that a button or key does while volumes are read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from napari_memscan.typing import Decision
from napari_memscan.widgets.viewing import VIEW_ACTIONS, ViewAction


class ReviewAction(StrEnum):
    """What is neither a decision nor a way to look; settings of keys go by these names."""

    COMMENT = "comment"
    UNDO = "undo"
    REDO = "redo"
    REGENERATE = "regenerate"
    REGENERATE_FLAGGED = "regenerate flagged"
    NEXT = "next"
    PREVIOUS = "previous"
    SEARCH = "search"
    SORT = "sort"
    STATISTICS = "statistics"
    HELP = "help"


class ConfidenceAction(StrEnum):
    """How certain a reader is."""

    GUESSED = "confidence 1"
    RATHER_UNSURE = "confidence 2"
    FAIRLY_SURE = "confidence 3"
    SURE = "confidence 4"
    CERTAIN = "confidence 5"

    @property
    def level(self) -> int:
        """From 1 to 5."""
        return list(ConfidenceAction).index(self) + 1


Action = Decision | ConfidenceAction | ReviewAction | ViewAction


@dataclass(frozen=True)
class KeyAction:
    """What is said of an action, its group, and its key as Qt writes it."""

    text: str
    group: str
    key: str


DECIDE, MOVE, LOOK = "Decide", "Move", "Look"

ACTIONS: dict[Action, KeyAction] = {
    Decision.COPY: KeyAction("It is a copy", DECIDE, "K"),
    Decision.NOT_A_COPY: KeyAction("It is not a copy", DECIDE, "N"),
    Decision.UNSURE: KeyAction("Unsure", DECIDE, "U"),
    **{
        action: KeyAction(f"Confidence {action.level} of 5", DECIDE, f"Alt+{action.level}")
        for action in ConfidenceAction
    },
    ReviewAction.COMMENT: KeyAction("Write a comment; Return comes back", DECIDE, "Alt+N"),
    ReviewAction.UNDO: KeyAction("Withdraw my last decision", DECIDE, "Ctrl+Z"),
    ReviewAction.REDO: KeyAction("Make it again", DECIDE, "Ctrl+Shift+Z"),
    ReviewAction.REGENERATE: KeyAction("Replace this volume by a new one", DECIDE, "G"),
    ReviewAction.NEXT: KeyAction("Next volume", MOVE, "J"),
    ReviewAction.PREVIOUS: KeyAction("Previous volume", MOVE, "H"),
    ReviewAction.SEARCH: KeyAction("Search in the queue", MOVE, "Alt+Q"),
    ReviewAction.SORT: KeyAction("Sort by the next column, up and down", MOVE, "Alt+0"),
    **{action: KeyAction(text, LOOK, key) for action, (text, key) in VIEW_ACTIONS.items()},
    ReviewAction.STATISTICS: KeyAction("Statistics", LOOK, "Alt+G"),
    ReviewAction.HELP: KeyAction("These keys", LOOK, "?"),
}
"""Every action that has a key in step 3."""
