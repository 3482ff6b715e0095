"""The denoiser of Khader et al. 2023: a 3D U-Net that treats D apart from H and W.

Architecture after Unet3D of lucidrains/video-diffusion-pytorch (MIT licence), which follows Ho et
al. 2022, "Video diffusion models"; Khader et al. 2023, "Denoising diffusion probabilistic models
for 3D medical image generation", use it on latents. Written from an understanding of both; layer
names follow the published state dicts, so that those weights fit without renaming.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

_DIM_HEAD = 32  # channels of one attention head, fixed in the original
_GROUPS = 8  # of every group norm
_BUCKETS = 32  # of the relative position bias, half for each direction
_MAX_DISTANCE = 32  # distance from which on all positions share the last bucket


class _TimestepEmbedding(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.count = dim // 2

    def forward(self, timesteps: Tensor) -> Tensor:
        steps = torch.arange(self.count, device=timesteps.device)
        angles = timesteps[:, None] * torch.exp(steps * (-math.log(10000) / (self.count - 1)))
        return torch.cat((angles.sin(), angles.cos()), dim=-1)


class _PositionBias(nn.Module):
    """Learned bias of attention along D, by signed distance in logarithmic buckets (as in T5)."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.relative_attention_bias = nn.Embedding(_BUCKETS, heads)

    def forward(self, length: int) -> Tensor:
        position = torch.arange(length, device=self.relative_attention_bias.weight.device)
        behind = position[:, None] - position[None, :]  # how far the key lies before the query
        distance = behind.abs()
        side = _BUCKETS // 2
        exact = side // 2
        far = torch.log(distance.clamp(min=1).float() / exact) / math.log(_MAX_DISTANCE / exact)
        far = (exact + (far * (side - exact)).long()).clamp(max=side - 1)
        bucket = torch.where(distance < exact, distance, far) + side * (behind < 0)
        return self.relative_attention_bias(bucket).permute(2, 0, 1)


class _RotaryEmbedding(nn.Module):
    """Rotates neighbouring pairs of channels by the position times a frequency of the pair."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        # Frozen: a constant in training too, but part of the state dict.
        self.freqs = nn.Parameter(
            1.0 / 10000 ** (torch.arange(0, dim, 2).float() / dim), requires_grad=False
        )

    def forward(self, x: Tensor) -> Tensor:
        position = torch.arange(x.shape[-2], device=x.device, dtype=self.freqs.dtype)
        angle = torch.outer(position, self.freqs)
        even, odd = rearrange(x, "... (c two) -> two ... c", two=2)
        sin, cos = angle.sin().to(x.dtype), angle.cos().to(x.dtype)
        return torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1).flatten(-2)


class _Attention(nn.Module):
    """Attention among the second last axis of (..., positions, channels)."""

    def __init__(self, dim: int, heads: int, rotary: _RotaryEmbedding | None) -> None:
        super().__init__()
        self.heads = heads
        self.rotary_emb = rotary
        self.to_qkv = nn.Linear(dim, 3 * heads * _DIM_HEAD, bias=False)
        self.to_out = nn.Linear(heads * _DIM_HEAD, dim, bias=False)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        q, k, v = rearrange(self.to_qkv(x), "... n (s h d) -> s ... h n d", s=3, h=self.heads)
        if self.rotary_emb is not None:
            q, k = self.rotary_emb(q), self.rotary_emb(k)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.to_out(rearrange(y, "... h n d -> ... n (h d)"))


class _DepthAttention(nn.Module):
    """Attention along D, apart for each position in H, W."""

    def __init__(self, dim: int, heads: int, rotary: _RotaryEmbedding) -> None:
        super().__init__()
        self.fn = _Attention(dim, heads, rotary)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        y = self.fn(rearrange(x, "n c d h w -> n (h w) d c"), bias)
        return rearrange(y, "n (h w) d c -> n c d h w", h=x.shape[3])


class _PlaneAttention(nn.Module):
    """Attention within H, W, apart for each slice."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.fn = _Attention(dim, heads, None)

    def forward(self, x: Tensor) -> Tensor:
        y = self.fn(rearrange(x, "n c d h w -> n d (h w) c"))
        return rearrange(y, "n d (h w) c -> n c d h w", h=x.shape[3])


class _LinearPlaneAttention(nn.Module):
    """Attention within H, W at a cost linear in their size: keys meet values before queries."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Conv2d(dim, 3 * heads * _DIM_HEAD, 1, bias=False)
        self.to_out = nn.Conv2d(heads * _DIM_HEAD, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, _, _, h, w = x.shape
        qkv = self.to_qkv(rearrange(x, "n c d h w -> (n d) c h w"))
        q, k, v = rearrange(qkv, "m (s g c) h w -> s m g c (h w)", s=3, g=self.heads)
        context = k.softmax(dim=-1) @ v.transpose(-1, -2)
        y = context.transpose(-1, -2) @ (q.softmax(dim=-2) * _DIM_HEAD**-0.5)
        y = self.to_out(rearrange(y, "m g c (h w) -> m (g c) h w", h=h, w=w))
        return rearrange(y, "(n d) c h w -> n c d h w", n=n)


class _ChannelNorm(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, dim, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, dim=1, correction=0, keepdim=True)
        return (x - mean) / (variance + 1e-5).sqrt() * self.gamma


class _PreNormResidual(nn.Module):
    """Adds a layer's answer to the normalised input; the state dict calls both parts ``fn``."""

    def __init__(self, dim: int, layer: nn.Module) -> None:
        super().__init__()
        self.fn = nn.ModuleDict({"norm": _ChannelNorm(dim), "fn": layer})

    def forward(self, x: Tensor, *rest: Tensor) -> Tensor:
        return x + self.fn["fn"](self.fn["norm"](x), *rest)


class _ConvBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(inputs, outputs, (1, 3, 3), padding=(0, 1, 1))
        self.norm = nn.GroupNorm(_GROUPS, outputs)

    def forward(
        self, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None
    ) -> Tensor:
        x = self.norm(self.proj(x))
        if scale is not None and shift is not None:
            x = x * (scale + 1) + shift
        return functional.silu(x)


class _ResBlock(nn.Module):
    """Two convolutions within H, W; the timestep scales and shifts between them."""

    def __init__(self, inputs: int, outputs: int, time_dim: int | None = None) -> None:
        super().__init__()
        self.mlp = (
            None if time_dim is None else nn.Sequential(nn.SiLU(), nn.Linear(time_dim, 2 * outputs))
        )
        self.block1 = _ConvBlock(inputs, outputs)
        self.block2 = _ConvBlock(outputs, outputs)
        self.res_conv = nn.Identity() if inputs == outputs else nn.Conv3d(inputs, outputs, 1)

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        if self.mlp is None:
            y = self.block1(x)
        else:
            y = self.block1(x, *self.mlp(time)[:, :, None, None, None].chunk(2, dim=1))
        return self.block2(y) + self.res_conv(x)


class _Stage(nn.ModuleList):
    """One resolution: two residual blocks, attention in the plane and along D, a resize."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        time_dim: int,
        heads: int,
        rotary: _RotaryEmbedding,
        resize: nn.Module,
    ) -> None:
        super().__init__(
            [
                _ResBlock(inputs, outputs, time_dim),
                _ResBlock(outputs, outputs, time_dim),
                _PreNormResidual(outputs, _LinearPlaneAttention(outputs, heads)),
                _PreNormResidual(outputs, _DepthAttention(outputs, heads, rotary)),
                resize,
            ]
        )

    def forward(self, x: Tensor, time: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Answer before and after the resize."""
        first, second, plane, depth, resize = self
        x = depth(plane(second(first(x, time), time)), bias)
        return x, resize(x)


class VideoUNet(nn.Module):
    """Predicts the noise in latents; convolutions within H, W, and attention along D.

    Architecture of the ``denoise_fn`` of medicaldiffusion (Khader et al. 2023) without
    conditioning. H and W are halved between stages, D keeps its size.

    Parameters
    ----------
    dim : int
        Width of the first stage, divisible by 8. ``init_conv.weight`` is (dim, channels, 1, 7, 7).
    channels : int
        Channels of the latent.
    dim_mults : tuple of int
        Width of each stage in units of `dim`.
    heads : int
        Attention heads of 32 channels; ``time_rel_pos_bias.relative_attention_bias.weight`` is
        (32, heads).

    Notes
    -----
    The arithmetic is that of video-diffusion-pytorch 0.6.0 with rotary-embedding-torch 0.1.5, and
    equal to it numerically. Names and numbers of weights are known of medicaldiffusion itself;
    that its forward pass agrees with that release is an assumption which no published weights
    were used to test. One place where the weights would load and the result would be wrong: until
    July 2022 the ancestor took the skip connection to the last block before the first attention
    along D, since then behind it, as here. The stated number of parameters counts the 16 rotary
    frequencies, which are constants.
    """

    def __init__(
        self, dim: int, channels: int = 8, dim_mults: tuple[int, ...] = (1, 2, 4, 8), heads: int = 8
    ) -> None:
        super().__init__()
        if dim < 1 or dim % _GROUPS:
            raise ValueError(f"dim {dim} must be divisible by {_GROUPS}")
        if not dim_mults:
            raise ValueError("dim_mults must name at least one stage")
        widths = [dim, *(dim * mult for mult in dim_mults)]
        last = len(dim_mults) - 1
        time_dim = 4 * dim
        rotary = _RotaryEmbedding(
            _DIM_HEAD
        )  # one for all, though the state dict has it once per use
        self.factor = 2**last

        self.time_rel_pos_bias = _PositionBias(heads)
        self.init_conv = nn.Conv3d(channels, dim, (1, 7, 7), padding=(0, 3, 3))
        self.init_temporal_attn = _PreNormResidual(dim, _DepthAttention(dim, heads, rotary))
        self.time_mlp = nn.Sequential(
            _TimestepEmbedding(dim),
            nn.Linear(dim, time_dim),
            nn.GELU(),
            nn.Linear(time_dim, time_dim),
        )

        self.downs = nn.ModuleList()
        self.ups = nn.ModuleList()
        for i in range(last + 1):
            narrow, wide = widths[i], widths[i + 1]
            halve = nn.Conv3d(wide, wide, (1, 4, 4), (1, 2, 2), (0, 1, 1))
            self.downs.append(
                _Stage(narrow, wide, time_dim, heads, rotary, halve if i < last else nn.Identity())
            )
            narrow, wide = widths[last - i], widths[last - i + 1]
            double = nn.ConvTranspose3d(narrow, narrow, (1, 4, 4), (1, 2, 2), (0, 1, 1))
            # Twice the width: what the way down left is stacked on what comes up.
            self.ups.append(
                _Stage(
                    2 * wide, narrow, time_dim, heads, rotary, double if i < last else nn.Identity()
                )
            )

        middle = widths[-1]
        self.mid_block1 = _ResBlock(middle, middle, time_dim)
        self.mid_spatial_attn = _PreNormResidual(middle, _PlaneAttention(middle, heads))
        self.mid_temporal_attn = _PreNormResidual(middle, _DepthAttention(middle, heads, rotary))
        self.mid_block2 = _ResBlock(middle, middle, time_dim)
        self.final_conv = nn.Sequential(_ResBlock(2 * dim, dim), nn.Conv3d(dim, channels, 1))

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        """Predict the noise.

        Parameters
        ----------
        x : Tensor
            (N, channels, D, H, W), nominally in [-1, 1] plus noise; H and W divisible by 2 for
            every stage but the last.
        timesteps : Tensor
            (N,), from 0.

        Returns
        -------
        Tensor
            Of the shape of `x`.
        """
        if x.shape[3] % self.factor or x.shape[4] % self.factor:
            raise ValueError(
                f"H and W of the latent {tuple(x.shape[2:])} must be divisible by {self.factor}"
            )
        bias = self.time_rel_pos_bias(x.shape[2])
        time = self.time_mlp[1:](self.time_mlp[0](timesteps).to(x.dtype))

        x = self.init_temporal_attn(self.init_conv(x), bias)
        kept = [x]
        for stage in self.downs:
            skip, x = stage(x, time, bias)
            kept.append(skip)

        x = self.mid_spatial_attn(self.mid_block1(x, time))
        x = self.mid_block2(self.mid_temporal_attn(x, bias), time)

        for stage in self.ups:
            _, x = stage(torch.cat((x, kept.pop()), dim=1), time, bias)
        return self.final_conv(torch.cat((x, kept.pop()), dim=1))
