"""The contrastive 3D encoder of Dar et al. 2023 (section 2.2), written from its description.

Layer names follow the published state dicts, so that those weights fit without renaming.
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

Size = tuple[int, int, int]


class _SameConv(nn.Module):
    """Convolution after replicate padding by kernel - stride, the larger half in front."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: Size = (1, 1, 1)) -> None:
        super().__init__()
        self.padding: list[int] = []
        for step in reversed(stride):  # functional.pad wants the last axis first
            total = kernel - step
            self.padding += [total // 2 + total % 2, total // 2]
        self.conv = nn.Conv3d(inputs, outputs, kernel, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        if any(self.padding):
            x = functional.pad(x, self.padding, mode="replicate")
        return self.conv(x)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(32, channels), channels, eps=1e-6)


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = _norm(channels)
        self.conv1 = _SameConv(channels, channels, 3)
        self.norm2 = _norm(channels)
        self.conv2 = _SameConv(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(functional.silu(self.norm1(x)))
        return x + self.conv2(functional.silu(self.norm2(y)))


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: Size) -> None:
        super().__init__()
        self.down = _SameConv(inputs, outputs, 4, stride)
        self.res = _Residual(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.res(self.down(x))


class _Encoder(nn.Module):
    def __init__(self, n_hiddens: int, downsample: Size) -> None:
        super().__init__()
        left = [int(math.log2(d)) for d in downsample]
        self.conv_first = _SameConv(1, n_hiddens, 3)
        blocks: list[nn.Module] = []
        channels = n_hiddens
        for _ in range(max(left)):
            stride = tuple(2 if n > 0 else 1 for n in left)
            left = [n - 1 for n in left]
            blocks.append(_Block(channels, 2 * channels, (stride[0], stride[1], stride[2])))
            channels *= 2
        self.conv_blocks = nn.ModuleList(blocks)
        self.final_block = nn.Sequential(_norm(channels), nn.SiLU())
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_first(x)
        for block in self.conv_blocks:
            x = block(x)
        return self.final_block(x)


class ContrastiveEncoder(nn.Module):
    """Maps a volume (N, 1, *shape), scaled to [-1, 1], to a vector (N, dim).

    Strided convolutions with residual blocks, a 1x1x1 convolution to 8 channels, and two linear
    layers with dropout between them (Dar et al. 2023, section 2.2).

    Parameters
    ----------
    n_hiddens : int
        Channels after the first convolution; doubled by every block.
    downsample : (int, int, int)
        By how much each axis shrinks; powers of two.
    shape : (int, int, int)
        Shape of the input, divisible by `downsample`.
    dim : int
        Length of the vector.
    """

    def __init__(
        self,
        n_hiddens: int = 16,
        downsample: Size = (8, 8, 8),
        shape: Size = (24, 24, 24),
        dim: int = 32,
    ) -> None:
        super().__init__()
        for size, factor in zip(shape, downsample, strict=True):
            if factor < 1 or factor & (factor - 1) or size % factor:
                raise ValueError(
                    f"downsample {downsample} must be powers of two that divide the shape {shape}"
                )
        self.shape = shape
        self.encoder = _Encoder(n_hiddens, downsample)
        self.conv3D = _SameConv(self.encoder.channels, 8, 1)
        cells = math.prod(size // factor for size, factor in zip(shape, downsample, strict=True))
        self.dense = nn.Sequential(
            nn.Flatten(), nn.Linear(8 * cells, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, dim)
        )
        # Present in the published weights, used by nothing: kept so that they load strictly.
        self.sup_layer = nn.Sequential(nn.ReLU(), nn.Linear(dim, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 1, *shape) to (N, dim)."""
        return self.dense(self.conv3D(self.encoder(x)))


def scale_to_unit(batch: Tensor) -> Tensor:
    """Bring each volume (N, 1, X, Y, Z) to [-1, 1] by its own minimum and maximum.

    The paper's scoring does the same with 1e-4 against division by zero.
    """
    low = batch.amin(dim=(1, 2, 3, 4), keepdim=True)
    high = batch.amax(dim=(1, 2, 3, 4), keepdim=True)
    return 2 * (batch - low) / (high - low + 1e-4) - 1


def shrink(batch: Tensor, shape: Size) -> Tensor:
    """Average volumes (N, 1, X, Y, Z) down to `shape`; nothing happens at that shape already."""
    if tuple(batch.shape[2:]) == tuple(shape):
        return batch
    return functional.adaptive_avg_pool3d(batch, shape)


def paper_encoder(variant: Literal["mrnet", "pccta"]) -> ContrastiveEncoder:
    """Build one of the two published encoders, untrained.

    ``mrnet`` takes (N, 1, 32, 256, 256), axes D, H, W; ``pccta`` takes (N, 1, 64, 64, 64).
    """
    if variant == "mrnet":
        return ContrastiveEncoder(16, (8, 64, 64), (32, 256, 256))
    return ContrastiveEncoder(16, (16, 16, 16), (64, 64, 64))
