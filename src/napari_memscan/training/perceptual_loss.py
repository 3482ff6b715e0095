"""How alike two volumes look to a network, without weights from elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class PerceptualLoss(nn.Module):
    """Distance of features that fixed random filters see, at several scales.

    Each scale has a layer of random orthogonal filters and a rectifier; features are normalised
    over channels and compared by their mean squared difference, as LPIPS does it (Zhang et al.
    2018), whose untrained networks already follow structure better than differences of voxels do.
    No trained network is used: those for natural images are not licensed for, nor made of,
    medical volumes, and nothing is downloaded.

    Parameters
    ----------
    channels : int
        Filters of each scale.
    scales : int
        At most; each after the first halves the axes, as long as all have 4 voxels.
    """

    def __init__(self, channels: int = 16, scales: int = 3) -> None:
        super().__init__()
        self.scales = scales
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # The same filters in every training, whatever its seed.
            weight = torch.empty(channels, 27)
            nn.init.orthogonal_(weight)
            # Without their mean: filters see structure, not brightness.
            weight = weight - weight.mean(1, keepdim=True)
        self.register_buffer("weight", weight.reshape(channels, 1, 3, 3, 3))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the distance of two batches (N, 1, X, Y, Z), averaged."""
        total = first.new_zeros(())
        done = 0
        for done in range(1, self.scales + 1):
            total = total + (self._features(first) - self._features(second)).square().sum(1).mean()
            if min(first.shape[2:]) < 8 or done == self.scales:
                break
            first, second = (functional.avg_pool3d(x, 2) for x in (first, second))
        return total / done

    def _features(self, x: Tensor) -> Tensor:
        found = functional.relu(functional.conv3d(x, self.get_buffer("weight").to(x), padding=1))
        # The floor is far above rounding: in empty air there is nothing to compare.
        return found / (found.square().sum(1, keepdim=True) + 1e-3).sqrt()
