"""The 3D VQ-GAN autoencoder of Khader et al. 2023, written from descriptions of its layers.

Architecture after the VQGAN of TATS (Ge et al. 2022, songweige/TATS, MIT licence); Khader et al.
2023, "Denoising diffusion probabilistic models for 3D medical image generation", use it for
volumes. Layer names follow the published state dicts, so that those weights fit without renaming.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

Size = tuple[int, int, int]

# Distances computed at a time by the search for the nearest code: 64 MB in single precision.
_MAX_DISTANCES = 2**24


def _same_padding(kernel: int, stride: Size) -> list[int]:
    """Kernel - stride per axis, the larger half in front; last axis first, as pad wants it."""
    padding: list[int] = []
    for step in reversed(stride):
        total = kernel - step
        padding += [total - total // 2, total // 2]
    return padding


class SameConv(nn.Module):
    """Convolution that divides each axis by its stride, with replicated borders."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: Size = (1, 1, 1)) -> None:
        super().__init__()
        self.padding = _same_padding(kernel, stride)
        self.conv = nn.Conv3d(inputs, outputs, kernel, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, *shape) to (N, outputs, *shape / stride)."""
        if any(self.padding):
            x = functional.pad(x, self.padding, mode="replicate")
        return self.conv(x)


class _SameConvTranspose(nn.Module):
    """Transposed convolution that multiplies each axis by its stride, with replicated borders."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: Size) -> None:
        super().__init__()
        self.padding = _same_padding(kernel, stride)
        # kernel - 1 cuts off every output that the padded border alone would reach.
        self.convt = nn.ConvTranspose3d(inputs, outputs, kernel, stride, padding=kernel - 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.convt(functional.pad(x, self.padding, mode="replicate"))


def _make_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(32, channels), channels, eps=1e-6)


class _ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = _make_norm(channels)
        self.conv1 = SameConv(channels, channels, 3)
        self.norm2 = _make_norm(channels)
        self.conv2 = SameConv(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(functional.silu(self.norm1(x)))
        return x + self.conv2(functional.silu(self.norm2(y)))


class _DownBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: Size) -> None:
        super().__init__()
        self.down = SameConv(inputs, outputs, 4, stride)
        self.res = _ResidualBlock(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.res(self.down(x))


class _UpBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: Size) -> None:
        super().__init__()
        self.up = _SameConvTranspose(inputs, outputs, 4, stride)
        self.res1 = _ResidualBlock(outputs)
        self.res2 = _ResidualBlock(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.res2(self.res1(self.up(x)))


def _compute_strides(factors: Size) -> list[Size]:
    """Stride of every block: all axes start at 2 and fall to 1 once their factor is reached."""
    d, h, w = (factor.bit_length() - 1 for factor in factors)
    return [
        (2 if block < d else 1, 2 if block < h else 1, 2 if block < w else 1)
        for block in range(max(d, h, w))
    ]


class StridedEncoder(nn.Module):
    """Strided convolutions, each followed by a residual block; also that of Dar et al. 2023.

    Parameters
    ----------
    n_hiddens : int
        Channels after the first convolution; doubled by every block.
    downsample : (int, int, int)
        By how much each axis shrinks; powers of two.
    image_channels : int
        Channels of the input.

    Attributes
    ----------
    channels : int
        Of the output.
    """

    def __init__(self, n_hiddens: int, downsample: Size, image_channels: int = 1) -> None:
        super().__init__()
        self.conv_first = SameConv(image_channels, n_hiddens, 3)
        strides = _compute_strides(downsample)
        widths = [n_hiddens * 2**i for i in range(len(strides) + 1)]
        self.conv_blocks = nn.Sequential(
            *(_DownBlock(widths[i], widths[i + 1], stride) for i, stride in enumerate(strides))
        )
        self.final_block = nn.Sequential(_make_norm(widths[-1]), nn.SiLU())
        self.channels = widths[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, image_channels, *shape) to (N, channels, *shape / downsample)."""
        return self.final_block(self.conv_blocks(self.conv_first(x)))


class _Decoder(nn.Module):
    def __init__(self, n_hiddens: int, upsample: Size, image_channels: int) -> None:
        super().__init__()
        # Not the encoder reversed: an axis with the smaller factor grows first, not last, and
        # the first block keeps its width, so that the last convolution sees 2 n_hiddens.
        strides = _compute_strides(upsample)
        outputs = [n_hiddens * 2 ** (len(strides) - i) for i in range(len(strides))]
        inputs = [outputs[0], *outputs[:-1]]
        self.final_block = nn.Sequential(_make_norm(inputs[0]), nn.SiLU())
        self.conv_blocks = nn.Sequential(
            *(_UpBlock(inputs[i], outputs[i], stride) for i, stride in enumerate(strides))
        )
        self.conv_last = SameConv(outputs[-1], image_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_last(self.conv_blocks(self.final_block(x)))


def find_nearest_codes(z: Tensor, embeddings: Tensor) -> Tensor:
    """Replace every vector of (N, C, D, H, W) by the nearest of `embeddings` (codes, C).

    A part of the vectors at a time: all distances at once would be gigabytes.
    """
    vectors = z.movedim(1, -1).flatten(end_dim=-2)
    codes = embeddings.float()
    lengths = codes.square().sum(dim=1)
    rows = max(1, _MAX_DISTANCES // len(codes))
    # |z - e|^2 without |z|^2, which is the same for every code.
    nearest = [
        torch.addmm(lengths, part.float(), codes.T, alpha=-2).argmin(dim=1)
        for part in torch.split(vectors, rows)
    ]
    index = torch.cat(nearest).view(z.shape[0], *z.shape[2:])
    return functional.embedding(index, embeddings).movedim(-1, 1)


class _Codebook(nn.Module):
    """The codes, and two running averages that only training needs but the state dict holds."""

    embeddings: Tensor
    N: Tensor
    z_avg: Tensor

    def __init__(self, n_codes: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("embeddings", torch.randn(n_codes, dim))
        self.register_buffer("N", torch.zeros(n_codes))
        self.register_buffer("z_avg", self.embeddings.clone())

    def forward(self, z: Tensor) -> Tensor:
        return find_nearest_codes(z, self.embeddings)


class VQGAN3D(nn.Module):
    """Autoencoder whose latent vectors are replaced by the nearest of a set of codes.

    Architecture of medicaldiffusion (Khader et al. 2023), without what only its training needs:
    the state dict is that of the original minus ``image_discriminator.*``,
    ``video_discriminator.*`` and ``perceptual_model.*``. Group norm has 32 groups (fewer where 32
    does not divide the channels), borders are replicated.

    Parameters
    ----------
    downsample : (int, int, int)
        By how much each axis D, H, W shrinks: powers of two, not all 1. Not inferable from
        weights beyond its maximum, 2 to the number of blocks.
    n_hiddens : int
        Channels after the first convolution; doubled by every block of the encoder.
    embedding_dim : int
        Channels of the latent.
    n_codes : int
        Number of codes.
    image_channels : int
        Channels of the volume.

    Notes
    -----
    The names, shapes and numbers of weights are known of medicaldiffusion itself, and so is the
    arithmetic of the encoder. That of the decoder and of the codebook is taken over from TATS:
    were it different there (in the order in which the axes of an anisotropic `downsample` grow,
    for one), the weights would load nevertheless. No published weights were compared.
    """

    def __init__(
        self,
        downsample: Size,
        n_hiddens: int = 16,
        embedding_dim: int = 8,
        n_codes: int = 16384,
        image_channels: int = 1,
    ) -> None:
        super().__init__()
        if max(downsample) < 2 or any(f < 1 or f & (f - 1) for f in downsample):
            raise ValueError(f"downsample {downsample} must be powers of two, not all 1")
        self.downsample = downsample
        self.encoder = StridedEncoder(n_hiddens, downsample, image_channels)
        self.decoder = _Decoder(n_hiddens, downsample, image_channels)
        width = n_hiddens * max(downsample)
        self.pre_vq_conv = SameConv(width, embedding_dim, 1)
        self.post_vq_conv = SameConv(embedding_dim, width, 1)
        self.codebook = _Codebook(n_codes, embedding_dim)

    @property
    def codebook_range(self) -> tuple[Tensor, Tensor]:
        """Smallest and largest number in the codes; diffusion takes them to -1 and 1."""
        low, high = self.codebook.embeddings.aminmax()
        # Tensors, not numbers: those cannot be had where a decoding is only tried for its size.
        return low, high

    def encode(self, x: Tensor) -> Tensor:
        """Map volumes to latents that are not quantised yet.

        Parameters
        ----------
        x : Tensor
            (N, image_channels, D, H, W), nominally in [-1, 1]; D, H, W divisible by `downsample`.

        Returns
        -------
        Tensor
            (N, embedding_dim, D, H, W) with each axis divided by its `downsample`.
        """
        if any(size % factor for size, factor in zip(x.shape[2:], self.downsample, strict=True)):
            raise ValueError(
                f"the shape {tuple(x.shape[2:])} is not divisible by downsample {self.downsample}"
            )
        return self.pre_vq_conv(self.encoder(x))

    def quantise(self, z: Tensor) -> Tensor:
        """Replace every latent vector of (N, embedding_dim, D, H, W) by the nearest code."""
        return self.codebook(z)

    def decode(self, z: Tensor, quantise: bool = True) -> Tensor:
        """Map latents to volumes.

        Parameters
        ----------
        z : Tensor
            (N, embedding_dim, D, H, W), in the range of the codes.
        quantise : bool
            Whether to take the nearest codes first, as the original does when it samples.

        Returns
        -------
        Tensor
            (N, image_channels, D, H, W) with each axis multiplied by its `downsample`; nominally
            in [-1, 1], not clipped.
        """
        return self.decoder(self.post_vq_conv(self.quantise(z) if quantise else z))

    def forward(self, x: Tensor) -> Tensor:
        """Encode, quantise and decode (N, image_channels, D, H, W)."""
        return self.decode(self.encode(x))
