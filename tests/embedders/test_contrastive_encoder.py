"""The encoder is the paper's, by its published names, counts and shapes."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from napari_memscan.embedders.contrastive_encoder import (
    ContrastiveEncoder,
    average_to_shape,
    scale_to_unit,
)

PUBLISHED_SIZES = {
    "mrnet": (16, (8, 64, 64), (32, 256, 256)),
    "pccta": (16, (16, 16, 16), (64, 64, 64)),
}
"""Channels, shrinking and shape of the two published encoders, axes D, H, W."""


@pytest.mark.parametrize(
    ("variant", "parameters", "keys", "shape", "maps"),
    [
        (
            "mrnet",
            120_301_993,
            72,
            (32, 256, 256),
            [
                (32, 16, 128, 128),
                (64, 8, 64, 64),
                (128, 4, 32, 32),
                (256, 4, 16, 16),
                (512, 4, 8, 8),
                (1024, 4, 4, 4),
            ],
        ),
        (
            "pccta",
            7_561_641,
            52,
            (64, 64, 64),
            [(32, 32, 32, 32), (64, 16, 16, 16), (128, 8, 8, 8), (256, 4, 4, 4)],
        ),
    ],
)
def test_published_variants(variant, parameters, keys, shape, maps):
    with torch.device("meta"):
        encoder = ContrastiveEncoder(*PUBLISHED_SIZES[variant])
        x = encoder.encoder.conv_first(torch.zeros(1, 1, *shape))
        seen = []
        for block in encoder.encoder.conv_blocks:
            x = block(x)
            seen.append(tuple(x.shape[1:]))
        vector = encoder(torch.zeros(2, 1, *shape))
    state = encoder.state_dict()
    assert sum(p.numel() for p in encoder.parameters()) == parameters
    assert len(state) == keys
    assert encoder.shape == shape
    assert seen == maps
    assert vector.shape == (2, 32)

    expected = {
        "encoder.conv_first.conv.weight": (16, 1, 3, 3, 3),
        "encoder.conv_first.conv.bias": (16,),
        "conv3D.conv.weight": (8, maps[-1][0], 1, 1, 1),
        "conv3D.conv.bias": (8,),
        "encoder.final_block.0.weight": (maps[-1][0],),
        "encoder.final_block.0.bias": (maps[-1][0],),
        "dense.1.weight": (128, 512),
        "dense.1.bias": (128,),
        "dense.4.weight": (32, 128),
        "dense.4.bias": (32,),
        "sup_layer.1.weight": (1, 32),
        "sup_layer.1.bias": (1,),
    }
    for i in range(len(maps)):
        c = 32 * 2**i
        block = f"encoder.conv_blocks.{i}"
        expected[f"{block}.down.conv.weight"] = (c, c // 2, 4, 4, 4)
        expected[f"{block}.down.conv.bias"] = (c,)
        for n in (1, 2):
            expected[f"{block}.res.norm{n}.weight"] = (c,)
            expected[f"{block}.res.norm{n}.bias"] = (c,)
            expected[f"{block}.res.conv{n}.conv.weight"] = (c, c, 3, 3, 3)
            expected[f"{block}.res.conv{n}.conv.bias"] = (c,)
    assert {k: tuple(v.shape) for k, v in state.items()} == expected


@pytest.mark.parametrize(
    ("stride", "pads"), [((2, 2, 2), (1, 1, 1, 1, 1, 1)), ((1, 2, 2), (1, 1, 1, 1, 2, 1))]
)
def test_padding_repeats_the_border_with_the_larger_half_in_front(stride, pads):
    from napari_memscan.embedders.contrastive_encoder import SameConv

    layer = SameConv(1, 2, 4, stride)
    x = torch.randn(1, 1, 8, 8, 8)
    expected = functional.conv3d(
        functional.pad(x, pads, mode="replicate"), layer.conv.weight, layer.conv.bias, stride
    )
    assert torch.equal(layer(x), expected)
    assert layer(x).shape[2:] == tuple(8 // s for s in stride)


def test_norms_have_32_groups_and_a_small_epsilon():
    with torch.device("meta"):
        norms = [
            m
            for m in ContrastiveEncoder(*PUBLISHED_SIZES["pccta"]).modules()
            if isinstance(m, torch.nn.GroupNorm)
        ]
    assert len(norms) == 9
    assert {(n.num_groups, n.eps) for n in norms} == {(32, 1e-6)}


def test_the_layer_nobody_uses_changes_nothing():
    encoder = ContrastiveEncoder(4, (2, 2, 2), (8, 8, 8), 5).eval()
    x = torch.randn(1, 1, 8, 8, 8)
    before = encoder(x)
    torch.nn.init.constant_(encoder.sup_layer[1].weight, 9.0)
    assert torch.equal(encoder(x), before)


def test_axes_shrink_each_by_its_own_factor():
    encoder = ContrastiveEncoder(4, (1, 2, 8), (6, 8, 16), 5).eval()
    assert encoder.encoder(torch.zeros(1, 1, 6, 8, 16)).shape == (1, 32, 6, 4, 2)
    assert encoder(torch.zeros(3, 1, 6, 8, 16)).shape == (3, 5)


@pytest.mark.parametrize("downsample", [(3, 4, 4), (0, 4, 4), (4, 16, 4)])
def test_a_factor_that_does_not_fit_is_refused(downsample):
    with pytest.raises(ValueError, match="powers of two that divide the shape"):
        ContrastiveEncoder(4, downsample, (8, 8, 8))


def test_scaling_is_the_papers_for_each_volume_alone():
    x = torch.randn(3, 1, 4, 4, 4) * torch.tensor([1.0, 50.0, 0.01]).reshape(3, 1, 1, 1, 1)
    scaled = scale_to_unit(x)
    for before, after in zip(x.numpy(), scaled.numpy(), strict=True):
        expected = 2 * (before - before.min()) / (before.max() - before.min() + 1e-4) - 1
        np.testing.assert_allclose(after, expected, atol=1e-5)
    assert torch.isfinite(scale_to_unit(torch.ones(1, 1, 4, 4, 4))).all()


def test_shrinking_averages_and_leaves_the_right_shape_alone():
    x = torch.randn(2, 1, 4, 4, 4)
    assert average_to_shape(x, (4, 4, 4)) is x
    halves = x.reshape(2, 1, 2, 2, 2, 2, 2, 2).mean(dim=(3, 5, 7))
    assert torch.allclose(average_to_shape(x, (2, 2, 2)), halves, atol=1e-6)
