"""An embedder that runs code of its own, in a process of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_memscan.checkpoints.trusted.open_model import TrustedNetwork
from napari_memscan.embedders.interface import BaseEmbedder
from napari_memscan.files import hash_json


class TrustedEmbedder(BaseEmbedder):
    """Maps volumes to vectors with a user's plug-in or a TorchScript program.

    Parameters
    ----------
    network : TrustedNetwork
        Of `checkpoints.trusted.open_model.open_trusted_embedder`.

    Attributes
    ----------
    report : LoadReport
        How it was loaded; `trusted` is set.

    Raises
    ------
    JobFailed
        From `embed`: the code raises, ends, hangs, or answers with something else.
    """

    def __init__(self, network: TrustedNetwork) -> None:
        self._vectors = network
        self.report = network.report
        self.preprocessing = network.preprocessing
        self.input_shape = network.facts.input_shape
        self.dim = network.facts.dim
        self.name = f"{network.report.title}, {self.dim} numbers"
        self.hash = hash_json({"embedder": "trusted", "version": 1, "model": network.hash})

    def _embed_volume(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._vectors.embed(volume)

    def close(self) -> None:
        """End the process."""
        self._vectors.child.close()
