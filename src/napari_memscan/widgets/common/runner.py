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
from qtpy.QtCore import QObject, QThreadPool, Signal, Slot

from napari_memscan.errors import HintKind, MemscanError, is_out_of_memory
from napari_memscan.widgets.common.hints import HINTS, describe_error
from napari_memscan.widgets.common.mailbox import Mailbox

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobOutcome:
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


def drive_job(make: Callable[[], Any], stop: Event) -> Generator[Any, None, JobOutcome]:
    """Run a job to its end, to its failure, or until `stop` is set.

    Failures are returned, not raised: napari's worker would show them with their traceback.
    Stopping goes by `stop` and not by the worker's
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
            return JobOutcome(job)
        try:
            while not stop.is_set():
                try:
                    news = next(job)
                except StopIteration as end:
                    return JobOutcome(end.value)
                yield news
            return JobOutcome(stopped=True)
        finally:
            job.close()
    except MemscanError as error:
        return JobOutcome(failure=describe_error(error))
    except Exception as error:
        if is_out_of_memory(error):
            advice = HINTS[HintKind.SAVE_MEMORY]
            return JobOutcome(
                failure=f"Memory does not suffice. {advice} What was finished is kept."
            )
        # The window must live on, and the person must hear of it; the log keeps the traceback.
        LOG.exception("a job ended unexpectedly")
        return JobOutcome(
            failure=f"Something unexpected went wrong ({type(error).__name__}: {error}). "
            "Nothing that was finished is lost; the log has the details."
        )


def _send_news(make: Callable[[], Any], stop: Event, mailbox: Mailbox) -> Generator[None]:
    """Run a job in the worker's thread; send what it yields, and last its outcome."""
    outcome = JobOutcome(stopped=True)
    job = drive_job(make, stop)
    pool = QThreadPool.globalInstance()
    try:
        while True:
            try:
                mailbox.send(next(job))
            except StopIteration as end:
                outcome = end.value
                return
            yield  # napari stops its workers here when the window is closed
    finally:
        job.close()
        pool.reserveThread()
        mailbox.send(outcome)


class JobRunner(QObject):
    """Runs one job at a time.

    Attributes
    ----------
    progressed : Signal(object)
        What the job yielded.
    finished : Signal(object)
        The job's `JobOutcome`; always comes, also after a failure or a stop.
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
        mailbox = Mailbox(self._hear)
        self._worker = create_worker(_send_news, make, self._stop, mailbox, _ignore_errors=True)
        # napari's workers share as many threads as there are cores: behind two long jobs on two
        # cores a third would not begin. A job gives its place free and takes it back at its end.
        QThreadPool.globalInstance().releaseThread()
        self._worker.start()
        return True

    def stop(self) -> None:
        """Ask the job to end at its next yield: within one denoising step."""
        self._stop.set()

    @Slot(object)
    def _hear(self, news: Any) -> None:
        if isinstance(news, JobOutcome):
            self._worker = None
            self.finished.emit(news)
        elif not self._stop.is_set():
            self.progressed.emit(news)
