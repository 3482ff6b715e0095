"""Exact nearest neighbours by Pearson correlation, in blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_memscan.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

Vectors = NDArray[np.float32]


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
            block = unit[rows] @ self.vectors_.T
            for i, row in enumerate(block, start):
                indices[i], similarities[i] = self._nearest(unit[i], row, k)
        return similarities, indices

    def _nearest(
        self, query: NDArray[np.float32], rough: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return rows and similarities of the k nearest, given all similarities roughly."""
        n, d = self.vectors_.shape
        kth = rough.max() if k == 1 else np.partition(rough, n - k)[n - k]
        # Rounding moves this and the kth product by at most d * eps / 2 each; twice that is safe.
        candidates = np.flatnonzero(rough >= kth - 2 * d * np.finfo(np.float32).eps)
        exact = (self.vectors_[candidates].astype(np.float64) * query).sum(axis=1)
        exact = np.clip(exact, -1, 1).astype(np.float32)
        order = np.argsort(-exact, kind="stable")[:k]
        return candidates[order], exact[order]


def standardised(
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
    centred = vectors - vectors.mean(axis=1, keepdims=True, dtype=np.float64)
    length = np.sqrt((centred**2).sum(axis=1, keepdims=True))
    flat = np.flatnonzero(length[:, 0] <= 1e-6 * np.abs(vectors).max(axis=1, initial=1e-12))
    if len(flat):
        raise BadInput(
            f"{which(flat[0])} has the same value everywhere; a correlation with it is "
            "not defined. The embedder does not fit these volumes."
        )
    result: Vectors = (centred / length).astype(np.float32)
    return result
