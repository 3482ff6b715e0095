"""A trained contrastive encoder as an embedder (Dar et al. 2023, section 2.2)."""

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
from napari_memscan.checkpoints.recipe import ContrastiveRecipe
from napari_memscan.embedders.low_resolution import check_batch
from napari_memscan.errors import BadInput
from napari_memscan.files import hash_json
from napari_memscan.volumes.orientation import from_ras


class ContrastiveEmbedder:
    """Maps volumes to vectors with a trained contrastive encoder.

    Each volume is scaled to [-1, 1] by its own minimum and maximum, as the paper scores, and
    averaged down to the recipe's working shape.

    Parameters
    ----------
    folder : path
        Of the checkpoint.
    device : str
        ``auto``, ``cpu``, ``cuda`` ...

    Raises
    ------
    BadInput
        Not an embedder checkpoint, or recipe and weights do not fit.
    """

    def __init__(
        self,
        folder: str | Path,
        device: str = "auto",
        declared: Mapping[str, Any] | ModelOverrides | None = None,
    ) -> None:
        from napari_memscan.embedders.contrastive_encoder import ContrastiveEncoder

        checkpoint = load_checkpoint(folder, declared, kind="embedder")
        recipe = checkpoint.recipe
        if not isinstance(recipe, ContrastiveRecipe):
            raise BadInput(f"{folder}: this is an embedder of another kind, not a contrastive one.")
        weights = checkpoint.weights("embedder")
        build = partial(
            ContrastiveEncoder,
            recipe.n_hiddens,
            recipe.downsample,
            recipe.working_shape,
            recipe.dim,
        )
        try:
            network = build_with_weights(build, weights, folder)
        except BadInput:
            raise
        except (ValueError, RuntimeError, TypeError, OverflowError) as error:
            reason = str(error).partition("\n")[0][:200]
            raise BadInput(f"{folder}/recipe.json: {reason}.") from error
        self.recipe = recipe
        self.preprocessing = recipe.preprocessing
        self.name = f"contrastive, {recipe.dim} numbers"
        self.input_shape = recipe.input_shape
        self.dim = recipe.dim
        self.hash = hash_json(
            {"embedder": "contrastive", "version": 1, "checkpoint": checkpoint.hash}
        )
        self.device = choose_device(device)
        self._network: Any = network.to(self.device).eval()

    def embed(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map (N, 1, X, Y, Z) to (N, dim); see `Embedder.embed`."""
        import torch

        from napari_memscan.embedders.contrastive_encoder import average_to_shape, scale_to_unit

        batch = check_batch(batch, self.input_shape)
        vectors = []
        with torch.inference_mode():
            # One at a time: convolutions round differently at other batch sizes.
            for volume in batch:
                x = torch.from_numpy(from_ras(volume[0], self.recipe.axes))[None, None]
                x = x.to(self.device)
                x = average_to_shape(scale_to_unit(x), self.recipe.working_shape)
                vectors.append(self._network(x)[0].float().cpu().numpy())
        return np.array(vectors, np.float32).reshape(-1, self.dim)
