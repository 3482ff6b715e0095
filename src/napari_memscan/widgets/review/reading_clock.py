"""How long somebody looks."""

from __future__ import annotations

import time

from qtpy.QtCore import QObject, Qt
from qtpy.QtWidgets import QApplication


class ReadingClock(QObject):
    """Counts seconds since a volume was shown, while the program is the one that is worked with."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._spent = 0.0
        self._since: float | None = None
        self._running = False
        application = QApplication.instance()
        if isinstance(application, QApplication):
            application.applicationStateChanged.connect(self._on_state)

    def start(self) -> None:
        """Begin at zero."""
        self._spent, self._since, self._running = 0.0, time.monotonic(), True

    def stop(self) -> None:
        """Forget what was counted."""
        self._spent, self._since, self._running = 0.0, None, False

    @property
    def seconds(self) -> float | None:
        """Counted so far; None before anything was shown."""
        if not self._running:
            return None
        now = 0.0 if self._since is None else time.monotonic() - self._since
        return self._spent + now

    def _on_state(self, state: Qt.ApplicationState) -> None:
        if not self._running:
            return
        if state == Qt.ApplicationState.ApplicationActive:
            if self._since is None:
                self._since = time.monotonic()
        elif self._since is not None:
            self._spent += time.monotonic() - self._since
            self._since = None
