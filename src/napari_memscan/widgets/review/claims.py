"""What is before a reader and what comes next: nobody else's, and loaded before it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from napari_memscan.errors import MemscanError
from napari_memscan.widgets.common.hints import describe_error
from napari_memscan.widgets.common.preferences import Preferences
from napari_memscan.widgets.review.screen import ReviewScreen
from napari_memscan.widgets.review.view import ReviewView

if TYPE_CHECKING:
    from napari_memscan.detection.results.scan_result import ScanResult
    from napari_memscan.review.session import ReviewSession

AHEAD = 4
"""Volumes below the present one that are loaded ahead, and half as many above."""


class ClaimController:
    """Claims the volume that is shown, and says which one follows.

    Parameters
    ----------
    view : ReviewView
        Whose queue; says what goes wrong.
    screen : ReviewScreen
        Loads ahead.
    preferences : Preferences
        Say whether a reader also gets what somebody else has open.

    Attributes
    ----------
    session : ReviewSession or None
        Of the study that is open.
    """

    def __init__(self, view: ReviewView, screen: ReviewScreen, preferences: Preferences) -> None:
        self._view, self._screen, self._preferences = view, screen, preferences
        self.session: ReviewSession | None = None

    def claim(self, sample: str) -> None:
        """Claim what is on the screen; a store that is gone is said, and reading goes on."""
        assert self.session is not None
        try:
            other = self.session.open(sample, self._preferences.share_cases)
        except MemscanError as error:
            self._view.message.say(describe_error(error), "error")
            return
        if other:
            self._view.message.say(f"{other} has {sample} open now.", "warning")

    def find_next(self, after: str | None, order: Sequence[str] | None = None) -> str | None:
        """Return the next unread sample after this one, as listed; None where there is none."""
        if self.session is None:
            return None
        listed = self._view.queue.samples if order is None else order
        share = self._preferences.share_cases
        try:
            return self.session.find_next(listed, after, share)
        except MemscanError as error:
            self._view.message.say(describe_error(error), "error")
        # Claims are not asked for again so soon.
        return self.session.find_next(listed, after, share=True)

    def expect(self, result: ScanResult) -> None:
        """Have the volumes loaded that come next, and those that one may go back to."""
        if self.session is None or not self._screen.active:
            return
        samples, current = self._view.queue.samples, self._view.queue.current
        at = samples.index(current) if current in samples else -1
        following = self.find_next(current)
        soon = [following] if following else []
        soon += [*samples[at + 1 : at + 1 + AHEAD], *samples[max(at - AHEAD // 2, 0) : max(at, 0)]]
        items = [self.session.items[sample] for sample in dict.fromkeys(soon)]
        self._screen.expect(items, result, self._view.k.value())
