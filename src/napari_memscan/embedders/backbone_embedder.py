"""Networks of others as embedders: pooled features of MedicalNet, SwinUNETR, CT-FM, ViT ..."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.checkpoints.device import choose_device
from napari_memscan.checkpoints.loading import load_checkpoint
from napari_memscan.checkpoints.networks import check_weights_fit, load_strict
from napari_memscan.checkpoints.overrides import ModelOverrides
from napari_memscan.checkpoints.recipe import BackboneRecipe
from napari_memscan.embedders.low_resolution import check_batch
from napari_memscan.errors import BadInput
from napari_memscan.files import hash_json
from napari_memscan.volumes.orientation import from_ras
from napari_memscan.volumes.preprocessing import Preprocessing, Window

NETWORK_TITLES = {
    "ResNet": "3D ResNet",
    "SwinViT": "Swin transformer",
    "SegResEncoder": "SegResNet encoder",
    "ViT": "vision transformer",
}


class BackboneEmbedder:
    """Maps volumes to the pooled features of a network that was trained for something else.

    Takes volumes of any shape and resizes them (linear) to the shape the network was trained on.

    Parameters
    ----------
    path : path
        Of the checkpoint: a weight file of a known family, or a converted folder.
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
        path: str | Path,
        device: str = "auto",
        declared: Mapping[str, Any] | ModelOverrides | None = None,
    ) -> None:
        from napari_memscan.checkpoints.backbone_networks import (
            build_backbone,
            build_meta_backbone,
            count_features,
        )

        checkpoint = load_checkpoint(path, declared, kind="embedder")
        recipe = checkpoint.recipe
        if not isinstance(recipe, BackboneRecipe):
            raise BadInput(f"{path}: this is an embedder of another kind, not a backbone.")
        sketch = build_meta_backbone(recipe.network, recipe.arguments, path)
        shape = from_ras(np.broadcast_to(np.float32(0), recipe.input_shape), recipe.axes).shape
        self.dim = count_features(sketch, shape, path)
        weights = checkpoint.weights("backbone")
        # On the sketch first: a recipe may ask for more memory than there is.
        check_weights_fit(sketch, weights, path)
        network = build_backbone(recipe.network, recipe.arguments, path)
        load_strict(network, weights, path)
        self.recipe = recipe
        self.preprocessing = recipe.preprocessing
        self.name = f"{NETWORK_TITLES[recipe.network]}, {self.dim} features"
        self.input_shape: tuple[int, int, int] | None = None
        self.warning = ""
        self._window = (1.0, 0.0)
        self.hash = hash_json({"embedder": "backbone", "version": 2, "checkpoint": checkpoint.hash})
        self.device = choose_device(device)
        self._network: Any = network.to(self.device).eval()

    def told(self, preprocessing: Preprocessing) -> None:
        """Take note of what volumes went through, so that the network sees what it knows.

        Between two fixed windows intensities are converted; where that cannot be done, `warning`
        says so. The vectors change with it, so their cache key must hold `preprocessing` too.
        """
        have, want = preprocessing.intensity, self.preprocessing.intensity
        if isinstance(have, Window) and isinstance(want, Window):
            width = want.high - want.low
            self._window = ((have.high - have.low) / width, (have.low - want.low) / width)
        elif have != want:
            self.warning = (
                f"The embedder ({self.name}) was trained on intensities scaled by {want.rule}, "
                f"this study scales by {have.rule}: similarities hold among its volumes, but it "
                "may see less than it could."
            )

    def embed(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map (N, 1, X, Y, Z) to (N, dim); see `Embedder.embed`."""
        import torch

        from napari_memscan.checkpoints.backbone_networks import pool_features

        batch = check_batch(batch, None)
        scale, offset = self._window
        vectors = []
        with torch.inference_mode():
            # One at a time: convolutions round differently at other batch sizes.
            for volume in batch:
                data = self._resized(volume[0])
                if self._window != (1.0, 0.0):
                    data = np.clip(data * np.float32(scale) + np.float32(offset), 0, 1)
                data = from_ras(data, self.recipe.axes)
                if self.recipe.normalisation == "zscore-nonzero":
                    data = standardise_nonzero(data)
                features = self._network(torch.from_numpy(data)[None, None].to(self.device))
                vectors.append(
                    pool_features(features, self.recipe.pooling)[0].float().cpu().numpy()
                )
        return np.array(vectors, np.float32).reshape(-1, self.dim)

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
