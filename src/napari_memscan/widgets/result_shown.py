"""How a scan gets into step 3: its summary and alarms, and the case of a sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_memscan.study import Study
from napari_memscan.volumes.preprocessing import Percentile, Window
from napari_memscan.widgets import wording
from napari_memscan.widgets.review_view import ReviewView
from napari_memscan.widgets.viewing import Case, Shown

if TYPE_CHECKING:
    from napari_memscan.detection.result import ScanResult
    from napari_memscan.review.queue import QueueItem


def show_result(view: ReviewView, result: ScanResult | None) -> None:
    """Show the numbers of a scan, or that there is none yet."""
    if result is None:
        view.set_summary("Nothing is scanned yet. Generate volumes in step 2.")
        return
    view.queue.model.set_measure(
        result.measure, wording.SCORE_DIGITS if result.measure == "score" else result.digits
    )
    view.set_summary(
        wording.summary(result),
        wording.explained(result),
        wording.warnings(result),
        wording.alarms(result),
    )


def case_of(item: QueueItem, result: ScanResult, k: int) -> Case:
    """Return a sample and its k nearest training volumes as a case to look at."""
    return Case(
        item.sample,
        Shown(wording.own_title(item), item.path, name=f"synthetic {item.sample}"),
        tuple(
            Shown(f"Training #{rank} {wording.title(near, result)}", near.path,
                  near.transform, f"training #{rank}")
            for rank, near in enumerate(item.neighbours[:k], 1)
        ),
    )  # fmt: skip


def modality_of(study: Study) -> str:
    """Return which windows are offered: a fixed window is set for CT, percentiles for MR."""
    rule = study.config.preprocessing.intensity
    return "CT" if isinstance(rule, Window) else "MR" if isinstance(rule, Percentile) else ""


def units_of(study: Study) -> tuple[float, float] | None:
    """Return the Hounsfield units of black and white; None where there are none."""
    rule = study.config.preprocessing.intensity
    return (rule.low, rule.high) if isinstance(rule, Window) else None
