"""Volumes or vectors that are one and the same: refused where all are, told where some are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_memscan.errors import BadInput

if TYPE_CHECKING:
    from napari_memscan.volumes.volume import VolumeSequence

EQUAL_TOLERANCE = 2.0**-24
"""Squared distance of two standardised vectors up to which their correlation is 1 in single
precision: what lies nearer has no similarity of its own."""

MAX_NAMED_GROUPS = 3
"""So many groups are named in a message."""


def are_all_equal(rows: VolumeSequence | Sequence[Any]) -> bool:
    """Return whether two or more arrays of one shape are equal, or correlate as equal ones do.

    They are read one by one, up to the first that is another.
    """
    if len(rows) < 2:
        return False
    first = _standardise(rows[0])
    for i in range(1, len(rows)):
        other = _standardise(rows[i])
        if other.shape != first.shape or not ((first - other) ** 2).sum() <= EQUAL_TOLERANCE:
            return False
    return True


def refuse_equal_vectors(vectors: VolumeSequence | Sequence[Any], split: str) -> None:
    """Raise BadInput where all vectors (n, d) of a split are (nearly) equal."""
    if are_all_equal(vectors):
        raise BadInput(
            f"all {len(vectors)} {split} vectors are (nearly) equal: no similarity tells one "
            f"{split} volume from another. The embedder has collapsed or does not fit these "
            "volumes, or one volume was given many times."
        )


def refuse_equal_volumes(volumes: VolumeSequence | Sequence[Any], split: str) -> None:
    """Raise BadInput where all volumes (X, Y, Z) of a split are (nearly) equal."""
    if are_all_equal(volumes):
        raise BadInput(
            f"all {len(volumes)} {split} volumes are (nearly) equal: one volume was given many "
            "times, or the preprocessing leaves nothing of what tells them apart."
        )


def find_equal_rows(vectors: NDArray[Any], names: Sequence[str]) -> list[list[str]]:
    """Return the names of rows that are equal to the bit, group by group in their order."""
    groups: dict[bytes, list[str]] = {}
    for row, name in zip(np.ascontiguousarray(vectors), names, strict=True):
        groups.setdefault(row.tobytes(), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def list_equality_warnings(
    training: NDArray[Any], training_names: Sequence[str], synthetic: NDArray[Any]
) -> list[str]:
    """Return what a reader must know of equal vectors in training, and of synthetic ones."""
    warnings = []
    groups = find_equal_rows(training, training_names)
    if groups:
        told = "; ".join(
            " = ".join(group[:MAX_NAMED_GROUPS]) for group in groups[:MAX_NAMED_GROUPS]
        )
        n = sum(len(group) - 1 for group in groups)
        warnings.append(
            f"{n} of {len(training)} training volumes {'has' if n == 1 else 'have'} the very vector"
            f" of another training volume: {told}{' and others' if _has_unnamed(groups) else ''}."
            " What is there twice is learnt more easily, and is counted twice in N_mem; 'memscan"
            " dedup' finds those that are nearly so, too."
        )
    if are_all_equal(synthetic):
        warnings.append(
            f"All {len(synthetic)} synthetic vectors are (nearly) equal: the generator gives one "
            "volume again and again, or the embedder does not tell its volumes apart. Every count "
            "is then of a single volume."
        )
    return warnings


def _has_unnamed(groups: Sequence[Sequence[str]]) -> bool:
    return len(groups) > MAX_NAMED_GROUPS or any(
        len(group) > MAX_NAMED_GROUPS for group in groups[:MAX_NAMED_GROUPS]
    )


def _standardise(values: ArrayLike) -> NDArray[np.float64]:
    flat = np.asarray(values, np.float64).ravel()
    flat = flat - flat.mean()
    length: float = np.sqrt((flat**2).sum())
    return flat / length if length > 0 else flat
