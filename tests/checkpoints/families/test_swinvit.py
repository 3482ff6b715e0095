"""The Swin transformer of SwinUNETR under the names that MONAI and VoCo save it by."""

import numpy as np
import pytest
import torch
from monai.networks.nets import SwinUNETR
from monai.networks.nets.swin_unetr import SwinTransformer

from napari_memscan.checkpoints.loading import detect_families, load_checkpoint
from napari_memscan.checkpoints.native_format import save_checkpoint
from napari_memscan.embedders.loading import load_embedder
from napari_memscan.errors import BadInput

SHAPE = {"shape": (32, 32, 64)}
WINDOW = {"intensity": {"rule": "window", "low": 0, "high": 500}}


def randomised(network, seed=0):
    random = torch.Generator().manual_seed(seed)
    state = network.state_dict()
    for name, value in state.items():
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=random)
            state[name] = 0.1 * noise + 0.1 if value.ndim == 1 else 0.3 * noise
    network.load_state_dict(state)
    return network.eval()


def swin(channels=1, **more):
    arguments = {
        "window_size": (3, 3, 3),
        "patch_size": (2, 2, 2),
        "depths": (2, 1, 1, 2),
        "num_heads": (1, 2, 2, 4),
    }
    return randomised(SwinTransformer(channels, 4, **(arguments | more)))


def unetr(channels=1, **more):
    return randomised(
        SwinUNETR(
            channels,
            2,
            feature_size=12,
            depths=(1, 1, 1, 1),
            num_heads=(1, 2, 3, 4),
            window_size=2,
            **more,
        )
    )


def volume(seed=0):
    return np.random.default_rng(seed).random((32, 32, 64)).astype(np.float32)


def vector(network, data):
    with torch.no_grad():
        return network(torch.from_numpy(data)[None, None])[-1].mean((2, 3, 4))[0].numpy()


def assert_same(path, network, declared=SHAPE):
    embedder = load_embedder(path, "cpu", declared)
    expected = vector(network, volume())
    assert embedder.dim == len(expected)
    np.testing.assert_allclose(
        embedder.embed(volume()[None, None])[0], expected, rtol=1e-5, atol=1e-5
    )
    assert np.abs(vector(network, volume(1)) - expected).max() > 1e-4
    return embedder


def ssl(network):
    """Names as in model_swinvit.pt: data parallel, another name in the MLP, heads."""
    state = {
        "module." + name.replace("mlp.linear", "mlp.fc"): value
        for name, value in network.state_dict().items()
    }
    heads = {"module.rotation_head.weight": torch.ones(4, 64), "module.norm.bias": torch.ones(64)}
    return {"state_dict": state | heads, "epoch": 3}


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    path = tmp_path_factory.mktemp("swin") / "model_swinvit.pt"
    torch.save(ssl(swin()), path)
    return path


def test_self_supervised_weights_of_monai(pretrained):
    best = detect_families(pretrained)[0]
    assert (best.family, best.kind, best.missing) == ("swinvit", "embedder", ())
    assert best.reasons == ("a 3D Swin transformer of width 4",)
    embedder = assert_same(pretrained, swin())
    arguments = embedder.recipe.arguments
    assert arguments["window_size"] == [3, 3, 3]
    assert arguments["depths"] == [2, 1, 1, 2]
    assert arguments["num_heads"] == [1, 2, 2, 4]
    checkpoint = load_checkpoint(pretrained)
    assert checkpoint.recipe.input_shape == (96, 96, 96)
    assert checkpoint.recipe.preprocessing.spacing == (1.5, 1.5, 2.0)
    assert checkpoint.recipe.preprocessing.intensity.low == -1000
    facts = {fact.name: fact.origin for fact in checkpoint.report.facts}
    assert facts["intensity"].startswith("the family's default: SwinUNETR/Pretrain")
    assert "mergingv2" in facts["downsample"]
    state = checkpoint.report.states["backbone"]
    assert (state.where, state.prefix) == ("state_dict", "module.")
    assert state.unused == ["norm.bias", "rotation_head.weight"]
    assert state.renamed == 4 * 6


@pytest.mark.parametrize("v2", [False, True])
def test_the_encoder_of_a_whole_swinunetr(tmp_path, v2):
    network = unetr(use_v2=v2)
    torch.save({"state_dict": network.state_dict()}, tmp_path / "model.pt")
    best = detect_families(tmp_path / "model.pt")[0]
    assert best.family == "swinvit"
    # VoCo's networks are V2; what else a whole network was trained on is not known.
    assert [fact.name for fact in best.missing] == ([] if v2 else ["intensity"])
    embedder = assert_same(tmp_path / "model.pt", network.swinViT, SHAPE | WINDOW)
    assert embedder.recipe.arguments["use_v2"] is v2
    assert embedder.recipe.preprocessing.intensity.high == 500
    unused = load_checkpoint(tmp_path / "model.pt", WINDOW).report.states["backbone"].unused
    assert len(unused) == sum(not n.startswith("swinViT.") for n in network.state_dict())
    if not v2:
        with pytest.raises(BadInput, match="Missing: intensity: what becomes 0 and 1"):
            load_checkpoint(tmp_path / "model.pt")


def test_voco_under_the_names_it_has_had(tmp_path):
    network = swin(use_v2=True)
    for i, prefix in enumerate(("module.swin_vit.", "module.swinViT.", "student.swinViT.")):
        state = {prefix + k: v for k, v in network.state_dict().items()}
        if i == 2:
            other = randomised(swin(use_v2=True), seed=5).state_dict()
            state |= {"teacher.swinViT." + k: v for k, v in other.items()}
            state["student.proj_head.layer1.0.weight"] = torch.ones(2, 2)
        path = tmp_path / f"VoCo_{i}.pt"
        torch.save(state, path)
        assert detect_families(path)[0].family == "swinvit"
        assert_same(path, network)
        recipe = load_checkpoint(path).recipe
        assert recipe.preprocessing.spacing == (1.5, 1.5, 1.5)
        intensity = recipe.preprocessing.intensity
        assert (intensity.low, intensity.high) == (-175, 250)


def test_stages_nested_once_more(tmp_path):
    network = swin()
    state = {"encoder." + k: v for k, v in network.state_dict().items()}
    state = {
        k.replace(".0.blocks", ".0.0.blocks").replace(".0.downsample", ".0.0.downsample"): v
        for k, v in state.items()
    }
    torch.save({"model": state | {"encoder.mask_token": torch.ones(1, 1, 4)}}, tmp_path / "ssl.pth")
    assert_same(tmp_path / "ssl.pth", network)


def test_the_other_merging_must_be_said_and_then_counts(tmp_path):
    network = swin(downsample="mergingv2")
    torch.save(network.state_dict(), tmp_path / "v2.pt")
    with pytest.raises(AssertionError, match="Not equal"):
        assert_same(tmp_path / "v2.pt", network)
    assert_same(tmp_path / "v2.pt", network, SHAPE | {"network": {"downsample": "mergingv2"}})


def test_converted_it_gives_the_same_vector_and_recipe(pretrained, tmp_path):
    checkpoint = load_checkpoint(pretrained, SHAPE)
    save_checkpoint(
        tmp_path / "own", checkpoint.recipe, {"backbone": checkpoint.weights("backbone")}
    )
    native = assert_same(tmp_path / "own", swin(), None)
    assert native.recipe == checkpoint.recipe


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("layers2.0.blocks.0.attn.qkv.weight", torch.ones(24, 9), r"qkv\.weight is \(24, 9\)"),
        ("layers4.0.downsample.norm.bias", None, r"missing: layers4\.0\.downsample\.norm\.bias"),
        ("layers1.0.extra.weight", torch.ones(2), r"not in the network: layers1\.0\.extra"),
        ("layers1.0.blocks.0.attn.relative_position_bias_table", torch.ones(120, 1), "no cubes"),
    ],
)
def test_what_does_not_fit_is_refused(pretrained, tmp_path, name, value, message):
    content = torch.load(pretrained, weights_only=True)
    content["state_dict"]["module." + name] = value
    if value is None:
        del content["state_dict"]["module." + name]
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(BadInput, match=message):
        load_checkpoint(tmp_path / "model.pt", SHAPE)


def test_four_channels_are_refused(tmp_path):
    torch.save({"state_dict": unetr(4).state_dict()}, tmp_path / "brats.pt")
    with pytest.raises(BadInput, match="takes 4 channels at once"):
        load_checkpoint(tmp_path / "brats.pt", SHAPE | WINDOW)


def test_a_truncated_file_is_refused(pretrained, tmp_path):
    data = pretrained.read_bytes()
    (tmp_path / "cut.pt").write_bytes(data[: len(data) // 2])
    with pytest.raises(BadInput, match=r"cut\.pt"):
        detect_families(tmp_path / "cut.pt")
