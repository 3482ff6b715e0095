"""Exact nearest neighbours by Pearson correlation, in blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_memscan.typing import Vectors


_AT_ONCE = 2**18
"""Numbers in double precision handled at once: 2 MB, which stay in a processor's cache."""

_GROUP = 64
"""Similarities of which first only the largest is looked at."""

_CROWDED = 16
"""Candidates for each wanted neighbour above which the product is repeated in double precision."""


class NeighbourIndex:
    """Nearest training vectors of any vectors; similarity is the Pearson correlation.

    Vectors are centred and scaled to unit length once, so that a similarity is one dot product.
    A blocked matrix product finds all rows that can be among the nearest, given its rounding;
    these few are then computed again, pair by pair in double precision. So a similarity depends on
    its two vectors alone: not on the block, the number of threads, or what else was asked.

    Parameters
    ----------
    block : int
        Queries handled at once; bounds memory to ``block * n_training`` similarities.

    Attributes
    ----------
    vectors_ : array (n_training, d), float32
        Centred, unit length.
    """

    def __init__(self, block: int = 256) -> None:
        self.block = block

    def fit(self, training: Vectors) -> NeighbourIndex:
        """Learn the training vectors (n_training, d).

        Raises
        ------
        BadInput
            A vector holds NaN or infinity, or all its values are equal; names its row.
        """
        self.vectors_ = standardise_vectors(training, "training")
        return self

    def kneighbors(
        self, queries: Vectors, k: int = 5
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the k nearest training vectors of each query.

        Parameters
        ----------
        queries : array (n_queries, d)
            Vectors of the same embedder.
        k : int
            At most the number of training vectors is returned.

        Returns
        -------
        similarities : array (n_queries, k), float32
            In [-1, 1], larger is nearer, descending.
        indices : array (n_queries, k), int64
            Rows of the training vectors; of equal similarities the lower row comes first.
        """
        unit = standardise_vectors(queries, "query")
        n = len(self.vectors_)
        if unit.shape[1] != self.vectors_.shape[1]:
            raise BadInput(
                f"vectors of length {unit.shape[1]} cannot be compared with training vectors of "
                f"length {self.vectors_.shape[1]}; embed both with the same embedder."
            )
        k = min(max(1, k), n)
        similarities = np.empty((len(unit), k), np.float32)
        indices = np.empty((len(unit), k), np.int64)
        for start in range(0, len(unit), self.block):
            rows = slice(start, start + self.block)
            self._nearest(unit[rows], similarities[rows], indices[rows])
        return similarities, indices

    def _nearest(self, unit: Vectors, similarities: Vectors, indices: NDArray[np.int64]) -> None:
        """Write similarities and rows of the nearest of each query into the two arrays (q, k)."""
        n, d = self.vectors_.shape
        # Rounding moves a product and the kth one by d * eps / 2 each; twice that is safe.
        margin = 2 * d * float(np.finfo(np.float32).eps)
        near = _find_near(unit @ self.vectors_.T, similarities.shape[1], margin)
        if np.count_nonzero(near) <= _CROWDED * indices.size:
            self._exact(unit, near, similarities, indices)
            return
        # So many lie within single precision's rounding that double precision is cheaper.
        margin = 4 * (d * np.finfo(np.float64).eps + float(np.finfo(np.float32).eps))
        step, chunk = max(1, self.block // 8), max(1, _AT_ONCE // d)
        for start in range(0, len(unit), step):
            rows = slice(start, start + step)
            queries = unit[rows].astype(np.float64)
            rough = np.empty((len(queries), n))
            for i in range(0, n, chunk):
                part = slice(i, i + chunk)
                np.matmul(queries, self.vectors_[part].astype(np.float64).T, out=rough[:, part])
            near = _find_near(rough, similarities.shape[1], margin)
            self._exact(unit[rows], near, similarities[rows], indices[rows])

    def _exact(
        self,
        unit: Vectors,
        near: NDArray[np.bool_],
        similarities: Vectors,
        indices: NDArray[np.int64],
    ) -> None:
        """As `_nearest`, among the rows that `near` (q, n) names, pair by pair."""
        d, k = unit.shape[1], indices.shape[1]
        if len(unit) > 1 and np.count_nonzero(near) * d > _AT_ONCE:
            half = len(unit) // 2
            for rows in (slice(None, half), slice(half, None)):
                self._exact(unit[rows], near[rows], similarities[rows], indices[rows])
            return
        queries, candidates = np.divmod(np.flatnonzero(near), near.shape[1])
        exact = np.empty(len(candidates))
        chunk = max(1, _AT_ONCE // d)
        for i in range(0, len(candidates), chunk):
            part = slice(i, i + chunk)
            pairs = self.vectors_[candidates[part]].astype(np.float64)
            pairs *= unit[queries[part]]
            exact[part] = pairs.sum(axis=1)
        found = np.clip(exact, -1, 1).astype(np.float32)
        order = np.lexsort((candidates, -found, queries))
        first = np.searchsorted(queries, np.arange(len(unit)))
        best = order[first[:, None] + np.arange(k)]
        indices[:], similarities[:] = candidates[best], found[best]


def _find_near(rough: NDArray[Any], k: int, margin: float) -> NDArray[np.bool_]:
    """Return which of the similarities (q, n) can be among a query's k nearest."""
    n = rough.shape[1]
    # The kth largest of maxima over groups is at most the kth largest of all, and much faster to
    # find; it lets through a few more.
    groups = n // _GROUP
    if groups >= k:
        folded = rough[:, : groups * _GROUP].reshape(len(rough), _GROUP, groups)
        heads = np.concatenate([folded.max(axis=1), rough[:, groups * _GROUP :]], axis=1)
    else:
        heads = rough
    kth = np.partition(heads, heads.shape[1] - k, axis=1)[:, heads.shape[1] - k]
    # Similarities above 1 by rounding count as 1.
    bound = np.minimum(kth.astype(np.float64), 1) - margin
    return rough >= np.nextafter(bound.astype(rough.dtype), rough.dtype.type(-2))[:, None]


def standardise_vectors(
    vectors: Vectors, what: str = "vector", names: Sequence[str] | None = None
) -> Vectors:
    """Return vectors (n, d) centred and scaled to unit length, so that dot products correlate.

    Parameters
    ----------
    vectors : array (n, d)
        As an embedder makes them.
    what : str
        For messages: which vectors these are.
    names : sequence of str, optional
        For messages: what each row is of.

    Raises
    ------
    BadInput
        Not two-dimensional, not finite, or constant; says which row or name.
    """
    vectors = np.asarray(vectors, np.float32)
    if vectors.ndim != 2 or vectors.shape[1] < 2:
        raise BadInput(f"{what} vectors have shape {vectors.shape}; (n, d) with d >= 2 is needed.")

    def which(row: int) -> str:
        return f"{what} vector {row}" + (f" ({names[row]})" if names else "")

    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise BadInput(
            f"{which(bad[0])} holds NaN or infinity ({len(bad)} such vectors). "
            "The embedder or that volume is damaged."
        )
    result = np.empty_like(vectors)
    chunk = max(1, _AT_ONCE // vectors.shape[1])
    for start in range(0, len(vectors), chunk):
        rows = slice(start, start + chunk)
        centred = vectors[rows].astype(np.float64)
        largest = np.abs(vectors[rows]).max(axis=1, initial=1e-12)
        centred -= centred.mean(axis=1, keepdims=True)
        length = np.sqrt((centred**2).sum(axis=1, keepdims=True))
        flat = np.flatnonzero(length[:, 0] <= 1e-6 * largest)
        if len(flat):
            raise BadInput(
                f"{which(start + flat[0])} has the same value everywhere; a correlation with it "
                "is not defined. The embedder does not fit these volumes."
            )
        np.divide(centred, length, out=centred)
        result[rows] = centred
    return result
