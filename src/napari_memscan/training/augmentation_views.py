"""Views of a volume: for contrastive learning, with its loss, and to augment a denoiser's data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

FLIP_AXES, DEGREES = (0,), 5.0
"""What augments a denoiser's data, as in the paper: flipped with probability 0.5, and turned by up
to so much about each axis."""


def add_views(volumes: Iterable[Tensor], views: int, seed: int) -> Iterator[Tensor]:
    """Give each volume, and after it its changed versions.

    Parameters
    ----------
    volumes : iterable of tensor (1, X, Y, Z)
    views : int
        Versions of each.
    seed : int
        Of flips and angles; the versions of a volume do not depend on those beside it.
    """
    for i, volume in enumerate(volumes):
        random = torch.Generator().manual_seed(seed * 1_000_003 + i)
        yield volume
        yield from flip_and_rotate(volume.expand(views, *volume.shape), random, FLIP_AXES, DEGREES)


def flip_and_rotate(
    batch: Tensor, random: torch.Generator, flip_axes: tuple[int, ...], degrees: float
) -> Tensor:
    """Flip and slightly rotate each volume on its own.

    Parameters
    ----------
    batch : tensor (N, 1, X, Y, Z)
        Outside a rotated volume its border value is repeated.
    random : torch.Generator
        On the CPU.
    flip_axes : tuple of int
        Of 0, 1, 2; each is flipped with probability 0.5.
    degrees : float
        Largest angle about each axis.
    """
    n = len(batch)
    angles = (torch.rand(n, 3, generator=random) * 2 - 1) * math.radians(degrees)
    matrices = make_rotation_matrices(angles)
    for axis in flip_axes:
        # affine_grid counts axes from the last one.
        flipped = torch.rand(n, generator=random) < 0.5
        matrices[flipped, :, 2 - axis] *= -1
    affine = torch.cat([matrices, torch.zeros(n, 3, 1)], dim=2).to(batch.device)
    grid = functional.affine_grid(affine, list(batch.shape), align_corners=False)
    return functional.grid_sample(batch, grid, padding_mode="border", align_corners=False)


def blur_and_add_noise(batch: Tensor, random: torch.Generator, blur: float, noise: float) -> Tensor:
    """Blur each volume on its own and add noise, as a generator does to what it copies.

    Parameters
    ----------
    batch : tensor (N, 1, X, Y, Z)
        Any scale.
    random : torch.Generator
        On the CPU.
    blur : float
        Largest standard deviation of the Gaussian in voxels; drawn evenly from 0 on.
    noise : float
        Largest standard deviation of the noise, in the volumes' units.
    """
    n = len(batch)
    if blur > 0:
        reach = max(1, round(3 * blur))
        offsets = torch.arange(-reach, reach + 1.0)
        sigma = (torch.rand(n, 1, generator=random) * blur).clamp_min(1e-3)
        kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
        kernel = (kernel / kernel.sum(1, keepdim=True)).to(batch.device)
        x = batch.transpose(0, 1)  # volumes as channels: each has a kernel of its own
        for axis in range(3):
            shape, padding = [n, 1, 1, 1, 1], [0] * 6
            shape[2 + axis] = 2 * reach + 1
            padding[4 - 2 * axis] = padding[5 - 2 * axis] = reach
            x = functional.pad(x, padding, mode="replicate")
            x = functional.conv3d(x, kernel.reshape(shape), groups=n)
        batch = x.transpose(0, 1)
    if noise > 0:
        level = torch.rand(n, 1, 1, 1, 1, generator=random) * noise
        batch = batch + (level * torch.randn(batch.shape, generator=random)).to(batch.device)
    return batch


def make_rotation_matrices(angles: Tensor) -> Tensor:
    """Return rotations (N, 3, 3) by angles (N, 3) in radians about the three axes."""
    result = torch.eye(3).expand(len(angles), 3, 3).clone()
    for axis in range(3):
        a, b = [i for i in range(3) if i != axis]
        turn = torch.eye(3).expand(len(angles), 3, 3).clone()
        cos, sin = angles[:, axis].cos(), angles[:, axis].sin()
        turn[:, a, a], turn[:, a, b], turn[:, b, a], turn[:, b, b] = cos, -sin, sin, cos
        result = result @ turn
    return result


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross-entropy (Chen et al. 2020, equation 1).

    Parameters
    ----------
    first, second : tensor (N, d)
        Row i of both are two views of the same volume; all other rows are negatives.
    temperature : float
        Smaller is sharper.
    """
    vectors = functional.normalize(torch.cat([first, second]), dim=1)
    logits = vectors @ vectors.T / temperature
    n = len(first)
    logits.fill_diagonal_(-torch.inf)
    partner = torch.cat([torch.arange(n, 2 * n), torch.arange(n)]).to(logits.device)
    return functional.cross_entropy(logits, partner)
