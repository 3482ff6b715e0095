"""Exact nearest neighbours by Pearson correlation, in blocks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_memscan.errors import BadInput

Vectors = NDArray[np.float32]


class NeighbourIndex:
    """Nearest training vectors of any vectors; similarity is the Pearson correlation.

    Vectors are centred and scaled to unit length once, so that a similarity is one dot product.

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
        self.vectors_ = standardised(training, "training")
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
        unit = standardised(queries, "query")
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
            block = np.clip(unit[rows] @ self.vectors_.T, -1, 1)
            indices[rows] = _top(block, k)
            similarities[rows] = np.take_along_axis(block, indices[rows], axis=1)
        return similarities, indices


def _top(block: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return the columns of the k largest values of each row, largest first, ties by column."""
    if k == 1:
        return block.argmax(axis=1)[:, None].astype(np.int64)
    n = block.shape[1]
    # Everything that ties with the k-th value must compete, or the choice would be arbitrary.
    kth = np.partition(block, n - k, axis=1)[:, n - k]
    result = np.empty((len(block), k), np.int64)
    for i, row in enumerate(block):
        candidates = np.flatnonzero(row >= kth[i])
        result[i] = candidates[np.argsort(-row[candidates], kind="stable")[:k]]
    return result


def standardised(vectors: Vectors, what: str = "vector") -> Vectors:
    """Return vectors (n, d) centred and scaled to unit length, so that dot products correlate.

    Raises
    ------
    BadInput
        Not two-dimensional, not finite, or constant; names the row.
    """
    vectors = np.asarray(vectors, np.float32)
    if vectors.ndim != 2 or vectors.shape[1] < 2:
        raise BadInput(f"{what} vectors have shape {vectors.shape}; (n, d) with d >= 2 is needed.")
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise BadInput(
            f"{what} vector {bad[0]} holds NaN or infinity ({len(bad)} such vectors). "
            "The embedder or that volume is damaged."
        )
    centred = vectors - vectors.mean(axis=1, keepdims=True, dtype=np.float64)
    length = np.sqrt((centred**2).sum(axis=1, keepdims=True))
    flat = np.flatnonzero(length[:, 0] <= 1e-6 * np.abs(vectors).max(axis=1, initial=1e-12))
    if len(flat):
        raise BadInput(
            f"{what} vector {flat[0]} has the same value everywhere; a correlation with it is "
            "not defined. The embedder does not fit these volumes."
        )
    result: Vectors = (centred / length).astype(np.float32)
    return result
