"""Runs the study's long jobs in a thread, one at a time, and brings their news to the window.

A job is a Python generator: what it yields is progress, what it returns is its result. It runs in
napari's worker thread and never touches Qt; everything that arrives here arrives in the main
thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass
from threading import Event
from typing import Any

from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, Signal

from napari_memscan.errors import MemscanError

LOG = logging.getLogger(__name__)

Job = Generator[Any, None, Any]


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes
    ----------
    value : object
        What the job returned.
    failure : str
        Why it failed, in words for people; empty when it did not.
    stopped : bool
        It was asked to stop and did.
    """

    value: Any = None
    failure: str = ""
    stopped: bool = False


def drive(make: Callable[[], Any], stop: Event) -> Generator[Any, None, Outcome]:
    """Run a job to its end, to its failure, or until `stop` is set.

    Failures are returned, not raised: napari's worker would take a RuntimeError for a result
    and show any other error with its traceback. Stopping goes by `stop` and not by the worker's
    own `quit`, because the job must be closed in the thread that runs it: it may hold the
    study's lock.

    Parameters
    ----------
    make : callable
        Returns the job; a callable that returns anything else is a job without progress.
    stop : threading.Event
        Set it, and the job ends at its next yield.
    """
    try:
        job = make()
        if not isinstance(job, Generator):
            return Outcome(job)
        try:
            while not stop.is_set():
                try:
                    news = next(job)
                except StopIteration as end:
                    return Outcome(end.value)
                yield news
            return Outcome(stopped=True)
        finally:
            job.close()
    except MemscanError as error:
        return Outcome(failure=str(error))
    except Exception as error:
        # The window must live on, and the person must hear of it; the log keeps the traceback.
        LOG.exception("a job ended unexpectedly")
        return Outcome(
            failure=f"Something unexpected went wrong ({type(error).__name__}: {error}). "
            "Nothing that was finished is lost; the log has the details."
        )


class Runner(QObject):
    """Runs one job at a time.

    Attributes
    ----------
    progressed : Signal(object)
        What the job yielded.
    finished : Signal(object)
        The job's `Outcome`; always comes, also after a failure or a stop.
    """

    progressed = Signal(object)
    finished = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._worker: Any = None
        self._stop = Event()

    @property
    def busy(self) -> bool:
        """Whether a job runs."""
        return self._worker is not None

    def start(self, make: Callable[[], Any]) -> bool:
        """Start a job; return False, and start nothing, while another one runs."""
        if self.busy:
            return False
        self._stop = Event()
        worker = create_worker(drive, make, self._stop, _ignore_errors=True)
        self._worker = worker
        worker.yielded.connect(self._on_progress)
        worker.returned.connect(self._on_returned)
        worker.aborted.connect(self._on_aborted)
        worker.start()
        return True

    def stop(self) -> None:
        """Ask the job to end at its next yield: within one denoising step."""
        self._stop.set()

    def _on_progress(self, news: Any) -> None:
        if not self._stop.is_set():
            self.progressed.emit(news)

    def _on_returned(self, outcome: Any) -> None:
        self._worker = None
        if not isinstance(outcome, Outcome):  # napari hands over a RuntimeError as a result
            outcome = Outcome(failure=f"Something unexpected went wrong: {outcome}")
        self.finished.emit(outcome)

    def _on_aborted(self) -> None:
        self._on_returned(Outcome(stopped=True))
