"""How a scan gets into step 3: its summary and alarms, and the case of a sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_memscan.study import Study
from napari_memscan.volumes.preprocessing import Percentile, Window
from napari_memscan.widgets.common import text as wording
from napari_memscan.widgets.review.view import ReviewView
from napari_memscan.widgets.viewing import Case, CaseVolume

if TYPE_CHECKING:
    from napari_memscan.detection.results.scan_result import ScanResult
    from napari_memscan.review.queue import QueueItem

MIN_CT_WIDTH = 50
"""HU: windows of CT are wider."""


def show_result(view: ReviewView, result: ScanResult | None) -> None:
    """Show the numbers of a scan, or that there is none yet."""
    if result is None:
        view.set_summary("Nothing is scanned yet. Generate volumes in step 2.")
        return
    view.queue.model.set_measure(
        result.measure, wording.SCORE_DIGITS if result.measure == "score" else result.digits
    )
    view.set_summary(
        wording.format_scan_summary(result),
        wording.explain_summary(result),
        list(result.warnings),
        wording.list_alarms(result),
    )


def make_case(item: QueueItem, result: ScanResult, k: int) -> Case:
    """Return a sample and its k nearest training volumes as a case to look at."""
    return Case(
        item.sample,
        CaseVolume(
            wording.format_synthetic_title(item, result),
            item.sample,
            name=f"synthetic {item.sample}",
        ),
        tuple(
            CaseVolume(
                f"Training #{rank} {wording.format_neighbour_title(near, item, result)}",
                near.name,
                near.transform,
                f"training #{rank}",
            )
            for rank, near in enumerate(item.neighbours[:k], 1)
        ),
    )


def infer_modality(study: Study) -> str:
    """Return which windows are offered: those of CT where values are Hounsfield units."""
    percentile = isinstance(study.config.preprocessing.intensity, Percentile)
    return "CT" if infer_hounsfield_units(study) else "MR" if percentile else ""


def infer_hounsfield_units(study: Study) -> tuple[float, float] | None:
    """Return the Hounsfield units of black and white; None where there are none.

    No study says what it was scanned with. A fixed window from below zero is taken for one of CT:
    MR has no negative intensities, unless they are standardised, and then they span a few units.
    Another window is shown without a unit, in percent of the range, rather than with a wrong one.
    """
    rule = study.config.preprocessing.intensity
    if isinstance(rule, Window) and rule.low < 0 and rule.high - rule.low >= MIN_CT_WIDTH:
        return rule.low, rule.high
    return None
