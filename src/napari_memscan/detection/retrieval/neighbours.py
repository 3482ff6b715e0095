"""Exact nearest neighbours by Pearson correlation, in blocks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_memscan.errors import BadInput
from napari_memscan.typing import Vectors

_AT_ONCE = 2**18
"""Numbers in double precision made at once of vectors: 2 MB."""


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
        n, d = self.vectors_.shape
        if unit.shape[1] != d:
            raise BadInput(
                f"vectors of length {unit.shape[1]} cannot be compared with training vectors of "
                f"length {d}; embed both with the same embedder."
            )
        k = min(max(1, k), n)
        similarities = np.empty((len(unit), k), np.float32)
        indices = np.empty((len(unit), k), np.int64)
        # Rounding moves a product and the kth one by d * eps / 2 each; twice that is safe.
        margin = 2 * d * float(np.finfo(np.float32).eps)
        for start in range(0, len(unit), self.block):
            queries = unit[start : start + self.block]
            rough = queries @ self.vectors_.T
            kth = np.partition(rough, n - k, axis=1)[:, n - k].astype(np.float64)
            # Similarities above 1 by rounding count as 1.
            near = rough >= np.minimum(kth, 1)[:, None] - margin
            for i, query in enumerate(queries.astype(np.float64)):
                candidates = np.flatnonzero(near[i])
                sums = [
                    (self.vectors_[candidates[rows]] * query).sum(axis=1)
                    for rows in _split_rows(len(candidates), d)
                ]
                found = np.clip(np.concatenate(sums), -1, 1).astype(np.float32)
                best = np.argsort(-found, kind="stable")[:k]
                similarities[start + i], indices[start + i] = found[best], candidates[best]
        return similarities, indices


def _split_rows(n: int, d: int) -> list[slice]:
    step = max(1, _AT_ONCE // d)
    return [slice(start, start + step) for start in range(0, n, step)]


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
    for rows in _split_rows(*vectors.shape):
        centred = vectors[rows].astype(np.float64)
        largest = np.abs(vectors[rows]).max(axis=1, initial=1e-12)
        centred -= centred.mean(axis=1, keepdims=True)
        length = np.sqrt((centred**2).sum(axis=1, keepdims=True))
        flat = np.flatnonzero(length[:, 0] <= 1e-6 * largest)
        if len(flat):
            raise BadInput(
                f"{which(rows.start + flat[0])} has the same value everywhere; a correlation with "
                "it is not defined. The embedder does not fit these volumes."
            )
        np.divide(centred, length, out=centred)
        result[rows] = centred
    return result
