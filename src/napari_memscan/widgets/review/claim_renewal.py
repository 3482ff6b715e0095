"""Keeps what is read claimed for as long as somebody is there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

from napari_memscan.errors import MemscanError
from napari_memscan.review.claims import CLAIM_MINUTES

if TYPE_CHECKING:
    from napari_memscan.review.session import ReviewSession


class ClaimRenewal(QObject):
    """Renews a claim three times in the time in which it would end.

    Parameters
    ----------
    session : callable
        Returns the reader's session, or None.
    reading : callable
        Returns the sample that somebody reads; empty while nobody does.
    share : callable
        Returns whether a sample that another reader has is claimed all the same.
    """

    def __init__(
        self,
        session: Callable[[], ReviewSession | None],
        reading: Callable[[], str],
        share: Callable[[], bool],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._session, self._reading, self._share = session, reading, share
        self._timer = QTimer(self)
        self._timer.setInterval(int(CLAIM_MINUTES * 60_000 / 3))
        self._timer.timeout.connect(self.renew)
        self._timer.start()

    def renew(self) -> None:
        """Renew the claim on what is read; where the store is gone, the next decision says so."""
        session, sample = self._session(), self._reading()
        if session is not None and sample:
            with suppress(MemscanError):
                session.open(sample, self._share())
