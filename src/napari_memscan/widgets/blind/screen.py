"""What is before the eyes of who reads blind: the volumes, the head line, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject

from napari_memscan.review.blind_case import BlindCase
from napari_memscan.typing import Decision
from napari_memscan.widgets.blind.case_view import CaseView
from napari_memscan.widgets.blind.volume_source import BlindVolumeSource, make_blind_case
from napari_memscan.widgets.review.case import infer_hounsfield_units, infer_modality
from napari_memscan.widgets.review.reading_clock import ReadingClock
from napari_memscan.widgets.viewing import ViewerController

if TYPE_CHECKING:
    from napari_memscan.review.blind_session import BlindSession
    from napari_memscan.study import Study


class BlindScreen(QObject):
    """Shows cases on napari's canvas, and says what was seen of them.

    Parameters
    ----------
    view : CaseView
    viewing : ViewerController
        Neutral between `begin` and `end`: no message of it names a file.

    Attributes
    ----------
    failed : bool
        A volume of the case cannot be shown.
    """

    def __init__(
        self, view: CaseView, viewing: ViewerController, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._view, self._viewing = view, viewing
        self._study: Study | None = None
        self._source: BlindVolumeSource | None = None
        self._key = ""
        self.failed = False
        self._clock = ReadingClock(self)
        view.bar.set_viewing(viewing)
        viewing.shown.connect(self._on_shown)
        viewing.failed.connect(self._on_failed)

    def begin(self, study: Study, reading: BlindSession, layout: str) -> None:
        """Show cases of this reading from now on."""
        self._study, self._source = study, BlindVolumeSource(study, reading)
        self._view.message.say("")
        self._viewing.neutral = True
        self._viewing.set_layout(layout)
        self._view.setFocus()

    def end(self) -> None:
        """Take everything away."""
        self._study = self._source = None
        self.clear()
        self._viewing.neutral = False
        self._view.truth.say("")
        self._view.message.say("")
        self._view.set_list(())

    def clear(self) -> None:
        """Take the volumes away."""
        self._key = ""
        self._clock.stop()
        self._viewing.clear()

    def head(self, case: BlindCase | None, question: str, done: int, total: int) -> None:
        """Write which case it is and what is asked; no case: all are answered."""
        text = f"{case.title} of {total}" if case else f"All {total} cases are answered"
        self._view.title.setText(text)
        self._view.question.setText(question)
        self._view.question.setVisible(bool(question))
        self._view.set_progress(done, total)

    def show(self, case: BlindCase, soon: Sequence[BlindCase]) -> None:
        """Show a case, and load those that come soon."""
        assert self._study is not None
        assert self._source is not None
        self._clock.stop()
        self._key, self.failed = case.title, False
        self._view.answers.fresh()
        self._viewing.show(
            make_blind_case(case),
            self._source.load,
            self._source.spacing,
            infer_modality(self._study),
            infer_hounsfield_units(self._study),
        )
        self._viewing.expect([make_blind_case(c) for c in soon])

    def is_showing(self, case: BlindCase) -> bool:
        """Return whether this case is the one that is shown."""
        return self._key == case.title

    def refusal(self, answer: str, unsure: bool) -> str:
        """Return why an answer cannot be one to what is on the screen; empty where it can.

        `unsure` says whether that is an answer to what is asked.
        """
        if self.failed and answer != Decision.UNSURE:
            instead = "Choose Unsure, or Skip" if unsure else "Skip this case"
            return f"Not recorded: not both volumes can be shown. {instead}."
        if self._clock.seconds is None and not self.failed:
            return "Not recorded: the volumes are not shown yet."
        return ""

    def seen(self) -> dict[str, Any]:
        """Return what is recorded with an answer beside the answer itself."""
        position = dict(self._viewing.position)
        answers = self._view.answers
        evidence = {"layout": position.pop("layout"), "position": position.pop("mm", None)}
        return {
            "confidence": answers.confidence,
            "seconds": self._clock.seconds,
            "note": answers.comment.text().strip(),
            "evidence": evidence | {"view": position},
        }

    def _on_shown(self, key: str) -> None:
        if self._key and key == self._key:
            self._clock.start()
            self.failed = False

    def _on_failed(self, text: str) -> None:
        if self._key:
            self.failed = True
            self._view.message.say(text, "error")
