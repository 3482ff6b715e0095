"""Two readers do not get the same case, a killed window blocks nobody."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time

import pytest

from napari_memscan.errors import BadInput
from napari_memscan.review.audit import audit_store
from napari_memscan.review.claims import ClaimRegistry
from napari_memscan.review.store import DecisionStore


def test_a_claim_keeps_others_away_until_it_is_released(any_store):
    claims = ClaimRegistry(any_store)
    held = claims.claim("s0", "Ann")
    assert held.reader == "Ann"
    assert claims.claim("s0", "Ben") is None
    assert claims.claim("s1", "Ben") is not None
    assert claims.held_by_others("Ben") == {"s0": "Ann"}
    assert claims.held_by_others("Ann") == {"s1": "Ben"}
    assert claims.claim("s0", " Ann ").until >= held.until
    claims.release("Ann", "s0")
    assert claims.claim("s0", "Ben") is not None
    claims.release("Ben")
    assert claims.held_by_others("Ann") == {}
    with pytest.raises(BadInput, match="name"):
        claims.claim("s0", " ")


def test_on_purpose_two_may_read_one_case(any_store):
    claims = ClaimRegistry(any_store)
    claims.claim("s0", "Ann")
    assert claims.claim("s0", "Ben", share=True) is not None
    assert claims.held_by_others("Ann") == {"s0": "Ben"}
    assert claims.claim("s0", "Ann") is None
    assert claims.claim("s0", "Cem") is None


def test_a_claim_that_nobody_renews_ends(any_store):
    claims = ClaimRegistry(any_store, minutes=0.3 / 60)
    claims.claim("s0", "Ann")
    assert claims.claim("s0", "Ben") is None
    time.sleep(0.35)
    assert claims.held_by_others("Ben") == {}
    assert claims.claim("s0", "Ben") is not None


def test_claims_are_no_part_of_what_is_recorded(any_store):
    any_store.record("s0", "copy", "Ann")
    head = any_store.head()
    ClaimRegistry(any_store).claim("s0", "Ann")
    assert any_store.head() == head
    assert audit_store(any_store).intact


@pytest.mark.slow
def test_of_two_at_the_same_time_one_gets_it(where):
    code = """
        import sys, time
        from napari_memscan.review.claims import ClaimRegistry
        from napari_memscan.review.store import DecisionStore
        store = DecisionStore(sys.argv[1])
        claims = ClaimRegistry(store)
        while time.time() < float(sys.argv[3]):
            pass
        print(*[i for i in range(25) if claims.claim(f"s{i}", sys.argv[2])])
    """
    DecisionStore(where).close()
    command = [sys.executable, "-c", textwrap.dedent(code), where]
    start = str(time.time() + 3)
    programs = [
        subprocess.Popen([*command, name, start], stdout=subprocess.PIPE, text=True)
        for name in ("Ann", "Ben")
    ]
    got = [set(p.communicate(timeout=60)[0].split()) for p in programs]
    assert not got[0] & got[1]
    assert got[0] | got[1] == {str(i) for i in range(25)}
