"""A panel in a window of its own, beside napari's; it can be docked."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget


class FloatingWindow(QObject):
    """Makes the window when it is first asked for: docked, it would take the room of volumes.

    Parameters
    ----------
    viewer : napari viewer
    panel : QWidget
    name : str
        Of the window.
    size : (int, int)
        Of the window, in pixels.

    Attributes
    ----------
    shown : Signal()
        Somebody looks at it, since a moment ago.
    """

    shown = Signal()

    def __init__(
        self, viewer: Any, panel: QWidget, name: str, size: tuple[int, int], parent: QObject
    ) -> None:
        super().__init__(parent)
        self._viewer, self._panel, self._name, self._size = viewer, panel, name, size
        self._dock: Any = None

    @property
    def hidden(self) -> bool:
        """Whether nobody can see it."""
        return self._dock is None or bool(self._dock.isHidden())

    def toggle(self) -> None:
        """Show it, or hide it."""
        if self.hidden:
            self.show()
        else:
            self.hide()

    def show(self) -> None:
        """Show it."""
        if self._dock is None:
            self._dock = self._viewer.window.add_dock_widget(
                self._panel, name=self._name, area="bottom"
            )
            self._dock.setFloating(True)
            self._dock.resize(*self._size)
        self._dock.show()
        self.shown.emit()

    def hide(self) -> None:
        """Hide it."""
        if self._dock is not None:
            self._dock.hide()
