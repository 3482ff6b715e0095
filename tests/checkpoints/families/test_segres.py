"""The encoder of SegResNetDS, alone as CT-FM publishes it, and inside of whole networks."""

import numpy as np
import pytest
import torch
from monai.networks.nets.segresnet_ds import SegResEncoder, SegResNetDS
from safetensors.torch import save_file

from napari_memscan.checkpoints.loading import detect_families, load_checkpoint
from napari_memscan.checkpoints.native_format import save_checkpoint
from napari_memscan.embedders.loading import load_embedder
from napari_memscan.errors import BadInput
from napari_memscan.volumes.orientation import from_ras

BLOCKS = (1, 2, 2, 4, 4)
SHAPE = {"shape": (32, 48, 16)}
STATED = SHAPE | {"intensity": {"rule": "minmax"}}


def randomised(network, seed=0):
    random = torch.Generator().manual_seed(seed)
    state = network.state_dict()
    for name, value in state.items():
        noise = torch.randn(value.shape, generator=random)
        if name.endswith("running_var"):
            state[name] = 0.5 + noise.abs()
        elif value.is_floating_point():
            state[name] = 0.1 * noise + 0.3 if value.ndim == 1 else 0.1 * noise
    network.load_state_dict(state)
    return network.eval()


def encoder(blocks=BLOCKS, **more):
    return randomised(SegResEncoder(init_filters=2, in_channels=1, blocks_down=blocks, **more))


def volume(seed=0):
    return np.random.default_rng(seed).random((32, 48, 16)).astype(np.float32)


def vector(network, data):
    with torch.no_grad():
        return network(torch.from_numpy(data)[None, None])[-1].mean((2, 3, 4))[0].numpy()


def assert_same(path, network, declared, axes):
    embedder = load_embedder(path, "cpu", declared)
    expected = vector(network, from_ras(volume(), axes))
    np.testing.assert_allclose(
        embedder.embed(volume()[None, None])[0], expected, rtol=1e-5, atol=1e-5
    )
    assert np.abs(vector(network, from_ras(volume(1), axes)) - expected).max() > 1e-4
    return embedder


@pytest.fixture(scope="module")
def ctfm(tmp_path_factory):
    path = tmp_path_factory.mktemp("ctfm") / "model.safetensors"
    save_file(encoder().state_dict(), path)
    return path


def test_ct_fm(ctfm):
    best = detect_families(ctfm)[0]
    assert (best.family, best.kind, best.missing) == ("segres", "embedder", ())
    assert best.reasons == ("a 3D SegResEncoder, 2 filters, blocks [1, 2, 2, 4, 4]",)
    embedder = assert_same(ctfm, encoder(), SHAPE, "SPL")
    assert embedder.dim == 32
    assert embedder.recipe.axes == "SPL"
    checkpoint = load_checkpoint(ctfm)
    preprocessing = checkpoint.recipe.preprocessing
    assert checkpoint.recipe.input_shape == (128, 128, 32)
    assert preprocessing.spacing == (1, 1, 3)
    assert (preprocessing.intensity.low, preprocessing.intensity.high) == (-1024, 2048)
    facts = {fact.name: fact.origin for fact in checkpoint.report.facts}
    assert facts["axes"] == "the family's default: CT-FM's pre-training configuration"
    assert facts["act"] == "MONAI's default"


@pytest.mark.parametrize("prefix", ["encoder.", "backbone.", "trunk."])
def test_inside_of_something_larger(tmp_path, prefix):
    network = encoder((1, 1, 2))
    state = {prefix + k: v for k, v in network.state_dict().items()}
    state["projection.weight"] = torch.ones(2, 2)
    torch.save({"state_dict": state}, tmp_path / "last.ckpt")
    assert detect_families(tmp_path / "last.ckpt")[0].family == "segres"
    assert_same(tmp_path / "last.ckpt", network, STATED, "RAS")
    state = load_checkpoint(tmp_path / "last.ckpt", STATED).report.states["backbone"]
    assert (state.prefix, state.unused) == (prefix, ["projection.weight"])


def test_a_whole_segresnet_loses_its_decoder(tmp_path):
    network = randomised(SegResNetDS(init_filters=2, blocks_down=(1, 2), dsdepth=2))
    torch.save({"model": network.state_dict()}, tmp_path / "model.pt")
    best = detect_families(tmp_path / "model.pt")[0]
    assert best.family == "segres"
    assert [fact.name for fact in best.missing] == ["shape", "intensity"]
    assert_same(tmp_path / "model.pt", network.encoder, STATED, "RAS")
    unused = load_checkpoint(tmp_path / "model.pt", STATED).report.states["backbone"].unused
    assert unused
    assert all(name.startswith("up_layers.") for name in unused)


def test_kernels_that_leave_an_axis_alone(tmp_path):
    network = randomised(SegResNetDS(init_filters=2, blocks_down=(1, 1, 1), resolution=(1, 1, 5)))
    assert network.anisotropic_scales[0] == (2, 2, 1)
    torch.save(network.state_dict(), tmp_path / "flat.pt")
    embedder = assert_same(tmp_path / "flat.pt", network.encoder, STATED, "RAS")
    scales = [list(map(int, scale)) for scale in network.anisotropic_scales]
    assert embedder.recipe.arguments["anisotropic_scales"] == scales


def test_another_norm_must_be_said(tmp_path):
    network = encoder((1, 2), norm="instance")
    torch.save(network.state_dict(), tmp_path / "instance.pt")
    with pytest.raises(BadInput, match=r'normalisation of the SegResNet, as network=\{"norm"'):
        load_checkpoint(tmp_path / "instance.pt", STATED)
    stated = STATED | {"network": {"norm": "instance"}}
    embedder = assert_same(tmp_path / "instance.pt", network, stated, "RAS")
    group = STATED | {"network": {"norm": ["group", {"num_groups": 1}]}}
    other = load_embedder(tmp_path / "instance.pt", "cpu", group)
    assert np.abs(
        other.embed(volume()[None, None]) - embedder.embed(volume()[None, None])
    ).max() > (1e-4)


def test_converted_it_gives_the_same_vector_and_recipe(ctfm, tmp_path):
    checkpoint = load_checkpoint(ctfm, SHAPE)
    save_checkpoint(
        tmp_path / "own", checkpoint.recipe, {"backbone": checkpoint.weights("backbone")}
    )
    assert assert_same(tmp_path / "own", encoder(), None, "SPL").recipe == checkpoint.recipe


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("layers.1.blocks.1.conv2.weight", torch.ones(4, 5, 3, 3, 3), r"is \(4, 5, 3, 3, 3\)"),
        ("layers.3.blocks.3.norm1.bias", None, r"missing: layers\.3\.blocks\.3\.norm1\.bias"),
        ("layers.4.downsample.weight", torch.ones(2), r"not in the network: layers\.4\.downsample"),
        ("conv_init.weight", torch.ones(2, 4, 3, 3, 3), "takes 4 channels at once"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, name, value, message):
    state = dict(encoder().state_dict())
    state[name] = value
    if value is None:
        del state[name]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(BadInput, match=message):
        load_checkpoint(tmp_path / "model.safetensors", SHAPE)


def test_a_truncated_file_is_refused(ctfm, tmp_path):
    data = ctfm.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(BadInput, match=r"cut\.safetensors: not a whole safetensors file"):
        detect_families(tmp_path / "cut.safetensors")
