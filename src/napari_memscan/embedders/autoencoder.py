"""The LDM's own autoencoder as an embedder: a baseline that is always there."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.checkpoints.checkpoint import Checkpoint
from napari_memscan.checkpoints.latent_model import LatentCodec
from napari_memscan.checkpoints.networks import build_autoencoder, build_with_weights
from napari_memscan.checkpoints.recipe import AutoencoderRecipe, LDMRecipe
from napari_memscan.embedders.interface import CheckpointEmbedder
from napari_memscan.errors import BadInput

MAX_CELLS = 4
"""Latents are averaged to at most this many cells along each axis."""


class AutoencoderEmbedder(CheckpointEmbedder[LDMRecipe | AutoencoderRecipe]):
    """Maps volumes to the mean of their latent, averaged over a coarse grid.

    See `CheckpointEmbedder`; the checkpoint is an LDM's or an autoencoder's.
    """

    KIND = "autoencoder"

    def __init__(self, checkpoint: Checkpoint, device: str = "auto") -> None:
        super().__init__(checkpoint, device)
        self._codec = LatentCodec(self.recipe, self._network)
        assert self.input_shape is not None
        try:
            self.dim = len(self._embed_volume(np.zeros(self.input_shape, np.float32)))
        except (RuntimeError, ValueError) as error:
            raise BadInput(
                f"{checkpoint.path}/recipe.json: the autoencoder does not take volumes of "
                f"preprocessing.shape {self.input_shape}: {error}"
            ) from error

    def _build(self, checkpoint: Checkpoint) -> Any:
        self.name = "autoencoder of the LDM"
        self.input_shape = self.recipe.preprocessing.shape
        return build_with_weights(
            partial(build_autoencoder, self.recipe.autoencoder, checkpoint.path),
            checkpoint.weights("autoencoder"),
            checkpoint.path,
        )

    def _embed_volume(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch
        from torch.nn.functional import adaptive_avg_pool3d

        with torch.inference_mode():
            # The mean, not a sample: encode_stage_2_inputs would draw one.
            mean = self._codec.encode_mean(self._codec.prepare(volume, self.device))
            x_cells, y_cells, z_cells = (min(MAX_CELLS, n) for n in mean.shape[2:])
            pooled = adaptive_avg_pool3d(mean, (x_cells, y_cells, z_cells))
            vector: NDArray[np.float32] = pooled.flatten().float().cpu().numpy()
            return vector
