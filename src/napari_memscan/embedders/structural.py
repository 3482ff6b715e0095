"""A trained structural encoder as an embedder: see `training.structural_task`."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.checkpoints.checkpoint import Checkpoint
from napari_memscan.checkpoints.networks import build_with_weights
from napari_memscan.checkpoints.recipe import StructuralRecipe
from napari_memscan.embedders.interface import CheckpointEmbedder


class StructuralEmbedder(CheckpointEmbedder[StructuralRecipe]):
    """Maps volumes to vectors whose correlation follows how alike the volumes are.

    See `CheckpointEmbedder`.
    """

    KIND = "structural"

    def _build(self, checkpoint: Checkpoint) -> Any:
        from napari_memscan.embedders.multiscale_encoder import MultiScaleEncoder

        recipe = self.recipe
        self.name, self.dim = f"structural, {recipe.dim} numbers", recipe.dim
        self.input_shape = recipe.input_shape
        build = partial(
            MultiScaleEncoder,
            recipe.working_shape,
            recipe.width,
            recipe.stages,
            recipe.cells,
            recipe.dim,
            recipe.hidden,
        )
        return build_with_weights(build, checkpoint.weights("embedder"), checkpoint.path)

    def _embed_volume(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        from napari_memscan.embedders.contrastive_encoder import average_to_shape

        x = torch.from_numpy(np.ascontiguousarray(volume))[None, None].to(self.device)
        x = average_to_shape(x, self.recipe.working_shape)
        vector: NDArray[np.float32] = self._network(x)[0].float().cpu().numpy()
        return vector
