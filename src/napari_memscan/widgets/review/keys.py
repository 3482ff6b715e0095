"""Keys of the reading room: in the dock, and on napari's canvas while volumes are read.

Only keys that napari 0.9 leaves free are taken by default, and what was bound before is put back.
Alt with F, V, L, P, W or H is not free: it opens a menu; with S, C or T it takes
a picture of the window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from qtpy.QtCore import QObject, Qt
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QWidget

from napari_memscan.widgets.common.preferences import Preferences
from napari_memscan.widgets.review.actions import ACTIONS, Action

QT_TO_NAPARI = {"Ctrl+": "Control-", "Shift+": "Shift-", "Alt+": "Alt-", "Pg": "Page"}
"""What Qt writes, and what napari writes."""


def assign_keys(preferences: Preferences) -> dict[Action, str]:
    """Return the key of each action; of two that want the same one, the later has none."""
    chosen: dict[Action, str] = {}
    for action, about in ACTIONS.items():
        wished = preferences.key(action, about.key)
        key = QKeySequence(wished).toString() if wished else ""
        chosen[action] = "" if key in chosen.values() else key
    return chosen


class ReviewKeys(QObject):
    """Calls an action when its key is pressed with the focus in the dock or on the canvas.

    Parameters
    ----------
    dock : QWidget
        Shortcuts work in it and in its children.
    viewer : napari viewer
        Its `bind_key` serves the canvas.
    act : callable
        Called with the action.
    preferences : Preferences
        Say which keys.
    """

    def __init__(
        self, dock: QWidget, viewer: Any, act: Callable[[Action], Any], preferences: Preferences
    ) -> None:
        super().__init__(dock)
        self._dock, self._viewer, self._act = dock, viewer, act
        self._preferences = preferences
        self._before: dict[str, Any] | None = None
        self._shortcuts: list[QShortcut] = []
        self._keys: Mapping[Action, str] = {}
        self.reload()

    @property
    def active(self) -> bool:
        """Whether the keys are taken."""
        return self._before is not None

    def reload(self) -> None:
        """Take the keys that the preferences say now."""
        active = self.active
        self.set_active(False)
        for shortcut in self._shortcuts:
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._shortcuts = []
        self._keys = {action: key for action, key in assign_keys(self._preferences).items() if key}
        for action, key in self._keys.items():
            shortcut = QShortcut(QKeySequence(key), self._dock)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            # A key held down must not decide on one volume after the other.
            shortcut.setAutoRepeat(False)
            shortcut.activated.connect(lambda a=action: self._act(a))
            shortcut.setEnabled(False)
            self._shortcuts.append(shortcut)
        self.set_active(active)

    def set_active(self, active: bool) -> None:
        """Take the keys, or give them back."""
        if active == self.active:
            return
        for shortcut in self._shortcuts:
            shortcut.setEnabled(active)
        if active:
            self._before = {}
            for action, key in self._keys.items():
                bound = _to_napari_key(key)
                self._before[bound] = self._viewer.bind_key(
                    bound, self._call(action), overwrite=True
                )
        else:
            before, self._before = self._before or {}, None
            for bound, function in before.items():
                self._viewer.bind_key(bound, function, overwrite=True)

    def _call(self, action: Action) -> Callable[[Any], None]:
        # A function with a name: napari asks for it at every key, which a partial has not.
        def call(viewer: Any) -> None:
            self._act(action)

        return call


def _to_napari_key(key: str) -> str:
    """Return a key as napari writes it."""
    # Qt means the character; napari also wants to be told how it is typed.
    typed = f"Shift+{key}" if key == "?" else key
    for ours, theirs in QT_TO_NAPARI.items():
        typed = typed.replace(ours, theirs)
    return typed
