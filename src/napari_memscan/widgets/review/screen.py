"""What is before the reader's eyes in step 3: a sample beside its neighbours, and for how long."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject

from napari_memscan.study import SampleRow, Study
from napari_memscan.typing import Decision
from napari_memscan.widgets.review.case import infer_hounsfield_units, infer_modality, make_case
from napari_memscan.widgets.review.reading_clock import ReadingClock
from napari_memscan.widgets.study.inspect import find_display_spacing
from napari_memscan.widgets.viewing import ViewerController

if TYPE_CHECKING:
    from napari_memscan.detection.results.scan_result import ScanResult
    from napari_memscan.review.queue import QueueItem


class ReviewScreen(QObject):
    """Shows samples on napari's canvas, and says what was seen of them.

    Parameters
    ----------
    viewing : ViewerController

    Attributes
    ----------
    active : bool
        Panes are on the canvas, or about to be.
    """

    def __init__(self, viewing: ViewerController, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewing = viewing
        self._clock = ReadingClock(self)
        self._key = ""
        self._failed = False
        self.active = False
        viewing.shown.connect(self._on_shown)
        viewing.failed.connect(self._on_failed)

    def begin(self, layout: str) -> None:
        """Show panes from now on, at first in this layout."""
        if not self.active:
            self._viewing.set_layout(layout)
        self.active = True

    def clear(self, keep: bool = False) -> None:
        """Show nothing any more; with `keep` empty panes stay for another study."""
        self.active, self._key = False, ""
        self._clock.stop()
        self._viewing.clear(keep)

    def show(self, study: Study, item: QueueItem, result: ScanResult, k: int) -> None:
        """Show a sample and its k nearest training volumes."""
        self._clock.stop()
        self._key, self._failed = item.sample, False
        self._viewing.show(
            make_case(item, result, k),
            study.array_of,
            partial(find_display_spacing, study),
            infer_modality(study),
            infer_hounsfield_units(study),
        )

    def expect(self, items: Iterable[QueueItem], result: ScanResult, k: int) -> None:
        """Load these in the background, in this order."""
        self._viewing.expect([make_case(item, result, k) for item in items])

    @property
    def seconds(self) -> float | None:
        """How long the sample was looked at; None before it was shown."""
        return self._clock.seconds

    def refusal(self, decision: str) -> str:
        """Return why this cannot be decided on what is on the screen; empty where it can."""
        if self._failed:
            if decision == Decision.UNSURE:
                return ""
            return (
                "Not recorded: the volumes cannot be shown. Restore the file and come back, or "
                "decide Unsure."
            )
        if self.seconds is None or self._viewing.loading:
            return "Not recorded: the volumes are not shown yet."
        return ""

    def seen(
        self, study: Study, item: QueueItem, result: ScanResult, row: SampleRow, k: int
    ) -> dict[str, Any]:
        """Return what is on the screen, to be kept with a decision."""
        from napari_memscan.review.decision_evidence import collect_evidence

        position = dict(self._viewing.position)
        partner = item.neighbours[min(position["partner"], len(item.neighbours) - 1)]
        return collect_evidence(
            item,
            result,
            k,
            layout=position.pop("layout"),
            position=position.pop("mm", None),
            partner=partner.name,
            hashes=study.hashes(row),
            view=position,
        )

    def _on_shown(self, key: str) -> None:
        if self._key and key == self._key:
            self._failed = False
            self._clock.start()

    def _on_failed(self, _text: str) -> None:
        self._failed = bool(self._key)
