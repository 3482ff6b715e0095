"""The LDM's own autoencoder as an embedder: a baseline that is always there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.checkpoints.device import choose_device
from napari_memscan.checkpoints.latent_model import LatentCodec
from napari_memscan.checkpoints.loading import load_checkpoint
from napari_memscan.checkpoints.networks import build_autoencoder, build_with_weights
from napari_memscan.checkpoints.overrides import ModelOverrides
from napari_memscan.checkpoints.recipe import AutoencoderRecipe, LDMRecipe
from napari_memscan.embedders.low_resolution import check_batch
from napari_memscan.errors import BadInput
from napari_memscan.files import hash_json
from napari_memscan.volumes.orientation import from_ras

MAX_CELLS = 4
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

    def __init__(
        self,
        folder: str | Path,
        device: str = "auto",
        declared: Mapping[str, Any] | ModelOverrides | None = None,
    ) -> None:
        checkpoint = load_checkpoint(folder, declared, kind="autoencoder")
        recipe = checkpoint.recipe
        assert isinstance(recipe, LDMRecipe | AutoencoderRecipe)
        network = build_with_weights(
            partial(build_autoencoder, recipe.autoencoder, folder),
            checkpoint.weights("autoencoder"),
            folder,
        )
        self.device = choose_device(device)
        self._codec = LatentCodec(recipe, network.to(self.device).eval())
        self._axes, self._range = recipe.axes, recipe.decoded_range
        self.preprocessing = recipe.preprocessing
        self.input_shape = recipe.preprocessing.shape
        self.name = "autoencoder of the LDM"
        self.hash = hash_json(
            {"embedder": "autoencoder", "version": 1, "checkpoint": checkpoint.hash}
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
        batch = check_batch(batch, self.input_shape)
        # One at a time: convolutions round differently at other batch sizes.
        vectors = [self._vector(volume) for volume in batch]
        return np.array(vectors, np.float32).reshape(-1, self.dim)

    def _vector(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch
        from torch.nn.functional import adaptive_avg_pool3d

        with torch.inference_mode():
            x = torch.from_numpy(from_ras(volume[0], self._axes))[None, None].to(self.device)
            if self._range is not None:
                x = x * (self._range[1] - self._range[0]) + self._range[0]
            # The mean, not a sample: encode_stage_2_inputs would draw one.
            mean = self._codec.encode_mean(x)
            x_cells, y_cells, z_cells = (min(MAX_CELLS, n) for n in mean.shape[2:])
            pooled = adaptive_avg_pool3d(mean, (x_cells, y_cells, z_cells))
            vector: NDArray[np.float32] = pooled.flatten().float().cpu().numpy()
            return vector
