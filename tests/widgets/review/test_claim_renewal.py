"""A claim lasts as long as somebody reads."""

from __future__ import annotations

import pytest
from qtpy.QtCore import QTimer

from napari_memscan.review.claims import ClaimRegistry
from napari_memscan.review.session import ReviewSession
from napari_memscan.review.store import DecisionStore
from napari_memscan.widgets.review.claim_renewal import ClaimRenewal


@pytest.fixture
def session(tmp_path):
    session = ReviewSession(DecisionStore(str(tmp_path / "review.sqlite")), claim_minutes=0.01)
    session.reader = "Ann"
    yield session
    session.close()


def test_a_claim_is_renewed_while_somebody_reads_and_ends_after(qtbot, session):
    reading = ["s000003"]
    alive = ClaimRenewal(lambda: session, lambda: reading[0], lambda: False)
    clock = alive.findChild(QTimer)
    assert 0 < clock.interval() < 15 * 60_000 / 2
    session.open("s000003")
    claims = ClaimRegistry(session.store)
    clock.setInterval(100)
    qtbot.wait(900)  # longer than a claim lasts
    assert claims.held_by_others("Ben") == {"s000003": "Ann"}
    reading[0] = ""
    qtbot.waitUntil(lambda: claims.held_by_others("Ben") == {}, timeout=5000)
