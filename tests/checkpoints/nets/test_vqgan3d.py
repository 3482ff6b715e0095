"""The 3D VQ-GAN has the published weights' names and shapes, and its ancestor's arithmetic."""

import math

import numpy as np
import pytest
import torch

from napari_memscan.checkpoints.nets import vqgan3d
from napari_memscan.checkpoints.nets.vqgan3d import VQGAN3D

# Of the VQGAN of TATS (songweige/TATS, MIT), computed once in double precision from the weights
# of `fill` and the input of `sample`: every 5th number of the latent and of its nearest codes,
# every 11th of the decoded volume, and the mean of the volume's absolute values.
LATENT = [
    0.4708817,
    -0.4568019,
    0.7260184,
    -0.5027219,
    -0.3420028,
    0.3475488,
    0.6080172,
    0.1264028,
    -0.3939994,
    -0.1751927,
    -0.8536432,
    -0.7367517,
    0.6681818,
    0.0571279,
    0.4895123,
    0.6833782,
    0.4415665,
    0.2310989,
    0.5849495,
    0.1147981,
    -0.1519522,
    -0.5269333,
    -0.4458370,
    -0.1347043,
    -0.0163707,
    0.5893688,
    0.1234883,
    -0.0470610,
    -0.3170702,
    -1.0609566,
    0.2241073,
    -1.1955785,
    -0.5375007,
    0.3886027,
    0.7699021,
    0.5091650,
    0.0415327,
    0.1073527,
    0.0916214,
]
CODES = [
    0.6657286,
    -0.0862141,
    0.6657286,
    -0.5721707,
    -0.1436539,
    0.2813805,
    0.3400349,
    0.2813805,
    -0.1599008,
    0.1203685,
    -0.6362794,
    -0.5503096,
    0.1567739,
    0.5723619,
    0.1567739,
    0.4344431,
    0.2515924,
    0.1847464,
    0.6466129,
    0.1847464,
    -0.2585472,
    -0.0862141,
    -0.4985134,
    -0.3875808,
    0.1243996,
    0.3400349,
    0.1243996,
    -0.1599008,
    -0.1483206,
    -0.6362794,
    0.2476057,
    -0.5503096,
    -0.0873516,
    0.5723619,
    0.4931676,
    0.8138254,
    0.1067670,
    0.6466129,
    0.1067670,
]
VOLUME = [
    0.1903922,
    0.5155857,
    -0.0282358,
    1.3368992,
    -0.2354202,
    1.4603661,
    -0.0098005,
    0.6680648,
    0.3366385,
    0.5308329,
    0.3026884,
    1.2104193,
    0.2337232,
    0.9302911,
    0.2600633,
    0.7259722,
    0.4498328,
    0.1732624,
]
VOLUME_SIZE = 0.5343468


def fill(network):
    """Give every tensor normal numbers, seeded by its place among the sorted names.

    Kernels are divided by the square root of what one output sums up. RandomState, because numpy
    promises that its numbers never change.
    """
    state = network.state_dict()
    for seed, name in enumerate(sorted(state)):
        shape = state[name].shape
        scale = 0.5 if len(shape) < 3 else math.prod(shape[1:]) ** -0.5
        state[name].copy_(torch.from_numpy(scale * np.random.RandomState(seed).randn(*shape)))


def sample():
    return torch.from_numpy(np.random.RandomState(1000).uniform(-1, 1, (2, 1, 3, 4, 8)))


def on_meta(*args, **kwargs):
    with torch.device("meta"):
        return VQGAN3D(*args, **kwargs)


def count(network):
    return sum(p.numel() for p in network.parameters())


@torch.no_grad()
def test_latent_codes_and_volume_are_those_of_the_ancestor():
    network = VQGAN3D((1, 2, 4), n_codes=32).double()
    fill(network)
    z = network.encode(sample())
    codes = network.quantise(z)
    volume = network.decode(z)
    assert z.shape == (2, 8, 3, 2, 2)
    assert volume.shape == (2, 1, 3, 4, 8)
    assert z.flatten()[::5].tolist() == pytest.approx(LATENT, abs=1e-6)
    assert codes.flatten()[::5].tolist() == pytest.approx(CODES, abs=1e-6)
    assert volume.flatten()[::11].tolist() == pytest.approx(VOLUME, abs=1e-6)
    assert float(volume.abs().mean()) == pytest.approx(VOLUME_SIZE, abs=1e-6)
    torch.testing.assert_close(network(sample()), volume)
    torch.testing.assert_close(network.decode(codes, quantise=False), volume)


@torch.no_grad()
def test_single_precision_agrees_with_double():
    network = VQGAN3D((1, 2, 4), n_codes=32)
    fill(network)
    single = network(sample().float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), network.double()(sample()), rtol=1e-5, atol=1e-5)


# (8, 64, 64) and (16, 16, 16) are those of the published embedders; the others are known in
# millions: encoder 0.44 and 1.85, decoder 0.95 and 4.03, and with the discriminators (13,814,146,
# as TATS builds them) 14.08, 15.21 and 19.70.
@pytest.mark.parametrize(
    ("downsample", "encoder", "decoder", "all_with_discriminators"),
    [
        ((2, 2, 2), None, None, 14.08),
        ((4, 4, 4), 0.44, 0.95, 15.21),
        ((8, 8, 8), 1.85, 4.03, 19.70),
        ((16, 16, 16), 7.489760, None, None),
        ((8, 64, 64), 120.223968, None, None),
    ],
)
def test_size_is_that_of_the_published_network(
    downsample, encoder, decoder, all_with_discriminators
):
    network = on_meta(downsample)
    if all_with_discriminators is not None:
        total = (count(network) + 13_814_146) / 1e6
        assert total == pytest.approx(all_with_discriminators, abs=0.005)
    if decoder is not None:
        assert count(network.decoder) / 1e6 == pytest.approx(decoder, abs=0.005)
    if encoder is not None:
        precision = 1e-9 if encoder > 5 else 0.005
        assert count(network.encoder) / 1e6 == pytest.approx(encoder, abs=precision)


@pytest.mark.parametrize("downsample", [(16, 16, 16), (8, 64, 64)])
def test_encoder_has_the_published_names_and_shapes(downsample):
    expected = {"conv_first.conv.weight": (16, 1, 3, 3, 3), "conv_first.conv.bias": (16,)}
    c = 16
    for i in range(max(downsample).bit_length() - 1):
        c *= 2
        block = f"conv_blocks.{i}."
        expected[block + "down.conv.weight"] = (c, c // 2, 4, 4, 4)
        expected[block + "down.conv.bias"] = (c,)
        for n in (1, 2):
            expected[f"{block}res.norm{n}.weight"] = expected[f"{block}res.norm{n}.bias"] = (c,)
            expected[f"{block}res.conv{n}.conv.weight"] = (c, c, 3, 3, 3)
            expected[f"{block}res.conv{n}.conv.bias"] = (c,)
    expected["final_block.0.weight"] = expected["final_block.0.bias"] = (c,)
    state = on_meta(downsample).encoder.state_dict()
    assert {name: tuple(t.shape) for name, t in state.items()} == expected


def test_the_other_names_and_shapes():
    network = on_meta((2, 4, 4))
    shapes = {name: tuple(t.shape) for name, t in network.state_dict().items()}
    assert {name.split(".")[0] for name in shapes} == {
        "encoder",
        "decoder",
        "pre_vq_conv",
        "post_vq_conv",
        "codebook",
    }
    assert shapes["codebook.embeddings"] == shapes["codebook.z_avg"] == (16384, 8)
    assert shapes["codebook.N"] == (16384,)
    assert shapes["pre_vq_conv.conv.weight"] == (8, 64, 1, 1, 1)
    assert shapes["post_vq_conv.conv.weight"] == (64, 8, 1, 1, 1)
    assert shapes["decoder.final_block.0.weight"] == (64,)
    assert shapes["decoder.conv_blocks.0.up.convt.weight"] == (64, 64, 4, 4, 4)
    assert shapes["decoder.conv_blocks.1.up.convt.weight"] == (64, 32, 4, 4, 4)
    assert shapes["decoder.conv_blocks.1.res2.conv2.conv.weight"] == (32, 32, 3, 3, 3)
    assert shapes["decoder.conv_last.conv.weight"] == (1, 32, 3, 3, 3)


@torch.no_grad()
def test_blocks_shrink_each_axis_until_its_factor_is_reached():
    network = on_meta((8, 64, 64))
    h = network.encoder.conv_first(torch.empty(1, 1, 32, 256, 256, device="meta"))
    shapes = []
    for block in network.encoder.conv_blocks:
        h = block(h)
        shapes.append(tuple(h.shape[1:]))
    assert shapes == [
        (32, 16, 128, 128),
        (64, 8, 64, 64),
        (128, 4, 32, 32),
        (256, 4, 16, 16),
        (512, 4, 8, 8),
        (1024, 4, 4, 4),
    ]


@pytest.mark.parametrize("downsample", [(8, 64, 64), (2, 4, 8), (1, 1, 2), (4, 2, 1), (8, 8, 8)])
def test_decoded_shape_is_latent_times_downsample(downsample):
    network = on_meta(downsample, n_hiddens=2, embedding_dim=3, n_codes=8, image_channels=2)
    z = torch.empty(2, 3, 2, 1, 3, device="meta")
    x = network.decode(z)
    assert x.shape == (2, 2, *(n * f for n, f in zip((2, 1, 3), downsample, strict=True)))
    assert network.encode(x).shape == z.shape


@pytest.mark.parametrize("distances", [1, 100, 2**24])
def test_nearest_codes_are_found_in_blocks(monkeypatch, distances):
    monkeypatch.setattr(vqgan3d, "_MAX_DISTANCES", distances)
    network = VQGAN3D((1, 1, 2), n_hiddens=2, embedding_dim=5, n_codes=30)
    z = torch.randn(2, 5, 3, 2, 4)
    flat = z.movedim(1, -1).reshape(-1, 5)
    codes = network.codebook.embeddings
    nearest = codes[torch.cdist(flat, codes).argmin(dim=1)].view(2, 3, 2, 4, 5).movedim(-1, 1)
    torch.testing.assert_close(network.quantise(z), nearest, rtol=0, atol=0)
    torch.testing.assert_close(network.quantise(nearest), nearest, rtol=0, atol=0)


def test_range_of_the_codes():
    network = VQGAN3D((2, 2, 2), n_hiddens=2, n_codes=4, embedding_dim=2)
    network.codebook.embeddings.copy_(torch.tensor([[0.5, -3.0], [2.0, 1.0], [0, 0], [1, 1]]))
    assert network.codebook_range == (-3.0, 2.0)


@pytest.mark.parametrize("downsample", [(1, 1, 1), (3, 2, 2), (0, 2, 2)])
def test_factors_that_make_no_network_are_refused(downsample):
    with pytest.raises(ValueError, match="powers of two"):
        VQGAN3D(downsample)


def test_shapes_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="not divisible"):
        on_meta((2, 2, 4))(torch.empty(1, 1, 4, 4, 6, device="meta"))
