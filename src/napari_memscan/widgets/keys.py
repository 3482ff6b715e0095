"""Keys of the reading room: in the dock, and on napari's canvas while volumes are read.

Only keys that napari 0.9 leaves free are taken, and what was bound before is put back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from qtpy.QtCore import QObject, Qt
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QWidget

KEYS = {
    "copy": "K",
    "not a copy": "N",
    "unsure": "U",
    "next": "J",
    "previous": "H",
    "undo": "Ctrl+Z",
    "regenerate": "G",
}
"""Action to key, as Qt writes it."""


class ReviewKeys(QObject):
    """Calls an action when its key is pressed with the focus in the dock or on the canvas.

    Parameters
    ----------
    dock : QWidget
        Shortcuts work in it and in its children.
    viewer : napari viewer
        Its `bind_key` serves the canvas.
    actions : mapping of str to callable
        An entry for each of `KEYS`.
    """

    def __init__(
        self, dock: QWidget, viewer: Any, actions: Mapping[str, Callable[[], Any]]
    ) -> None:
        super().__init__(dock)
        self._viewer = viewer
        self._actions = dict(actions)
        self._before: dict[str, Any] | None = None
        self._shortcuts = []
        for name, key in KEYS.items():
            shortcut = QShortcut(QKeySequence(key), dock)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            # A key held down must not decide on one volume after the other.
            shortcut.setAutoRepeat(False)
            shortcut.activated.connect(self._actions[name])
            shortcut.setEnabled(False)
            self._shortcuts.append(shortcut)

    @property
    def active(self) -> bool:
        """Whether the keys are taken."""
        return self._before is not None

    def set_active(self, active: bool) -> None:
        """Take the keys, or give them back."""
        if active == self.active:
            return
        for shortcut in self._shortcuts:
            shortcut.setEnabled(active)
        if active:
            self._before = {}
            for name, key in KEYS.items():
                call = _for_viewer(self._actions[name])
                self._before[key] = self._viewer.bind_key(_napari(key), call, overwrite=True)
        else:
            before, self._before = self._before or {}, None
            for key, function in before.items():
                self._viewer.bind_key(_napari(key), function, overwrite=True)


def _for_viewer(action: Callable[[], Any]) -> Callable[[Any], None]:
    # A function with a name: napari asks for it at every key, which a partial has not.
    def call(viewer: Any) -> None:
        action()

    return call


def _napari(key: str) -> str:
    return key.replace("Ctrl+", "Control-")
