"""How a scan gets into step 3: summary, alarms and histogram, and the panes of a sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_memscan.report.answer import class_limits, level_word
from napari_memscan.widgets import wording
from napari_memscan.widgets.panes import Pane
from napari_memscan.widgets.review_view import ReviewView

if TYPE_CHECKING:
    from napari_memscan.detection.result import ScanResult
    from napari_memscan.review.queue import QueueItem


def show_result(view: ReviewView, result: ScanResult | None) -> None:
    """Show the numbers of a scan, or that there is none yet."""
    if result is None:
        view.set_summary("Nothing is scanned yet. Generate volumes in step 2.")
        view.histogram.clear()
        return
    view.set_summary(
        wording.summary(result),
        wording.explained(result),
        wording.warnings(result),
        wording.alarms(result),
    )
    view.histogram.set_values(
        [result.value(sample) for sample in result.samples],
        result.null,
        result.threshold,
        measure=result.measure,
        level=level_word(result),
        limits=class_limits(result),
        digits=wording.SCORE_DIGITS if result.measure == "score" else result.digits,
    )


def panes_of(item: QueueItem, result: ScanResult, k: int) -> list[Pane]:
    """Return a sample and its k nearest training volumes as panes."""
    return [
        Pane(f"Synthetic {item.sample}", item.path),
        *(
            Pane(f"Training #{rank} {wording.title(near, result.digits)}", near.path)
            for rank, near in enumerate(item.neighbours[:k], 1)
        ),
    ]
