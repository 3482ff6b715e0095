"""The video U-Net has the published weights' names and shapes, and its ancestor's arithmetic."""

import math

import numpy as np
import pytest
import torch

from napari_memscan.checkpoints.nets.video_unet import VideoUNet

# Of video-diffusion-pytorch 0.6.0 with rotary-embedding-torch 0.1.5 (both MIT), computed once in
# double precision from the weights of `fill` and the input of `sample`: every 191st number, and
# the mean of the absolute values.
EXPECTED = [
    0.2495426,
    -0.4076444,
    -0.3460719,
    3.4700394,
    0.5656564,
    -0.1219220,
    0.1159901,
    0.1189302,
    -0.6197292,
    0.6086665,
    0.2851469,
]
EXPECTED_SIZE = 0.6981378


def fill(network):
    """Give every tensor but the constants normal numbers, seeded by its place among sorted names.

    Matrices and kernels are divided by the square root of what one output sums up. RandomState,
    because numpy promises that its numbers never change.
    """
    state = network.state_dict()
    for seed, name in enumerate(sorted(state)):
        if name.endswith("freqs"):
            continue
        shape = state[name].shape
        scale = 0.5 if len(shape) == 1 or name.endswith("gamma") else math.prod(shape[1:]) ** -0.5
        state[name].copy_(torch.from_numpy(scale * np.random.RandomState(seed).randn(*shape)))


def sample():
    """Long enough along D for the logarithmic buckets of the position bias."""
    x = torch.from_numpy(np.random.RandomState(1000).randn(2, 2, 20, 4, 6))
    return x, torch.tensor([7, 250])


def on_meta(*args, **kwargs):
    with torch.device("meta"):
        return VideoUNet(*args, **kwargs)


@torch.no_grad()
def test_the_answer_is_that_of_the_ancestor():
    network = VideoUNet(8, channels=2, dim_mults=(1, 2), heads=2).double()
    fill(network)
    y = network(*sample())
    assert y.shape == (2, 2, 20, 4, 6)
    assert y.flatten()[::191].tolist() == pytest.approx(EXPECTED, abs=1e-6)
    assert float(y.abs().mean()) == pytest.approx(EXPECTED_SIZE, abs=1e-6)


@torch.no_grad()
def test_single_precision_agrees_with_double():
    network = VideoUNet(8, channels=2, dim_mults=(1, 2), heads=2)
    fill(network)
    x, timesteps = sample()
    single = network(x.float(), timesteps)
    assert single.dtype == torch.float32
    torch.testing.assert_close(
        single.double(), network.double()(x, timesteps), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(("dim", "count"), [(16, 3_019_960), (32, 9_981_528), (64, 35_730_328)])
def test_size_is_that_of_the_published_network(dim, count):
    network = on_meta(dim)
    assert len(network.state_dict()) == 300
    assert sum(p.numel() for p in network.parameters()) == count


def test_names_and_shapes_are_those_a_loader_reads():
    shapes = {name: tuple(t.shape) for name, t in on_meta(32).state_dict().items()}
    assert shapes["init_conv.weight"] == (32, 8, 1, 7, 7)
    assert shapes["time_rel_pos_bias.relative_attention_bias.weight"] == (32, 8)
    assert shapes["init_temporal_attn.fn.norm.gamma"] == (1, 32, 1, 1, 1)
    assert shapes["init_temporal_attn.fn.fn.fn.rotary_emb.freqs"] == (16,)
    assert shapes["downs.3.0.block1.proj.weight"] == (256, 128, 1, 3, 3)
    assert shapes["downs.3.2.fn.fn.to_qkv.weight"] == (768, 256, 1, 1)
    assert shapes["ups.0.0.mlp.1.weight"] == (256, 128)
    assert shapes["final_conv.1.weight"] == (8, 32, 1, 1, 1)
    assert not [name for name in shapes if "cond" in name]
    # One use of the rotary embedding at the start, one a stage (down and up), one in the middle.
    assert len([name for name in shapes if name.endswith("rotary_emb.freqs")]) == 1 + 4 + 4 + 1


def test_the_rotary_frequencies_fall_from_one_geometrically():
    freqs = VideoUNet(8, dim_mults=(1,)).state_dict()[
        "init_temporal_attn.fn.fn.fn.rotary_emb.freqs"
    ]
    torch.testing.assert_close(freqs, 10000 ** (-torch.arange(16) / 16))


@pytest.mark.parametrize("shape", [(4, 32, 32), (8, 64, 64), (3, 8, 16)])
def test_prediction_has_the_shape_of_the_latent(shape):
    x = torch.empty(2, 8, *shape, device="meta")
    assert on_meta(32)(x, torch.zeros(2, device="meta")).shape == x.shape


def test_sizes_that_do_not_halve_evenly_are_refused():
    with pytest.raises(ValueError, match="divisible by 8"):
        on_meta(32)(torch.empty(1, 8, 4, 12, 8, device="meta"), torch.zeros(1, device="meta"))


@pytest.mark.parametrize("arguments", [{"dim": 12}, {"dim": 0}, {"dim": 8, "dim_mults": ()}])
def test_arguments_that_make_no_network_are_refused(arguments):
    with pytest.raises(ValueError, match=r"dim"):
        VideoUNet(**arguments)
