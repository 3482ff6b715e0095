"""Registered pairs: what was compared once is not compared again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_memscan.detection.registration.verifier import PairEvidence
from napari_memscan.detection.retrieval.search import SearchResult
from napari_memscan.files import hash_json
from napari_memscan.volumes.cache import Store

PAIR_DTYPE = np.dtype(
    [("training", "S16"), ("start", "S16"), ("evidence", "f8", (PairEvidence.LENGTH,))]
)
"""Key of the training volume, hash of the poses that registration started from, and
`Evidence.to_array`: with the key of the query all that a registration depends on."""


class RegistrationCache:
    """Evidence of pairs in a store, one array a query.

    What a query's search finds depends on all training volumes; what a pair's registration gives
    does not. So one more training volume costs the registrations that it takes part in.

    Parameters
    ----------
    store : Store
    verifier : str
        Its hash.
    training : sequence of str
        Keys of the training volumes.
    """

    def __init__(self, store: Store, verifier: str, training: Sequence[str]) -> None:
        self.store, self.verifier = store, verifier
        self.training = [key.encode() for key in training]
        self._at: dict[bytes, list[int]] = {}
        for i, own in enumerate(self.training):
            self._at.setdefault(own, []).append(i)

    def known(self, query: str) -> dict[tuple[int, str], PairEvidence]:
        """Return what is kept of a query, as `Query.known`."""
        return {
            (i, row["start"].decode()): PairEvidence.from_array(row["evidence"])
            for row in self._rows(query)
            for i in self._at.get(row["training"], [])
        }

    def keep(self, query: str, found: SearchResult) -> None:
        """Keep the pairs of a query beside those that are kept."""
        rows = self._rows(query)
        there = {(row["training"], row["start"]) for row in rows}
        new = [
            (self.training[hit.index], hit.start.encode(), hit.evidence.to_array())
            for hit in found.hits
            if (self.training[hit.index], hit.start.encode()) not in there
        ]
        if new:
            self.store.put(self._key(query), np.concatenate([rows, np.array(new, PAIR_DTYPE)]))

    def _rows(self, query: str) -> NDArray[np.void]:
        key = self._key(query)
        if not self.store.has(key):
            return np.empty(0, PAIR_DTYPE)
        return self.store.get(key, lambda: np.empty(0, PAIR_DTYPE))

    def _key(self, query: str) -> str:
        return hash_json(["pairs", query, self.verifier])
