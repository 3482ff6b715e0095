"""Looks at one field of the study form in a worker."""

from __future__ import annotations

from functools import partial

from qtpy.QtCore import QObject, QTimer, Signal

from napari_memscan.widgets.common.runner import JobOutcome, JobRunner
from napari_memscan.widgets.study.field_status import FieldChoice, FieldStatus
from napari_memscan.widgets.study.inspect import inspect_field


class FieldChecker(QObject):
    """Looks at one field in a worker; of several choices in a row only the last counts."""

    found = Signal(str, object)

    def __init__(self, field: str, parent: QObject) -> None:
        super().__init__(parent)
        self._field = field
        self._runner = JobRunner(self)
        self._runner.finished.connect(self._on_finished)
        self._wanted: FieldChoice | None = None
        self._running: FieldChoice | None = None
        self._typing = QTimer(self)
        self._typing.setSingleShot(True)
        self._typing.timeout.connect(self._start)

    @property
    def busy(self) -> bool:
        """Whether an answer is on its way."""
        return self._runner.busy or self._typing.isActive()

    @property
    def waiting(self) -> bool:
        """Whether somebody waits for an answer; one that is dropped may still be computed."""
        return self._wanted is not None

    def check(self, choice: FieldChoice, delay: int = 0) -> None:
        """Ask, after `delay` ms in which nothing else is asked; `found` answers."""
        self._wanted = choice
        if delay:
            self._typing.start(delay)
        else:
            self._typing.stop()
            self._start()

    def forget(self) -> None:
        """Drop the answer that is on its way."""
        self._typing.stop()
        self._wanted = None

    def _start(self) -> None:
        if self._wanted is not None and not self._runner.busy:
            self._running = self._wanted
            self._runner.start(partial(inspect_field, self._field, self._wanted))

    def _on_finished(self, outcome: JobOutcome) -> None:
        if self._wanted is None or self._typing.isActive():
            return
        if self._wanted != self._running:
            self._start()
            return
        self._wanted = None
        finding = FieldStatus(outcome.failure, "error") if outcome.failure else outcome.value
        self.found.emit(self._field, finding)
