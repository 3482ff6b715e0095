"""A trained structural encoder as an embedder: see `training.structural`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.checkpoints.device import choose_device
from napari_memscan.checkpoints.loading import load_checkpoint
from napari_memscan.checkpoints.networks import build_with_weights
from napari_memscan.checkpoints.overrides import ModelOverrides
from napari_memscan.checkpoints.recipe import StructuralRecipe
from napari_memscan.embedders.low_resolution import check_batch
from napari_memscan.errors import BadInput
from napari_memscan.files import hash_json


class StructuralEmbedder:
    """Maps volumes to vectors whose correlation follows how alike the volumes are.

    Parameters
    ----------
    folder : path
        Of the checkpoint.
    device : str
        ``auto``, ``cpu``, ``cuda`` ...
    declared : Declared or mapping, optional
        What the checkpoint's files do not say.

    Raises
    ------
    BadInput
        Not such a checkpoint, or recipe and weights do not fit.
    """

    def __init__(
        self,
        folder: str | Path,
        device: str = "auto",
        declared: Mapping[str, Any] | ModelOverrides | None = None,
    ) -> None:
        from napari_memscan.embedders.multiscale_encoder import MultiScaleEncoder

        checkpoint = load_checkpoint(folder, declared, kind="embedder")
        recipe = checkpoint.recipe
        if not isinstance(recipe, StructuralRecipe):
            raise BadInput(f"{folder}: this is an embedder of another kind, not a structural one.")
        build = partial(
            MultiScaleEncoder,
            recipe.working_shape,
            recipe.width,
            recipe.stages,
            recipe.cells,
            recipe.dim,
            recipe.hidden,
        )
        try:
            network = build_with_weights(build, checkpoint.weights("embedder"), folder)
        except (ValueError, RuntimeError, TypeError, OverflowError) as error:
            if isinstance(error, BadInput):
                raise
            reason = str(error).partition("\n")[0][:200]
            raise BadInput(f"{folder}/recipe.json: {reason}.") from error
        self.recipe = recipe
        self.preprocessing = recipe.preprocessing
        self.name = f"structural, {recipe.dim} numbers"
        self.input_shape = recipe.input_shape
        self.dim = recipe.dim
        self.hash = hash_json(
            {"embedder": "structural", "version": 1, "checkpoint": checkpoint.hash}
        )
        self.device = choose_device(device)
        self._network: Any = network.to(self.device).eval()

    def embed(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map (N, 1, X, Y, Z) to (N, dim); see `Embedder.embed`."""
        import torch

        from napari_memscan.embedders.contrastive_encoder import average_to_shape

        batch = check_batch(batch, self.input_shape)
        vectors = []
        with torch.inference_mode():
            # One at a time: convolutions round differently at other batch sizes.
            for volume in batch:
                x = torch.from_numpy(np.ascontiguousarray(volume))[None].to(self.device)
                x = average_to_shape(x, self.recipe.working_shape)
                vectors.append(self._network(x)[0].float().cpu().numpy())
        return np.array(vectors, np.float32).reshape(-1, self.dim)
