"""An embedder that runs code of its own, in a process of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_memscan.checkpoints.trusted.open_model import TrustedNetwork
from napari_memscan.embedders.low_resolution import check_batch
from napari_memscan.files import hash_json


class TrustedEmbedder:
    """Maps volumes to vectors with a user's plug-in or a TorchScript program.

    Parameters
    ----------
    vectors : TrustedVectors
        Of `checkpoints.trusted.opening.trusted_embedder`.

    Attributes
    ----------
    report : LoadReport
        How it was loaded; `trusted` is set.
    """

    def __init__(self, vectors: TrustedNetwork) -> None:
        self._vectors = vectors
        self.report = vectors.report
        self.preprocessing = vectors.preprocessing
        self.input_shape = vectors.facts.input_shape
        self.dim = vectors.facts.dim
        self.name = f"{vectors.report.title}, {self.dim} numbers"
        self.hash = hash_json({"embedder": "trusted", "version": 1, "model": vectors.hash})

    def embed(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map (N, 1, X, Y, Z) to (N, dim); see `Embedder.embed`.

        Raises
        ------
        JobFailed
            The code raises, ends, hangs, or answers with something else.
        """
        batch = check_batch(batch, self.input_shape)
        # One at a time: convolutions round differently at other batch sizes.
        vectors = [self._vectors.embed(volume[0]) for volume in batch]
        return np.array(vectors, np.float32).reshape(-1, self.dim)

    def close(self) -> None:
        """End the process."""
        self._vectors.child.close()
