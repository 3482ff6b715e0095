"""Correlation of voxels, without any embedder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_memscan.errors import BadInput
from napari_memscan.volumes.validation import check_volume

BLOCK = 32


def compute_max_correlation(
    training: Sequence[NDArray[np.float32]],
    volumes: Sequence[NDArray[np.float32]],
    *,
    what: str = "synthetic",
    block: int = BLOCK,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the largest normalised cross-correlation of each volume with all training volumes.

    ``max_t sum_v a_v b_v`` over voxels v, with a and b the volumes centred and scaled to unit
    length: no shift is searched. Larger = more copying. Source: Akbar, Wang and Eklund 2023 (arXiv
    2305.07644).

    Parameters
    ----------
    training, volumes : sequences of arrays (X, Y, Z)
        Of one shape; `block` of each are in memory at once.
    what : str
        For messages: which volumes these are.
    block : int
        Does not change the result.
    progress : callable
        Told how many of `volumes` are done.

    Returns
    -------
    correlations : array (n,)
        In [-1, 1].
    indices : array (n,), int64
        The training volume; the lower of equal ones.

    Raises
    ------
    BadInput
        No training volume, other shapes, NaN, or a volume with one value everywhere; says which.
    """
    if not len(training) or not len(volumes):
        raise BadInput(f"{len(training)} training and {len(volumes)} {what} volumes; 1 is needed.")
    shape = np.shape(training[0])
    best = np.empty(len(volumes))
    which = np.empty(len(volumes), np.int64)
    for start in range(0, len(volumes), block):
        made = _standardise_volumes(
            volumes, range(start, min(start + block, len(volumes))), shape, what
        )
        rough = np.concatenate(
            [
                made
                @ _standardise_volumes(training, range(at, min(at + block, len(training))), shape).T
                for at in range(0, len(training), block)
            ],
            axis=1,
        )
        # Only these can be the nearest, given the rounding of a product in blocks.
        margin = 4 * np.sqrt(made.shape[1]) * np.finfo(np.float32).eps
        near = rough >= rough.max(axis=1, keepdims=True) - margin
        best[start : start + len(made)] = -np.inf
        for column in np.flatnonzero(near.any(axis=0)):
            unit = _standardise_volumes(training, range(column, column + 1), shape)[0].astype(
                np.float64
            )
            for row in np.flatnonzero(near[:, column]):
                exact = min(max(float((unit * made[row]).sum()), -1.0), 1.0)
                if exact > best[start + row]:
                    best[start + row], which[start + row] = exact, column
        progress(start + len(made))
    return best, which


def _standardise_volumes(
    volumes: Sequence[NDArray[np.float32]],
    rows: range,
    shape: tuple[int, ...],
    what: str = "training",
) -> NDArray[np.float32]:
    """Return volumes as rows, centred and of unit length."""
    units = np.empty((len(rows), int(np.prod(shape))), np.float32)
    for place, i in enumerate(rows):
        volume = check_volume(volumes[i], f"{what} volume {i}", shape, constant=True)
        values = volume.ravel().astype(np.float64)
        values -= values.mean()
        length = np.sqrt((values**2).sum())
        if length <= 1e-9 * max(values.size, 1) ** 0.5:
            raise BadInput(
                f"{what} volume {i} has the same value everywhere; a correlation with it is not "
                "defined. Take it out, or mend its intensities."
            )
        units[place] = values / length
    return units
