"""Connects step 2 to the jobs that generate and scan."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_memscan import jobs
from napari_memscan.generators.sample import DenoisingStep
from napari_memscan.study import Study
from napari_memscan.widgets.common.preferences import Preferences
from napari_memscan.widgets.common.runner import JobOutcome, JobRunner
from napari_memscan.widgets.common.text import format_verdict_counts, list_alarms
from napari_memscan.widgets.generate.view import GenerateView
from napari_memscan.widgets.study.trust_dialog import REFUSED, SessionTrust


def generate_and_scan(study: Study, **settings: Any) -> Generator[Any, None, Any]:
    """Generate, then scan: one job for the window."""
    yield from jobs.generate_volumes(study, **settings)
    return (yield from jobs.scan_study(study))


class GenerateController(QObject):
    """Runs generate and scan, shows how far they are, stops them.

    Attributes
    ----------
    running : Signal(bool)
        A job began or ended.
    changed : Signal()
        There are more volumes, or another scan.
    """

    running = Signal(bool)
    changed = Signal()

    def __init__(
        self,
        view: GenerateView,
        parent: QObject | None = None,
        trust: SessionTrust | None = None,
        preferences: Preferences | None = None,
    ) -> None:
        super().__init__(parent)
        self._trust = trust or SessionTrust()
        self._preferences = preferences or Preferences()
        self._view = view
        self._study: Study | None = None
        self._sampled = False
        self._runner = JobRunner(self)
        self._runner.progressed.connect(self._on_progress)
        self._runner.finished.connect(self._on_finished)
        view.start_requested.connect(self.start)
        view.scan_requested.connect(self.scan)
        view.stop_requested.connect(self.stop)

    @property
    def busy(self) -> bool:
        """Whether a job runs."""
        return self._runner.busy

    def set_study(self, study: Study | None) -> None:
        """Work on this study from now on."""
        if self._study is not study:
            self.stop()
            self._view.message.say("")
            if study is not None:
                self._view.seed.setValue(study.config.seed)
        self._study = study
        config = study.config.generator if study else None
        if study is None:
            self._view.set_source("No study is open.", sampled=False)
            self._view.start_button.setEnabled(False)
            return
        self._sampled = config is not None and not config.external
        text = (
            "New volumes are sampled from the LDM, then scanned."
            if self._sampled
            else "The volumes were made elsewhere; they are scanned as they are."
        )
        n = len(study.samples())
        self._view.set_source(f"{text} So far: {n} volumes.", self._sampled)
        if not self.busy:
            self._view.set_running(False)
            self._view.scan_button.setEnabled(n > 0)

    def start(self) -> None:
        """Generate, then scan; volumes made elsewhere are only scanned."""
        assert self._study is not None
        if self._sampled:
            settings = self._view.settings() | self._preferences.sampling(self._study)
            self._run(partial(generate_and_scan, self._study, **settings))
        else:
            self.scan()

    def scan(self) -> None:
        """Scan the volumes that exist."""
        assert self._study is not None
        self._run(partial(jobs.scan_study, self._study))

    def stop(self) -> None:
        """End the running job within one denoising step or one volume."""
        if self._runner.busy:
            self._view.set_stopping()
            self._runner.stop()

    def _run(self, make: Any) -> None:
        assert self._study is not None
        if self.busy:
            return
        if not self._trust.allows_study(self._study, self._view):
            self._view.message.say(REFUSED, "warning")
            return
        if self._runner.start(make):
            self._view.message.say("")
            self._view.set_running(True)
            self.running.emit(True)

    def _on_progress(self, news: Any) -> None:
        if isinstance(news, DenoisingStep):
            self._view.set_step(news.step, news.total)
        elif isinstance(news, jobs.Progress):
            if not news.sample:
                self._view.hide_steps()
            self._view.set_volumes(news.done, news.total, news.what)

    def _on_finished(self, outcome: JobOutcome) -> None:
        self._view.set_running(False)
        message = self._view.message
        if outcome.failure:
            message.say(outcome.failure, "error")
        elif outcome.stopped:
            message.say("Stopped. Finished volumes are kept; the same button goes on.", "warning")
        else:
            result = outcome.value
            doubts = [text for text, _ in list_alarms(result)]
            message.say(
                " ".join(
                    [
                        f"Scanned {result.n_synthetic} volumes: {format_verdict_counts(result)}.",
                        *doubts,
                    ]
                ),
                "warning" if doubts else "ok",
            )
        self.set_study(self._study)
        self.running.emit(False)
        self.changed.emit()
