"""A small 3D encoder with features pooled at several scales: the network of `structural`.

Generalised-mean pooling of all stages, LayerNorm and a two-layer MLP follow DeepSSIM++
(arXiv 2609.03615, section 3), in 3D, trained from scratch and with residual blocks.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

NORM_GROUPS = 4
AXIS_FLIPS = tuple(axes for n in range(4) for axes in itertools.combinations((2, 3, 4), n))
"""All eight ways to flip the three axes of a batch (N, 1, X, Y, Z)."""

MIN_ACTIVATION = 1e-4
"""Activations below it count as this: a generalised mean knows no negative numbers."""


class GeneralisedMeanPool(nn.Module):
    """Generalised mean over a grid of cells (Radenovic et al. 2018, equation 3).

    Parameters
    ----------
    cells : int
        Along each axis; maps with fewer voxels on an axis are pooled to those.
    p : float
        Exponent to begin with, learned: 1 is the mean, infinity the maximum.
    """

    def __init__(self, cells: int = 1, p: float = 3.0) -> None:
        super().__init__()
        self.cells = cells
        self.p = nn.Parameter(torch.tensor(float(p)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, X, Y, Z) to (N, C * cells)."""
        a, b, c = (min(self.cells, n) for n in x.shape[2:])
        p = self.p.clamp(1.0, 8.0)
        powers = x.clamp_min(MIN_ACTIVATION).pow(p)
        return functional.adaptive_avg_pool3d(powers, (a, b, c)).pow(1 / p).flatten(1)


class _DownResidualBlock(nn.Module):
    """Halves all axes (but for those of one voxel), then one residual block."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.down = nn.Conv3d(inputs, outputs, 3, stride=2, padding=1)
        self.norm1 = nn.GroupNorm(NORM_GROUPS, outputs)
        self.conv1 = nn.Conv3d(outputs, outputs, 3, padding=1)
        self.norm2 = nn.GroupNorm(NORM_GROUPS, outputs)
        self.conv2 = nn.Conv3d(outputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        y = self.conv1(functional.silu(self.norm1(x)))
        return x + self.conv2(functional.silu(self.norm2(y)))


class MultiScaleEncoder(nn.Module):
    """Maps a volume (N, 1, *shape) to a vector (N, dim) of mean 0.

    Each volume is brought to mean 0 and variance 1 first, so that brightness and contrast do not
    count, and flipped to where it is most like the mean of the cohort (`learn_template`), so that
    flips do not count either. The vector has mean 0 over its numbers, so that cosine and Pearson
    correlation are one.

    Parameters
    ----------
    shape : (int, int, int)
        Of the input.
    width : int
        Channels of the first stage, a multiple of 4; doubled by every further one.
    stages : int
        How many; each halves every axis.
    cells : int
        Features of the last stages are pooled over this many cells along each axis; the
        first stage is pooled over the whole volume.
    dim : int
        Length of the vector.
    hidden : int
        Width of the layer before it.
    dropout : float
        In front of the last layer.

    Raises
    ------
    ValueError
        A width that is no multiple of 4, or axes too short for so many stages.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        width: int = 16,
        stages: int = 3,
        cells: int = 4,
        dim: int = 64,
        hidden: int = 256,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if width % NORM_GROUPS or width < NORM_GROUPS:
            raise ValueError(f"width {width} must be a multiple of {NORM_GROUPS}")
        if min(shape) < 2 ** (stages - 1):
            raise ValueError(
                f"{stages} stages halve every axis {stages} times, too often for {shape}"
            )
        self.shape = tuple(shape)
        self.template: Tensor
        self.register_buffer("template", torch.zeros(1, 1, *shape))
        channels = [width * 2**i for i in range(stages)]
        self.blocks = nn.ModuleList(
            _DownResidualBlock(a, b) for a, b in zip([1, *channels[:-1]], channels, strict=True)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(NORM_GROUPS, c) for c in channels)
        self.pools = nn.ModuleList(
            GeneralisedMeanPool(1 if i == 0 else cells) for i in range(stages)
        )
        total, size = 0, list(shape)
        for i, c in enumerate(channels):
            size = [(n + 1) // 2 for n in size]
            grid = [min(1 if i == 0 else cells, n) for n in size]
            total += c * grid[0] * grid[1] * grid[2]
        self.head = nn.Sequential(
            nn.LayerNorm(total),
            nn.Linear(total, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 1, *shape) to (N, dim)."""
        x = self.turned(standardise_volumes(x))
        features = []
        for block, norm, pool in zip(self.blocks, self.norms, self.pools, strict=True):
            x = block(x)
            features.append(pool(functional.silu(norm(x))))
        vectors = self.head(torch.cat(features, dim=1))
        return vectors - vectors.mean(dim=1, keepdim=True)

    def turned(self, x: Tensor) -> Tensor:
        """Flip each volume to where it is most like the template, so that flips do not count.

        Where two flips are equally like it, as in symmetric anatomy, the network has seen both.
        """
        flips = torch.cat([self.template.flip(axes) for axes in AXIS_FLIPS])
        best = (x.flatten(1) @ flips.flatten(1).T).argmax(dim=1)
        turned = x.clone()
        for i, axes in enumerate(AXIS_FLIPS):
            turned[best == i] = x[best == i].flip(axes)
        return turned

    @torch.no_grad()
    def learn_template(self, volumes: Tensor, rounds: int = 10) -> None:
        """Make the mean of volumes (N, 1, *shape) the template, turned until they agree."""
        x = standardise_volumes(volumes)
        self.template.copy_(x.mean(dim=0, keepdim=True))
        for _ in range(rounds):
            self.template.copy_(self.turned(x).mean(dim=0, keepdim=True))


def standardise_volumes(batch: Tensor) -> Tensor:
    """Bring each volume (N, 1, X, Y, Z) to mean 0 and variance 1; a constant one becomes zeros."""
    axes = (1, 2, 3, 4)
    centred = batch - batch.mean(dim=axes, keepdim=True)
    return centred / (centred.square().mean(dim=axes, keepdim=True) + 1e-6).sqrt()
