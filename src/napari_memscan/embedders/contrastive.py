"""A trained contrastive encoder as an embedder (Dar et al. 2023, section 2.2)."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.checkpoints.checkpoint import Checkpoint
from napari_memscan.checkpoints.networks import build_with_weights
from napari_memscan.checkpoints.recipe import ContrastiveRecipe
from napari_memscan.embedders.interface import CheckpointEmbedder
from napari_memscan.volumes.orientation import from_ras


class ContrastiveEmbedder(CheckpointEmbedder[ContrastiveRecipe]):
    """Maps volumes to vectors with a trained contrastive encoder.

    Each volume is scaled to [-1, 1] by its own minimum and maximum, as the paper scores, and
    averaged down to the recipe's working shape. See `CheckpointEmbedder`.
    """

    KIND = "contrastive"

    def _build(self, checkpoint: Checkpoint) -> Any:
        from napari_memscan.embedders.contrastive_encoder import ContrastiveEncoder

        recipe = self.recipe
        self.name, self.dim = f"contrastive, {recipe.dim} numbers", recipe.dim
        self.input_shape = recipe.input_shape
        build = partial(
            ContrastiveEncoder,
            recipe.n_hiddens,
            recipe.downsample,
            recipe.working_shape,
            recipe.dim,
        )
        return build_with_weights(build, checkpoint.weights("embedder"), checkpoint.path)

    def _embed_volume(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        from napari_memscan.embedders.contrastive_encoder import average_to_shape, scale_to_unit

        x = torch.from_numpy(from_ras(volume, self.recipe.axes))[None, None].to(self.device)
        x = average_to_shape(scale_to_unit(x), self.recipe.working_shape)
        vector: NDArray[np.float32] = self._network(x)[0].float().cpu().numpy()
        return vector
