"""Changes that leave a patient the same patient, and elastic ones that do not; on batches.

All randomness comes from a generator on the CPU, so a step's views follow from its seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from napari_memscan.training.augmentation_views import blur_and_add_noise, make_rotation_matrices


@dataclass(frozen=True)
class Augmentation:
    """How far views may differ from their volume; see `StructuralSettings` for the fields."""

    flip_axes: tuple[int, ...] = (0, 1, 2)
    degrees: float = 12.0
    shift: float = 0.08
    zoom: float = 0.08
    blur: float = 0.8
    noise: float = 0.05
    gamma: float = 1.6
    bias: float = 0.3

    def view(self, batch: Tensor, random: torch.Generator, extent: tuple[float, ...]) -> Tensor:
        """Return one view of each volume.

        Parameters
        ----------
        batch : tensor (N, 1, X, Y, Z)
            In [0, 1], as the view is.
        random : torch.Generator
            On the CPU.
        extent : (float, float, float)
            Length of the three axes in any unit: a rotation must know what is a right angle.
        """
        moved = self._moved(batch, random, extent)
        moved = blur_and_add_noise(moved, random, self.blur, 0.0).clamp(0, 1)
        n = len(batch)
        exponent = torch.exp(_draw_uniform(n, 1, 1, 1, 1, random=random) * math.log(self.gamma))
        # The slope of a power of 0 is infinite, and of no use: nothing here is learned.
        moved = moved.clamp_min(1e-6).pow(exponent.to(batch.device))
        ramps = _draw_uniform(n, 3, random=random) * self.bias
        for axis in range(3):
            size = [1, 1, 1, 1, 1]
            size[2 + axis] = batch.shape[2 + axis]
            line = torch.linspace(-1, 1, size[2 + axis]).reshape(size)
            moved = moved * (1 + ramps[:, axis].reshape(n, 1, 1, 1, 1) * line).to(batch.device)
        return blur_and_add_noise(moved, random, 0.0, self.noise).clamp(0, 1)

    def _moved(self, batch: Tensor, random: torch.Generator, extent: tuple[float, ...]) -> Tensor:
        n = len(batch)
        turns = make_rotation_matrices(
            _draw_uniform(n, 3, random=random) * math.radians(self.degrees)
        )
        for axis in self.flip_axes:
            flipped = torch.rand(n, generator=random) < 0.5
            turns[flipped, :, axis] *= -1
        scale = torch.exp(_draw_uniform(n, 1, 1, random=random) * math.log1p(self.zoom))
        shift = _draw_uniform(n, 3, 1, random=random) * 2 * self.shift
        lengths = torch.tensor(extent)
        # In the coordinates of affine_grid every axis goes from -1 to 1, the last axis first.
        matrices = turns * scale * lengths[None, None, :] / lengths[None, :, None]
        affine = torch.cat([matrices, shift], dim=2)
        affine = torch.cat([affine[:, :, :3].flip(1, 2), affine[:, :, 3:].flip(1)], dim=2)
        grid = functional.affine_grid(affine.to(batch.device), list(batch.shape), False)
        # Half of all batches see nothing beyond the border, half see it go on.
        padding = "zeros" if torch.rand(1, generator=random) < 0.5 else "border"
        return functional.grid_sample(batch, grid, padding_mode=padding, align_corners=False)


def deform_elastically(
    batch: Tensor, random: torch.Generator, most: float, cells: int = 4
) -> Tensor:
    """Deform each volume by a smooth random field of its own: a near-duplicate.

    Parameters
    ----------
    batch : tensor (N, 1, X, Y, Z)
        In [0, 1].
    random : torch.Generator
        On the CPU.
    most : float
        Largest displacement, as a share of each axis; drawn evenly between a quarter of it and it.
    cells : int
        Knots of the field along each axis.
    """
    n = len(batch)
    knots = torch.randn(n, 3, cells, cells, cells, generator=random)
    field = functional.interpolate(knots, list(batch.shape[2:]), mode="trilinear")
    # What moves the whole volume is a shift, and no deformation.
    field = field - field.mean(dim=(2, 3, 4), keepdim=True)
    field = field / field.norm(dim=1, keepdim=True).amax(dim=(2, 3, 4), keepdim=True)
    reach = most * (0.25 + 0.75 * torch.rand(n, 1, 1, 1, 1, generator=random))
    moves = (2 * reach * field).permute(0, 2, 3, 4, 1)
    still = functional.affine_grid(torch.eye(3, 4).expand(n, 3, 4), list(batch.shape), False)
    grid = (still + moves).to(batch.device)
    return functional.grid_sample(batch, grid, padding_mode="border", align_corners=False)


def _draw_uniform(*shape: int, random: torch.Generator) -> Tensor:
    """Draw evenly from -1 to 1."""
    return torch.rand(shape, generator=random) * 2 - 1
