"""What pictures are taken of, and how the window gets there."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QApplication, QWidget

from napari_memscan.errors import JobFailed
from napari_memscan.typing import Decision
from napari_memscan.widgets.review.actions import ReviewAction

if TYPE_CHECKING:
    from napari_memscan.widgets.dock.dock import MemscanWidget

TIMEOUT = 120.0
"""Seconds to wait for a window or for volumes, on a slow machine without a graphics card."""
READER = "Ann"
"""Whose name is seen, and not that of who makes the pictures."""
N_CASES, N_PLANTED = 6, 1

VIEWS: dict[str, dict[str, str]] = {
    "grid": {"layout": "grid"},
    "pair": {"layout": "pair", "mode": "side by side"},
    "blink": {"layout": "pair", "mode": "blink"},
    "fade": {"layout": "pair", "mode": "fade"},
    "checkerboard": {"layout": "pair", "mode": "checkerboard"},
    "difference": {"layout": "pair", "mode": "difference"},
    "contours": {"layout": "pair", "mode": "contours"},
    "map": {"layout": "pair", "mode": "similarity map"},
    "planes": {"layout": "planes"},
    "3d": {"layout": "3D"},
    "threshold": {"layout": "grid", "tab": "threshold"},
    "embedding": {"layout": "grid", "tab": "map"},
    "rarefaction": {"layout": "grid", "tab": "rarefaction"},
}
"""Every view of step 3: its layout, how the pair is shown, and which statistics are open."""

TakePicture = Callable[[str, QWidget | None], None]
"""Takes a picture of this name; of a window of its own, or of napari's."""


def show_all_scenes(widget: MemscanWidget, shoot: TakePicture) -> None:
    """Go through everything that a reader can see of a scanned study; it is read blind there."""
    show_reading_views(widget, shoot)
    show_later_steps(widget, shoot)
    show_regeneration(widget, shoot)
    show_blind_reading(widget, shoot)
    show_reader_agreement(widget, shoot)


def show_reading_views(widget: MemscanWidget, shoot: TakePicture) -> None:
    """Show every one of `VIEWS`, and all keys."""
    from napari_memscan.widgets.dock.dock import REVIEW
    from napari_memscan.widgets.review.cheat_sheet import CheatSheet

    viewing, statistics = widget.viewing, widget.statistics
    widget.go_to(REVIEW)
    for name, view in VIEWS.items():
        if "mode" in view:
            viewing.set_pair_mode(view["mode"])
        viewing.set_layout(view["layout"])
        if "tab" in view:
            if not statistics.isVisible():
                widget.statistics_window.toggle()
            statistics.tabs.setCurrentWidget(getattr(statistics, view["tab"]))
        _wait_until_idle(widget)
        wait_for_drawing(1.5)
        shoot(name, statistics if "tab" in view else None)
    widget.statistics_window.toggle()
    widget.show_keys()
    wait_for_drawing()
    sheet = widget.findChild(CheatSheet)
    shoot("keys", sheet)
    sheet.close()


def show_later_steps(widget: MemscanWidget, shoot: TakePicture) -> None:
    """Show the next steps; the first one shows where a study lies on this machine."""
    from napari_memscan.widgets.dock.dock import GENERATE, RELEASE

    for name, step in (("generate", GENERATE), ("release", RELEASE)):
        widget.go_to(step)
        wait_until(lambda: not widget.release.counting, "counting what passes")
        wait_for_drawing()
        shoot(name, None)


def show_regeneration(widget: MemscanWidget, shoot: TakePicture) -> None:
    """Show how a called volume is replaced, and stop that."""
    from napari_memscan.widgets.dock.dock import REVIEW

    widget.go_to(REVIEW)
    decision = widget.review_view.decision
    called = [item.sample for item in widget.review.items.values() if item.called]
    if not called:
        return
    widget.review_view.queue.select(called[0])
    _wait_until_idle(widget)
    if not decision.buttons[ReviewAction.REGENERATE].isEnabled():
        return
    widget.review.act(ReviewAction.REGENERATE)
    wait_until(lambda: decision.bar.value() > 0 or not widget.review.busy, "regenerating")
    shoot("regeneration", None)
    decision.stop_button.click()
    wait_until(lambda: not widget.review.busy, "stopping the regeneration")


def show_blind_reading(widget: MemscanWidget, shoot: TakePicture) -> None:
    """Read a few cases blind to the end and have them revealed; then begin a forced choice."""
    start, case = widget.blind_view.start, widget.blind_view.case
    widget.read_blind()
    wait_for_drawing()
    shoot("blind-start", None)
    start.planted.setValue(N_PLANTED)
    _start_blind_reading(widget, 0)
    shoot("blind-case", None)
    while widget.blind.cases.case is not None:
        widget.blind.act(Decision.NOT_A_COPY)
        _wait_until_idle(widget)
    case.reveal.click()
    _wait_until_idle(widget)
    wait_for_drawing(1.5)
    shoot("blind-revealed", None)
    widget.blind.close()
    widget.read_blind()
    start.planted.setValue(0)
    _start_blind_reading(widget, 1)
    shoot("forced-choice", None)
    widget.blind.close()


def show_reader_agreement(widget: MemscanWidget, shoot: TakePicture) -> None:
    """Show what is said of who has read blind."""
    statistics = widget.statistics
    widget.statistics_window.toggle()
    statistics.tabs.setCurrentWidget(statistics.readers)
    _wait_until_idle(widget)
    wait_for_drawing()
    shoot("readers", statistics)


def _start_blind_reading(widget: MemscanWidget, kind: int) -> None:
    """Start a blind reading that is revealed at its end: of the first kind, or of the second."""
    start = widget.blind_view.start
    start.kinds.button(kind).click()
    start.cases.setValue(N_CASES)
    start.reveals.button(1).click()
    start.start.click()
    wait_until(lambda: widget.blind.reading, "preparing a blind reading")
    _wait_until_idle(widget)
    wait_for_drawing(1.5)


def _wait_until_idle(widget: MemscanWidget) -> None:
    viewing, statistics = widget.viewing, widget.statistics
    wait_until(lambda: not (viewing.loading or statistics.busy), "showing volumes")


def wait_until(until: Callable[[], bool], what: str) -> None:
    """Let the window work until something is so."""
    end = time.monotonic() + TIMEOUT
    while not until():
        if time.monotonic() > end:
            raise JobFailed(f"screenshots: {what} took longer than {TIMEOUT:.0f} s.")
        QApplication.processEvents()
        time.sleep(0.01)


def wait_for_drawing(seconds: float = 0.6) -> None:
    """Let the window draw: layout, grid and texture uploads come one after the other."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > end, "drawing")
