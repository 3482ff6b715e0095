"""An embedder that runs code of its own, in a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_memscan.checkpoints.trusted.child_model import TrustedCheckpoint, expect_shape
from napari_memscan.embedders.interface import BaseEmbedder
from napari_memscan.files import hash_json
from napari_memscan.volumes.orientation import from_ras

if TYPE_CHECKING:
    from napari_memscan.checkpoints.recipe import TrustedRecipe


class TrustedEmbedder(BaseEmbedder):
    """Maps volumes to vectors with a user's plug-in or a TorchScript program.

    Parameters
    ----------
    checkpoint : TrustedCheckpoint
        With a `TrustedRecipe`.

    Attributes
    ----------
    report : LoadReport
        How it was loaded; `trusted` is set.

    Raises
    ------
    JobFailed
        From `embed`: the code raises, ends, hangs, or answers with something else.
    """

    def __init__(self, checkpoint: TrustedCheckpoint, device: str = "auto") -> None:
        recipe: TrustedRecipe = checkpoint.recipe  # type: ignore[assignment]
        self._child, self._axes = checkpoint.child, recipe.axes
        self.report = checkpoint.report
        self.preprocessing = recipe.preprocessing
        self.input_shape, self.dim = recipe.input_shape, recipe.dim
        self.name = f"{checkpoint.report.title}, {self.dim} numbers"
        self.hash = hash_json({"embedder": "trusted", "version": 1, "model": checkpoint.hash})

    def _embed_volume(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        batch = {"batch": from_ras(volume, self._axes)[None, None]}
        shape = expect_shape((1, self.dim))
        vector: NDArray[np.float32] = self._child.call("embed", batch, shape, 4 * self.dim)[0]
        return vector

    def close(self) -> None:
        """End the process."""
        self._child.close()
