"""How weights and activations lie in memory while a network is trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class PointwiseConv3d(nn.Conv3d):
    """A convolution over single voxels as a product of matrices.

    PyTorch has no fast one on CPUs, and its result is in the other layout, which all that comes
    after it would then have to convert.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the same as the convolution, (N, C, X, Y, Z)."""
        weight = self.weight.flatten(1)
        return functional.linear(input.movedim(1, -1), weight, self.bias).movedim(-1, 1)


def use_channels_last(network: nn.Module) -> None:
    """Let a network compute with channels last, which is faster in 3D on CPUs and GPUs alike.

    Names, shapes and values of its weights stay; it computes the same but for rounding.
    """
    for module in network.modules():
        if type(module) is nn.Conv3d and _is_pointwise(module):
            module.__class__ = PointwiseConv3d
    for parameter in network.parameters():
        if parameter.dim() == 5:
            parameter.data = parameter.data.to(memory_format=torch.channels_last_3d)


def _is_pointwise(module: nn.Conv3d) -> bool:
    return (
        module.kernel_size == module.stride == (1, 1, 1)
        and module.padding in ((0, 0, 0), "valid", "same")
        and module.groups == 1
    )
