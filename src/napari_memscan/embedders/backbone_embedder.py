"""Networks of others as embedders: pooled features of MedicalNet, SwinUNETR, CT-FM, ViT ..."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.checkpoints.checkpoint import Checkpoint
from napari_memscan.checkpoints.recipe import BackboneRecipe
from napari_memscan.embedders.interface import CheckpointEmbedder
from napari_memscan.volumes.orientation import from_ras
from napari_memscan.volumes.preprocessing import Preprocessing, Window


class BackboneEmbedder(CheckpointEmbedder[BackboneRecipe]):
    """Maps volumes to the pooled features of a network that was trained for something else.

    Takes volumes of any shape and resizes them (linear) to the shape the network was trained on.
    See `CheckpointEmbedder`.
    """

    KIND, VERSION = "backbone", 2

    def _build(self, checkpoint: Checkpoint) -> Any:
        from napari_memscan.checkpoints.backbone_networks import BACKBONES, load_backbone

        recipe = self.recipe
        shape = from_ras(np.broadcast_to(np.float32(0), recipe.input_shape), recipe.axes).shape
        network, self.dim = load_backbone(
            recipe.network, recipe.arguments, checkpoint.weights("backbone"), shape, checkpoint.path
        )
        self.name = f"{BACKBONES[recipe.network].title}, {self.dim} features"
        self._window = (1.0, 0.0)
        return network

    def adapt_to(self, preprocessing: Preprocessing) -> None:
        """Convert intensities between two fixed windows; where that cannot be done, set `warning`.

        The vectors change with it, so their cache key must hold `preprocessing` too.
        """
        have, want = preprocessing.intensity, self.recipe.preprocessing.intensity
        if isinstance(have, Window) and isinstance(want, Window):
            width = want.high - want.low
            self._window = ((have.high - have.low) / width, (have.low - want.low) / width)
        elif have != want:
            self.warning = (
                f"The embedder ({self.name}) was trained on intensities scaled by {want.rule}, "
                f"this study scales by {have.rule}: similarities hold among its volumes, but it "
                "may see less than it could."
            )

    def _embed_volume(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        from napari_memscan.checkpoints.backbone_networks import pool_features

        data = self._resized(volume)
        if self._window != (1.0, 0.0):
            scale, offset = self._window
            data = np.clip(data * np.float32(scale) + np.float32(offset), 0, 1)
        data = from_ras(data, self.recipe.axes)
        if self.recipe.normalisation == "zscore-nonzero":
            data = standardise_nonzero(data)
        features = self._network(torch.from_numpy(data)[None, None].to(self.device))
        vector: NDArray[np.float32] = (
            pool_features(features, self.recipe.pooling)[0].float().cpu().numpy()
        )
        return vector

    def _resized(self, data: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch
        from torch.nn.functional import interpolate

        if data.shape == self.recipe.input_shape:
            return data
        x = torch.from_numpy(np.ascontiguousarray(data))[None, None]
        resized = interpolate(x, self.recipe.input_shape, mode="trilinear", align_corners=False)
        result: NDArray[np.float32] = resized[0, 0].numpy()
        return result


def standardise_nonzero(data: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring voxels that are not 0 to mean 0 and variance 1; zeros stay 0.

    As MedicalNet does, but for the random noise that it puts in the place of zeros; as BrainIAC
    does.

    Parameters
    ----------
    data : array (X, Y, Z)
        In [0, 1]; 0 is background.
    """
    inside = data != 0
    if not inside.any():
        return data
    values = data[inside].astype(np.float64)
    spread = values.std()
    result = np.zeros_like(data)
    result[inside] = (values - values.mean()) / (spread if spread > 0 else 1)
    return result
