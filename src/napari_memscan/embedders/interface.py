"""What every embedder is."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from napari_memscan.volumes.preprocessing import Preprocessing


@runtime_checkable
class Embedder(Protocol):
    """Maps volumes to vectors; similarity is the Pearson correlation of two vectors.

    Attributes
    ----------
    name : str
        For people: on screen and in the report.
    dim : int
        Length of a vector.
    hash : str
        Changes whenever the vectors would: weights, settings, version. Part of the cache key.
    """

    name: str
    dim: int
    hash: str

    @property
    def input_shape(self) -> tuple[int, int, int] | None:
        """Shape of the volumes it takes; None takes any."""
        ...

    def embed(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map preprocessed volumes (N, 1, X, Y, Z), float32, to vectors (N, dim), float32.

        A volume's vector does not depend on the others in the batch, to the last bit.

        Raises
        ------
        BadInput
            The shape is not `input_shape`, or a value is not finite.
        """
        ...


def notify_preprocessing(embedder: Embedder, preprocessing: Preprocessing) -> None:
    """Let an embedder know what volumes went through, if it wants to: see `BackboneEmbedder`."""
    told = getattr(embedder, "told", None)
    if told is not None:
        told(preprocessing)
