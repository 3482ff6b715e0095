"""Connects step 4 to the policy, and to the jobs that report, release and verify."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QUrl, Signal
from qtpy.QtGui import QDesktopServices

from napari_memscan import jobs
from napari_memscan.errors import MemscanError
from napari_memscan.study import Study
from napari_memscan.widgets.common.hints import describe_error
from napari_memscan.widgets.common.runner import JobOutcome, JobRunner
from napari_memscan.widgets.release import text as words
from napari_memscan.widgets.release.tasks import (
    WrittenReport,
    resolve_release_folder,
    write_study_report,
)
from napari_memscan.widgets.release.view import PLACE_LABELS, ReleaseView

if TYPE_CHECKING:
    from napari_memscan.jobs.release.release import WrittenRelease
    from napari_memscan.report.verification import ReleaseVerification


class ReleaseController(QObject):
    """Says what would be released, keeps the policy, and reports, releases and verifies.

    What would be released is counted in the background; an answer to an older question is dropped.

    Attributes
    ----------
    changed : Signal()
        Something else is to be done next.
    unread_requested : Signal(object)
        These samples are to be read.
    """

    changed = Signal()
    unread_requested = Signal(object)

    def __init__(self, view: ReleaseView, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._view = view
        self._study: Study | None = None
        # Of which study is counted, and on which one something runs.
        self._counted: Study | None = None
        self._worked: Study | None = None
        self._preview: jobs.ReleasePreview | None = None
        self._released: jobs.ReleasePreview | None = None
        self._releasing: jobs.ReleasePreview | None = None
        self._failure = ""
        self._again = False
        self._after: Callable[[Any], None] = self._on_report
        self._counting, self._runner = JobRunner(self), JobRunner(self)
        self._counting.finished.connect(self._on_counted)
        self._runner.progressed.connect(self._on_progress)
        self._runner.finished.connect(self._on_finished)
        view.summary.unread_requested.connect(self._on_unread)
        view.policy.changed.connect(self._on_policy)
        view.folder.changed.connect(self._on_folder)
        view.report_requested.connect(self.report)
        view.release_requested.connect(self.release)
        view.verify_requested.connect(self.verify)
        view.stop_requested.connect(self.stop)
        view.open_requested.connect(self.open)
        self.set_study(None)

    @property
    def busy(self) -> bool:
        """Whether a report, a release or a verification runs."""
        return self._runner.busy

    @property
    def counting(self) -> bool:
        """Whether it is being found out what would be released."""
        return self._counting.busy

    @property
    def released(self) -> bool:
        """Whether what would be released now was released in this window."""
        return self._preview is not None and self._released == self._preview

    @property
    def next_step(self) -> str:
        """What is to be done next in this step."""
        if self.busy:
            return "wait, or Stop"
        if self.counting and self._preview is None:
            return "wait a moment"
        if self._preview is not None and self._preview.unread:
            return "Show unread, and decide"
        if self._stopped:
            return "mend what stops a release"
        if self.released:
            return "note the fingerprint, and hand out the folder"
        return self._lacking or "Release"

    def set_study(self, study: Study | None) -> None:
        """Release this study from now on; what runs on another is stopped."""
        if study is not self._study or study is None:
            self.stop()
            self._study, self._preview, self._released, self._failure = study, None, None, ""
            view = self._view
            view.summary.clear()
            view.folder.set_value("")
            view.fingerprint.clear()
            for message in (view.message, view.report_message):
                message.say("")
        if study is not None:
            self._view.policy.show_policy(study.config.release)
        self._update()

    def look(self) -> None:
        """Find out anew what would be released."""
        self._again = self._counting.busy
        if self._study is not None and not self._again:
            self._counted = self._study
            self._counting.start(partial(jobs.preview_release, self._study))
        self._update()

    def report(self) -> None:
        """Write the report."""
        self._view.report_message.say("")
        self._work(write_study_report, "Writing the page …", self._on_report)

    def release(self) -> None:
        """Write the release."""
        out, self._releasing = self._view.folder.value, self._preview

        def releasing(study: Study) -> Any:
            return jobs.release_volumes(study, resolve_release_folder(study, out))

        self._work(releasing, "Looking at every volume once more …", self._on_release)

    def verify(self) -> None:
        """Verify the folder."""
        out, noted = self._view.folder.value, self._view.noted

        def verifying(study: Study) -> tuple[ReleaseVerification, bool]:
            from napari_memscan.report.verification import verify_release

            return verify_release(resolve_release_folder(study, out), noted), bool(noted)

        self._work(verifying, "Verifying every file …", self._on_verified, stoppable=False)

    def stop(self) -> None:
        """End what runs after the volume that it is at."""
        if self._runner.busy:
            self._view.set_stopping()
            self._runner.stop()

    def open(self, place: str) -> None:
        """Open the page, the PDF or the folder with the system's own program."""
        path = self._places().get(place)
        if path is not None and not QDesktopServices.openUrl(QUrl.fromLocalFile(str(path))):
            self._view.message.say(f"No program here opens {path}. Open it yourself.", "warning")

    def _work(
        self,
        make: Callable[[Study], Any],
        text: str,
        after: Callable[[Any], None],
        stoppable: bool = True,
    ) -> None:
        study = self._study
        if study is not None and self._runner.start(partial(make, study)):
            self._worked, self._after = study, after
            self._view.message.say("")
            self._view.set_running(text, stoppable)
            self._update()

    def _on_progress(self, news: Any) -> None:
        if isinstance(news, jobs.Progress) and self._worked is self._study:
            self._view.set_progress(news.done, news.total, news.what)

    def _on_finished(self, outcome: JobOutcome) -> None:
        self._view.set_running("")
        if self._worked is self._study and self._study is not None:
            if outcome.failure:
                self._view.message.say(outcome.failure, "error")
            elif outcome.stopped:
                self._view.message.say("Stopped. Nothing was released.", "warning")
            else:
                self._after(outcome.value)
        self._update()

    def _on_report(self, written: WrittenReport) -> None:
        text = "The report is written. It shows training volumes: treat it like the images."
        if written.no_pdf:
            text += " There is no PDF; the browser prints the page."
        more = "\n".join(filter(None, (str(written.page), written.no_pdf)))
        self._view.report_message.say(text, "ok", more)

    def _on_release(self, made: WrittenRelease) -> None:
        assert self._study is not None
        self._released = self._releasing
        self._view.fingerprint.setPlainText(made.fingerprint)
        self._view.message.say(*words.describe_release(made, self._study))

    def _on_verified(self, value: tuple[ReleaseVerification, bool]) -> None:
        self._view.message.say(*words.describe_verification(*value))

    def _on_counted(self, outcome: JobOutcome) -> None:
        study = self._study
        if self._again or study is not self._counted:
            self.look()
            return
        if study is None:
            return
        self._preview = outcome.value
        self._failure = outcome.failure
        if self._preview is None:
            self._view.summary.show_failure(self._failure)
        else:
            self._view.summary.show_preview(self._preview, self._stopped)
        self._update()

    def _on_unread(self) -> None:
        if self._preview is not None:
            self.unread_requested.emit(self._preview.unread)

    def _on_policy(self, changes: dict[str, Any]) -> None:
        study = self._study
        if study is None:
            return
        try:
            study.update(release=study.config.release.model_dump() | changes)
            self._view.message.say("")
            self._released = None
        except MemscanError as error:
            self._view.message.say(describe_error(error), "error")
        self._view.policy.show_policy(study.config.release)
        self.look()

    def _on_folder(self, _text: str) -> None:
        # What was said and noted was of another folder.
        self._released = None
        self._view.fingerprint.clear()
        self._view.message.say("")
        self._update()

    @property
    def _stopped(self) -> str:
        """Why nothing can be released that neither reading nor this form mends."""
        preview, study = self._preview, self._study
        if preview is None or preview.unread or study is None:
            return self._failure
        return "" if preview.stopped is None else describe_error(preview.stopped)

    @property
    def _lacking(self) -> str:
        """What the form lacks."""
        if self._study is not None and not self._study.config.release.license.strip():
            return "choose a licence"
        return "" if self._view.folder.value else "choose a folder for the release"

    def _why_not(self) -> str:
        if self._study is None:
            return "Open a study first."
        if self.counting:
            return "Counting …"
        if self._preview is not None and self._preview.unread:
            return f"Unread volumes: {len(self._preview.unread)}. Read them first."
        if self._stopped:
            return "Mend first what stands at the top."
        return f"First {self._lacking}." if self._lacking else ""

    def _places(self) -> dict[str, Path]:
        """Return what there is to open."""
        from napari_memscan.report.pdf import PDF_NAME

        study, text = self._study, self._view.folder.value
        if study is None:
            return {}
        report = study.report_dir
        places = {"page": report / "index.html", "pdf": report / PDF_NAME}
        if text:
            places["folder"] = resolve_release_folder(study, text)
        return {place: path for place, path in places.items() if path.exists()}

    def _update(self) -> None:
        if not self.busy:
            there = self._places()
            places = {place: place in there for place in PLACE_LABELS}
            self._view.set_possible(places, self._why_not(), "folder" in there)
        self.changed.emit()
