"""2D networks as embedders of volumes: features slice by slice, pooled over the slices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.checkpoints.checkpoint import Checkpoint
from napari_memscan.checkpoints.recipe import SlicesRecipe
from napari_memscan.embedders.interface import CheckpointEmbedder
from napari_memscan.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

MAX_PIXELS = 2**19
"""Of the slices that go through the network at a time: 2 of 512 x 512, 10 of 224 x 224. Fixed,
because convolutions round differently at other batch sizes."""
MAX_SLICES = 64
GEM_EXPONENT, GEM_MINIMUM = 3, 1e-6
"""Of the generalised mean (Radenovic et al. 2019, section 3.2)."""


class SlicesEmbedder(CheckpointEmbedder[SlicesRecipe]):
    """Maps volumes to a 2D network's features, pooled over slices (Truong et al. 2023, slice-wise).

    Takes volumes of any shape. The order of slices along their axis does not count, so a volume
    and its mirror image along that axis have the same vector. See `CheckpointEmbedder`.
    """

    KIND = "slices"

    def _build(self, checkpoint: Checkpoint) -> Any:
        import torch

        from napari_memscan.checkpoints.backbone_networks import BACKBONES, load_backbone

        recipe = self.recipe
        network, features = load_backbone(
            recipe.network,
            recipe.arguments,
            checkpoint.weights("backbone"),
            recipe.slice_shape or (64, 64),
            checkpoint.path,
            channels=len(recipe.mean),
        )
        axes, parts = len(recipe.slice_axes), 2 if recipe.pooling == "mean+std" else 1
        self.dim = features * axes * parts
        self.name = (
            f"2D {BACKBONES[recipe.network].title} over slices along "
            f"{', '.join(recipe.slice_axes)}, {recipe.pooling}, {self.dim} features"
        )
        self._mean = torch.tensor(recipe.mean)[:, None, None]
        self._std = torch.tensor(recipe.std)[:, None, None]
        return network

    def _embed_volume(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        if 0 in volume.shape:
            raise BadInput(f"a volume to embed has no slices: its shape is {volume.shape}.")
        parts = [
            pool_slices(self._features(extract_slices(volume, axis)), self.recipe.pooling)
            for axis in self.recipe.slice_axes
        ]
        vector: NDArray[np.float32] = torch.cat(parts).float().numpy()
        return vector

    def _features(self, slices: NDArray[np.float32]) -> Tensor:
        """Map (S, rows, columns) to (S, features), a few slices at a time."""
        import torch
        from torch.nn.functional import interpolate

        from napari_memscan.checkpoints.backbone_networks import pool_features

        shape = self.recipe.slice_shape
        rows, columns = shape or slices.shape[1:]
        number = min(max(1, MAX_PIXELS // (rows * columns)), MAX_SLICES)
        features = []
        for start in range(0, len(slices), number):
            x = torch.from_numpy(np.ascontiguousarray(slices[start : start + number]))[:, None]
            if shape is not None and tuple(x.shape[2:]) != shape:
                # Where slices shrink, every pixel of them counts.
                x = interpolate(x, shape, mode="bilinear", align_corners=False, antialias=True)
            x = ((x - self._mean) / self._std).to(self.device)
            features.append(pool_features(self._network(x), self.recipe.features).float().cpu())
        return torch.cat(features)


def extract_slices(volume: NDArray[np.float32], axis: str) -> NDArray[np.float32]:
    """Return a volume's slices perpendicular to an axis, as radiologists view them.

    Parameters
    ----------
    volume : array (X, Y, Z)
        In RAS.
    axis : {"X", "Y", "Z"}
        Sagittal, coronal or axial slices.

    Returns
    -------
    array (S, rows, columns)
        A view. Rows go from superior to inferior (axial: anterior to posterior), columns from the
        patient's right to left (sagittal: anterior to posterior).
    """
    across = np.moveaxis(volume, "XYZ".index(axis), 0)
    return across[:, ::-1, ::-1].transpose(0, 2, 1)


def pool_slices(features: Tensor, pooling: str) -> Tensor:
    """Reduce the features of slices to one vector, in double precision.

    Parameters
    ----------
    features : tensor (S, F)
        One row a slice.
    pooling : {"mean", "max", "mean+std", "gem"}
        Of each feature over the slices: average; largest; average, then the standard deviation
        (of the population) after it; generalised mean, (mean of max(x, 1e-6)^3)^(1/3), which
        counts what is negative as nothing.

    Returns
    -------
    tensor (F,), or (2 F,) for ``mean+std``

    Raises
    ------
    BadInput
        Another pooling.
    """
    import torch

    features = features.double()
    if pooling == "mean":
        return features.mean(0)
    if pooling == "max":
        return features.amax(0)
    if pooling == "mean+std":
        return torch.cat([features.mean(0), features.std(0, correction=0)])
    if pooling == "gem":
        powers = features.clamp(min=GEM_MINIMUM) ** GEM_EXPONENT
        return powers.mean(0) ** (1 / GEM_EXPONENT)
    raise BadInput(f"pooling '{pooling}': choose mean, max, mean+std or gem.")
