"""Connects the line about the self-test to its job and to what it left on disk."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from napari_memscan import jobs
from napari_memscan.errors import MemscanError
from napari_memscan.report.conclusion import compare_with_selftest, is_selftest_stale
from napari_memscan.widgets.common.hints import describe_error
from napari_memscan.widgets.common.runner import JobOutcome, JobRunner
from napari_memscan.widgets.common.text import format_selftest
from napari_memscan.widgets.generate.selftest_row import SelfTestRow
from napari_memscan.widgets.study.trust_dialog import REFUSED, SessionTrust

if TYPE_CHECKING:
    from napari_memscan.detection.results.scan_result import ScanResult
    from napari_memscan.study import Study


class SelfTestController(QObject):
    """Shows what the detector finds in the open study, and measures it on request."""

    def __init__(self, row: SelfTestRow, parent: QObject | None, trust: SessionTrust) -> None:
        super().__init__(parent)
        self._row, self._trust = row, trust
        self._study: Study | None = None
        self._measured: Study | None = None
        self._result: ScanResult | None = None
        self._runner = JobRunner(self)
        self._runner.progressed.connect(self._on_progress)
        self._runner.finished.connect(self._on_finished)
        row.measure_requested.connect(self.measure)
        row.stop_requested.connect(self._runner.stop)

    @property
    def busy(self) -> bool:
        """Whether the detector is being measured."""
        return self._runner.busy

    def show(self, study: Study | None, result: ScanResult | None) -> None:
        """Show what is known of the detector of this study; before a scan, too."""
        from napari_memscan.detection.planting.selftest import SelfTest

        if study is not self._study:
            self._runner.stop()
            self._row.set_running("")
        self._study, self._result = study, result
        if study is None:
            self._row.clear()
            return
        try:
            test = SelfTest.load(study.scan_dir)
        except MemscanError as error:
            self._row.say(describe_error(error), "warning", button=True)
            return
        if test is None:
            self._row.say(
                "Self-test: none yet.",
                "info",
                "How much the detector misses in this study is not known.",
                button=True,
            )
        elif result is not None and is_selftest_stale(result, test):
            self._row.say(
                f"Self-test of another detector than the scan's: {format_selftest(test)}. "
                "Measure again; if that does not help, scan again.",
                "warning",
                str(test),
                button=True,
            )
        else:
            weak = f". {test.notes[0]}" if test.notes else "."
            weak += f" And {len(test.notes) - 1} more: press to read." if test.notes[1:] else ""
            level = "warning" if test.notes else "ok"
            told = compare_with_selftest(result, test) if result is not None else ""
            more = "\n\n".join(filter(None, [str(test), told]))
            self._row.say(f"Self-test: {format_selftest(test)}{weak}", level, more, button=False)

    def measure(self) -> None:
        """Start measuring."""
        if self._study is None or self._runner.busy:
            return
        if not self._trust.allows_study(self._study, self._row):
            self._row.say(REFUSED, "warning", button=True)
            return
        self._measured = self._study
        self._runner.start(partial(jobs.run_selftest, self._study))
        self._row.set_running("starting")

    def _on_progress(self, news: object) -> None:
        if isinstance(news, jobs.Progress) and self._measured is self._study:
            self._row.set_running(news.what, news.done, news.total)

    def _on_finished(self, outcome: JobOutcome) -> None:
        if self._measured is not self._study:
            return
        self._row.set_running("")
        self.show(self._study, self._result)
        if outcome.failure:
            self._row.say(outcome.failure, "error", button=True)
        elif outcome.stopped:
            self._row.say("Stopped. The same button goes on.", "warning", button=True)
