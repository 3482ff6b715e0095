"""The words that all of memscan shares: kinds of arrays, splits, verdicts, decisions."""

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


SplitArrays: TypeAlias = "dict[Split, Array]"
"""Volumes (n, X, Y, Z) of each split."""


class Split(StrEnum):
    """What a volume is to the model: learnt from, held out, made by it, or never seen."""

    TRAINING = "training"
    VALIDATION = "validation"
    SYNTHETIC = "synthetic"
    UNSEEN = "unseen"
    """Kept beside the others, takes part in nothing but tests of the detector."""


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


class Decision(StrEnum):
    """What a reader can say of a synthetic volume."""

    COPY = "copy"
    NOT_A_COPY = "not a copy"
    UNSURE = "unsure"


class Stage(StrEnum):
    """How a reader came to an answer."""

    OPEN = "open"
    """Everything in sight."""
    BLIND = "blind"
    """Nothing but the volumes."""
    REVEALED = "revealed"
    """After a blind answer, with the truth in sight."""
    FORCED_CHOICE = "forced-choice"
    """Choosing the real one of two."""

    @property
    def counts(self) -> bool:
        """Whether its answers clear a sample; those to a test do not."""
        return self in (Stage.OPEN, Stage.REVEALED)
