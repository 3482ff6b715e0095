"""Counts in the background how far readers agree, and writes it for other programs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from napari_memscan.errors import MemscanError
from napari_memscan.files import write_text
from napari_memscan.jobs.readers.agreement import compare_readers, describe_imrmc
from napari_memscan.study import Study
from napari_memscan.widgets.common.hints import describe_error
from napari_memscan.widgets.common.runner import JobOutcome, JobRunner
from napari_memscan.widgets.readers.view import ReadersView

if TYPE_CHECKING:
    from napari_memscan.jobs.readers.agreement import ReaderComparison


class ReadersController(QObject):
    """Fills a `ReadersView` whenever it comes in sight, and saves what it shows."""

    def __init__(self, view: ReadersView, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._view = view
        self._study: Study | None = None
        self._made: ReaderComparison | None = None
        # Of which study, by which truth, and with names or without, was counted last.
        self._asked: tuple[Study | None, str, bool] | None = None
        self._runner = JobRunner(self)
        self._runner.finished.connect(self._on_finished)
        view.wanted.connect(self.look)
        view.save_requested.connect(self.save)

    @property
    def busy(self) -> bool:
        """Whether it is being counted."""
        return self._runner.busy

    @property
    def _question(self) -> tuple[Study | None, str, bool]:
        return self._study, self._view.source, self._view.anonymous.isChecked()

    def set_study(self, study: Study | None) -> None:
        """Count this study from now on."""
        self._study, self._made = study, None
        self._view.show_findings("")
        self._view.message.say("")
        self.look()

    def look(self) -> None:
        """Count anew, where somebody looks."""
        study, truth, anonymous = self._question
        if study is None or self._runner.busy or not self._view.isVisible():
            return
        self._asked = study, truth, anonymous
        self._runner.start(partial(compare_readers, study, truth, anonymous=anonymous))

    def save(self, kind: str, path: str) -> None:
        """Write what is shown: all events as ``csv``, with all numbers as ``json``, or ``imrmc``.

        Parameters
        ----------
        kind : {"csv", "json", "imrmc"}
        path : str
        """
        made = self._made
        if made is None:
            return
        more = ""
        try:
            if kind == "imrmc":
                scores = made.imrmc()
                text, more = scores.text, f" {describe_imrmc(scores, made.known)}"
            else:
                text = made.csv() if kind == "csv" else made.json()
            write_text(path, text)
        except (MemscanError, OSError) as error:
            said = describe_error(error) if isinstance(error, MemscanError) else str(error)
            self._view.message.say(f"Not saved. {said}", "error")
            return
        self._view.message.say(f"Saved: {path}.{more}", "ok")

    def _on_finished(self, outcome: JobOutcome) -> None:
        if self._asked != self._question:
            self.look()
            return
        self._made = outcome.value
        self._view.show_findings(str(outcome.value.found) if outcome.value is not None else "")
        self._view.message.say(outcome.failure, "error")
