"""The words that all of memscan shares: kinds of arrays, verdicts, splits."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Quoted: whoever imports only the words does not wait for NumPy.
Array: TypeAlias = "NDArray[np.float32]"
"""A volume (X, Y, Z), or several along a first axis."""
Vectors: TypeAlias = "NDArray[np.float32]"
"""Embedding vectors (n, dim)."""

Triple: TypeAlias = tuple[float, float, float]
"""One number an axis X, Y, Z; of voxel sizes in mm."""
GridShape: TypeAlias = tuple[int, int, int]
"""Voxels along X, Y, Z."""
Interval: TypeAlias = tuple[float, float]
"""Lower and upper end."""


class Split(StrEnum):
    """What the model saw of a real volume."""

    TRAINING = "training"
    VALIDATION = "validation"
    UNSEEN = "unseen"


class Verdict(StrEnum):
    """What the program says of a synthetic volume."""

    COPY = "copy"
    NEAR_DUPLICATE = "near-duplicate"
    NOVEL = "novel"
    UNDECIDED = "undecided"

    @property
    def called(self) -> bool:
        """Nearer to a training volume than new patients are."""
        return self in (Verdict.COPY, Verdict.NEAR_DUPLICATE)
