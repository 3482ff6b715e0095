"""How a thread speaks to the window: the one way for all of them."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QObject, Qt, Signal


class Mailbox(QObject):
    """Carries what a thread says into the main thread, all of it and in order.

    Make one in the main thread, hand it to the thread, and let the thread `send`. The receiver is
    called by the event loop of the main thread. Signals of the thing that runs in the thread are
    not relied upon, since there are four ways in which they are never heard: napari's worker says
    nothing of a job that raises `RuntimeError`, nor of the result of one that was told to quit;
    listeners that are no `QObject` are called in the thread that made the worker, which may have
    ended; and what nobody but the connection holds is collected and not called. A mailbox has no
    parent and is held by the thread, so that it outlives the window as long as the thread speaks.

    Parameters
    ----------
    receive : callable
        A slot of a `QObject` that lives in the main thread: it is called with what was sent, and
        no more once that object is gone.
    """

    _sent = Signal(object)

    def __init__(self, receive: Any) -> None:
        super().__init__()
        self._sent.connect(receive, Qt.ConnectionType.QueuedConnection)

    def send(self, news: Any) -> None:
        """Say something, from any thread."""
        self._sent.emit(news)
