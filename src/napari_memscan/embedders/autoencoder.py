"""The LDM's own autoencoder as an embedder: a baseline that is always there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.checkpoints.device import choose_device
from napari_memscan.checkpoints.native import checkpoint_hash, load_weights, read_recipe
from napari_memscan.checkpoints.networks import build_autoencoder, load_strict
from napari_memscan.checkpoints.recipe import EmbedderRecipe
from napari_memscan.embedders.lowres import checked
from napari_memscan.errors import BadInput
from napari_memscan.files import hash_of

CELLS = 4
"""Latents are averaged to at most this many cells along each axis."""


class AutoencoderEmbedder:
    """Maps volumes to the mean of their latent, averaged over a coarse grid.

    Parameters
    ----------
    folder : path
        Of an LDM or autoencoder checkpoint.
    device : str
        ``auto``, ``cpu``, ``cuda`` ...

    Raises
    ------
    BadInput
        A checkpoint without autoencoder, or recipe and weights that do not fit.
    """

    def __init__(self, folder: str | Path, device: str = "auto") -> None:
        recipe = read_recipe(folder)
        if isinstance(recipe, EmbedderRecipe):
            raise BadInput(f"{folder}: this is an embedder; an LDM or autoencoder is needed here.")
        network: Any = build_autoencoder(recipe.autoencoder)
        load_strict(network, load_weights(folder, "autoencoder"), folder)
        self.device = choose_device(device)
        self._network: Any = network.to(self.device).eval()
        self.preprocessing = recipe.preprocessing
        self.input_shape = recipe.preprocessing.shape
        self.name = "autoencoder of the LDM"
        self.hash = hash_of(
            {"embedder": "autoencoder", "version": 1, "checkpoint": checkpoint_hash(folder)}
        )
        try:
            self.dim = len(self._vector(np.zeros((1, *self.input_shape), np.float32)))
        except (RuntimeError, ValueError) as error:
            raise BadInput(
                f"{folder}/recipe.json: the autoencoder does not take volumes of "
                f"preprocessing.shape {self.input_shape}: {error}"
            ) from error

    def embed(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map (N, 1, X, Y, Z) to (N, dim); see `Embedder.embed`."""
        batch = checked(batch, self.input_shape)
        # One at a time: convolutions round differently at other batch sizes.
        vectors = [self._vector(volume) for volume in batch]
        return np.array(vectors, np.float32).reshape(-1, self.dim)

    def _vector(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch
        from torch.nn.functional import adaptive_avg_pool3d

        with torch.inference_mode():
            x = torch.from_numpy(np.ascontiguousarray(volume))[None].to(self.device)
            # The mean, not a sample: encode_stage_2_inputs would draw one.
            mean = self._network.encode(x)[0]
            cells = tuple(min(CELLS, n) for n in mean.shape[2:])
            pooled = adaptive_avg_pool3d(mean, cells)
            vector: NDArray[np.float32] = pooled.flatten().float().cpu().numpy()
            return vector
