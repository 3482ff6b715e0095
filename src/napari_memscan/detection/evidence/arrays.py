"""What metrics of vectors share: sound input, exact distances, seeded subsets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_memscan.errors import BadInput

Float = NDArray[np.float64]
BLOCK = 256


def check_vectors(least: Mapping[str, int], **sets: ArrayLike) -> list[Float]:
    """Return sets of vectors as float64 arrays (n, d), in the order given.

    Parameters
    ----------
    least : mapping of str to int
        How many vectors of a set are needed; 1 where a set is not named.
    **sets : arrays (n, d)
        Such as ``training=``; the names serve messages.

    Raises
    ------
    BadInput
        Not two-dimensional, too few, NaN or infinity, lengths that differ between sets, or two or
        more vectors that are all equal; names the set and the row.
    """
    arrays: dict[str, Float] = {}
    for name, values in sets.items():
        array = np.asarray(values, np.float64)
        if array.ndim != 2 or array.shape[1] < 1:
            raise BadInput(f"{name} vectors have shape {array.shape}; (n, d) is needed.")
        needed = least.get(name, 1)
        if len(array) < needed:
            raise BadInput(
                f"{len(array)} {name} vectors; at least {needed} are needed. Add {name} volumes."
            )
        bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
        if len(bad):
            raise BadInput(
                f"{name} vector {bad[0]} holds NaN or infinity ({len(bad)} such vectors). "
                "The embedder or that volume is damaged."
            )
        if len(array) > 1 and (array == array[0]).all():
            raise BadInput(
                f"all {len(array)} {name} vectors are equal; distances between them say nothing. "
                "The embedder does not fit these volumes, or one volume was given many times."
            )
        arrays[name] = array
    lengths = {name: array.shape[1] for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise BadInput(f"vectors differ in length ({told}); embed all with the same embedder.")
    return list(arrays.values())


def find_nearest(
    queries: Float, references: Float, k: int = 1, *, skip_self: bool = False
) -> tuple[Float, NDArray[np.int64]]:
    """Return the Euclidean distances to the k nearest references of each query, ascending.

    Each distance is summed from differences: it depends on its two vectors alone, and that of two
    equal ones is exactly 0, which the quicker way over dot products does not give.

    Parameters
    ----------
    queries, references : arrays (n, d), (m, d)
        Sound ones; see `check_vectors`.
    k : int
        At most as many as there are references, without itself where that is skipped.
    skip_self : bool
        Queries and references are the same rows; a row is no neighbour of itself.

    Returns
    -------
    distances, indices : arrays (n, k)
        Of equal distances the lower row comes first.
    """
    from scipy.spatial.distance import cdist

    distances = np.empty((len(queries), k))
    indices = np.empty((len(queries), k), np.int64)
    for start in range(0, len(queries), BLOCK):
        block = cdist(queries[start : start + BLOCK], references)
        rows = np.arange(len(block))
        if skip_self:
            block[rows, start + rows] = np.inf
        order = np.argsort(block, axis=1, kind="stable")[:, :k]
        indices[start : start + BLOCK] = order
        distances[start : start + BLOCK] = block[rows[:, None], order]
    return distances, indices


def draw_subset(array: NDArray[Any], n: int, seed: int) -> NDArray[Any]:
    """Return `n` rows drawn without replacement, in their order; all rows where there are fewer."""
    if len(array) <= n:
        return array
    rows = np.random.default_rng(seed).choice(len(array), n, replace=False)
    return array[np.sort(rows)]
