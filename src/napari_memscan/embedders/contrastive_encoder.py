"""The contrastive 3D encoder of Dar et al. 2023 (section 2.2), written from its description.

Layer names follow the published state dicts, so that those weights fit without renaming.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from napari_memscan.checkpoints.nets.vqgan3d import SameConv, StridedEncoder

Size = tuple[int, int, int]


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
        self.encoder = StridedEncoder(n_hiddens, downsample)
        self.conv3D = SameConv(self.encoder.channels, 8, 1)
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


def average_to_shape(batch: Tensor, shape: Size) -> Tensor:
    """Average volumes (N, 1, X, Y, Z) down to `shape`; nothing happens at that shape already."""
    if tuple(batch.shape[2:]) == tuple(shape):
        return batch
    return functional.adaptive_avg_pool3d(batch, shape)
