"""How alike the structure of two volumes is, before anything is augmented: what is regressed."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_memscan.embedders.multiscale_encoder import AXIS_FLIPS

WINDOW, STEP = 5, 2
"""Edge of a window, and from one to the next, in voxels."""


def compute_local_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return the local correlation of all pairs, at the best of the eight flips.

    Pearson's correlation within each Gaussian window of 5 voxels, averaged with the product of the
    two standard deviations as weight: flat regions do not count. Brightness, contrast and slow
    shading do not count either. Volumes are compared where they lie, so a cohort must be roughly
    aligned, as most are.

    Parameters
    ----------
    first : tensor (N, 1, X, Y, Z)
        Small volumes; every axis at least 5 voxels.
    second : tensor (M, 1, X, Y, Z)
        The same shape.

    Returns
    -------
    tensor (N, M)
        In [0, 1]: less than nothing in common is nothing in common.
    """
    a, a_spread = _cut_windows(first)
    best = torch.zeros(len(first), len(second), device=first.device)
    for axes in AXIS_FLIPS:
        b, b_spread = _cut_windows(second.flip(axes))
        together = a_spread @ b_spread.T
        best = torch.maximum(best, (a @ b.T) / together.clamp_min(1e-12))
    return best.clamp_max(1.0)


def _cut_windows(batch: Tensor) -> tuple[Tensor, Tensor]:
    """Return centred, weighted windows (N, windows * voxels), and their spreads (N, windows)."""
    cut = batch[:, 0]
    for axis in (1, 2, 3):
        rest = (cut.shape[axis] - WINDOW) % STEP
        cut = cut.narrow(axis, rest // 2, cut.shape[axis] - rest)
        cut = cut.unfold(axis, WINDOW, STEP)
    x = cut.flatten(4).flatten(1, 3)
    line = torch.exp(-0.5 * ((torch.arange(WINDOW) - WINDOW // 2) / (WINDOW / 4)) ** 2)
    weights = (line[:, None, None] * line[:, None] * line).flatten()
    weights = (weights / weights.sum()).to(batch.device)
    x = (x - (x * weights).sum(-1, keepdim=True)) * weights.sqrt()
    return x.flatten(1), x.square().sum(-1).sqrt()
