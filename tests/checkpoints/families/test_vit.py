"""Vision transformers of MONAI: alone, as autoencoder, in UNETR, and as BrainIAC saves them."""

import numpy as np
import pytest
import torch
from monai.networks.nets import UNETR, ViT, ViTAutoEnc

from napari_memscan.checkpoints.loading import detect_families, load_checkpoint
from napari_memscan.checkpoints.native_format import save_checkpoint
from napari_memscan.embedders.loading import load_embedder
from napari_memscan.errors import BadInput
from napari_memscan.volumes.orientation import from_ras

HEADS = {"num_heads": 4}
STATED = {"intensity": {"rule": "minmax"}, "network": HEADS}


def randomised(network, seed=0):
    random = torch.Generator().manual_seed(seed)
    state = network.state_dict()
    for name, value in state.items():
        noise = torch.randn(value.shape, generator=random)
        state[name] = 0.1 * noise + 0.1 if value.ndim == 1 else 0.3 * noise
    network.load_state_dict(state)
    return network.eval()


def vit(image=(12, 12, 12), **more):
    arguments = {"patch_size": (4, 4, 4), "hidden_size": 16, "mlp_dim": 24, "num_layers": 2}
    return randomised(ViT(1, image, **(arguments | HEADS | more)))


def volume(seed=0, shape=(12, 12, 12)):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def states(network, data):
    """The last hidden state, after the norm, as (tokens, numbers)."""
    seen = []
    network.norm.register_forward_hook(lambda _, __, out: seen.append(out))
    with torch.no_grad():
        network(torch.from_numpy(data)[None, None])
    return seen[-1][0].numpy()


def assert_same(path, network, declared, pool=lambda x: x.mean(0), change=lambda x: x):
    embedder = load_embedder(path, "cpu", declared)
    data = volume(shape=embedder.recipe.input_shape)
    expected = pool(states(network, change(data)))
    np.testing.assert_allclose(embedder.embed(data[None, None])[0], expected, rtol=1e-5, atol=1e-5)
    other = pool(states(network, change(volume(1, embedder.recipe.input_shape))))
    assert np.abs(other - expected).max() > 1e-4
    return embedder


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory):
    network = randomised(
        ViTAutoEnc(1, (12, 12, 12), (4, 4, 4), hidden_size=16, mlp_dim=24, num_layers=2, **HEADS)
    )
    path = tmp_path_factory.mktemp("vit") / "ssl.pt"
    state = {"module." + k: v for k, v in network.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1}}, path)
    return path, network


def test_a_self_supervised_autoencoder(autoencoder):
    path, network = autoencoder
    (best,) = detect_families(path)
    assert (best.family, best.kind) == ("vit", "embedder")
    assert best.reasons == ("a 3D vision transformer, 2 layers of 16",)
    assert [fact.name for fact in best.missing] == ["network"]
    embedder = assert_same(path, network, {"network": HEADS})
    assert embedder.recipe.pooling == "mean"
    assert embedder.recipe.arguments["img_size"] == [12, 12, 12]
    checkpoint = load_checkpoint(path, {"network": HEADS})
    preprocessing = checkpoint.recipe.preprocessing
    assert preprocessing.spacing == (2, 2, 2)
    assert (preprocessing.intensity.low, preprocessing.intensity.high) == (-57, 164)
    facts = {fact.name: fact.origin for fact in checkpoint.report.facts}
    assert facts["shape"] == "the weights"
    assert facts["num_heads"] == "declared"
    unused = checkpoint.report.states["backbone"].unused
    assert {name.partition(".")[0] for name in unused} == {"conv3d_transpose", "conv3d_transpose_1"}


def test_the_number_of_heads_is_in_no_weight_and_counts(autoencoder):
    path, network = autoencoder
    with pytest.raises(BadInput, match="number of attention heads"):
        load_checkpoint(path)
    with pytest.raises(AssertionError, match="Not equal"):
        assert_same(path, network, {"network": {"num_heads": 2}})


def test_sixty_four_numbers_a_head_is_the_default(tmp_path):
    torch.save(vit(hidden_size=128, num_heads=2).state_dict(), tmp_path / "vit.pt")
    stated = {"intensity": {"rule": "minmax"}}
    recipe = load_checkpoint(tmp_path / "vit.pt", stated).recipe
    assert recipe.arguments["num_heads"] == 2
    assert_same(tmp_path / "vit.pt", vit(hidden_size=128, num_heads=2), stated)


@pytest.mark.parametrize("prefix", ["backbone.", "backbone.backbone."])
def test_brainiac(tmp_path, prefix):
    network = vit()
    # Its MONAI had no norm before cross-attention yet.
    state = {prefix + k: v for k, v in network.state_dict().items() if "norm_cross" not in k}
    state["projection_head.0.weight"] = torch.ones(3, 3)
    torch.save({"state_dict": state}, tmp_path / "BrainIAC.ckpt")
    (best,) = detect_families(tmp_path / "BrainIAC.ckpt")
    assert best.family == "vit"
    assert best.reasons == (f"a 3D vision transformer, 2 layers of 16, below '{prefix}'",)

    def scaled(data):
        data = data.copy()
        inside = data != 0
        data[inside] = (data[inside] - data[inside].mean()) / data[inside].std()
        return data

    declared = {"network": HEADS}
    embedder = assert_same(tmp_path / "BrainIAC.ckpt", network, declared, lambda x: x[0], scaled)
    assert embedder.recipe.normalisation == "zscore-nonzero"
    checkpoint = load_checkpoint(tmp_path / "BrainIAC.ckpt", declared)
    assert "brain-extracted" in checkpoint.report.warnings[0]
    assert checkpoint.report.states["backbone"].unused == ["projection_head.0.weight"]


def test_a_classifier_gives_its_class_token(tmp_path):
    network = vit(classification=True, num_classes=3)
    torch.save(network.state_dict(), tmp_path / "classifier.pt")
    embedder = assert_same(tmp_path / "classifier.pt", network, STATED, lambda x: x[0])
    assert embedder.recipe.pooling == "first"
    unused = load_checkpoint(tmp_path / "classifier.pt", STATED).report.states["backbone"].unused
    assert unused == ["classification_head.0.bias", "classification_head.0.weight"]


def test_the_encoder_of_unetr_with_biases_and_another_patch_layer(tmp_path):
    network = randomised(
        UNETR(
            1,
            2,
            (32, 32, 32),
            hidden_size=8,
            mlp_dim=12,
            proj_type="perceptron",
            qkv_bias=True,
            **HEADS,
        )
    )
    state = network.state_dict() | {
        # Of older versions: tokens and layers that nothing applies.
        "vit.patch_embedding.cls_token": torch.ones(1, 1, 8),
        "vit.blocks.0.cross_attn.to_q.weight": torch.ones(8, 8),
    }
    torch.save({"model": state}, tmp_path / "unetr.pt")
    assert detect_families(tmp_path / "unetr.pt")[0].family == "vit"
    embedder = assert_same(tmp_path / "unetr.pt", network.vit, STATED)
    assert embedder.recipe.arguments["proj_type"] == "perceptron"
    assert embedder.recipe.arguments["patch_size"] == [16, 16, 16]
    assert embedder.recipe.arguments["qkv_bias"] is True
    unused = load_checkpoint(tmp_path / "unetr.pt", STATED).report.states["backbone"].unused
    assert "vit.blocks.0.cross_attn.to_q.weight" not in unused
    assert {"patch_embedding.cls_token", "blocks.0.cross_attn.to_q.weight"} <= set(unused)
    assert any(name.startswith("decoder") for name in unused)


def test_a_volume_that_is_no_cube_must_be_declared(tmp_path):
    network = vit((8, 16, 12), patch_size=(2, 4, 4), proj_type="perceptron")
    torch.save(network.state_dict(), tmp_path / "slab.pt")
    missing = [fact.name for fact in detect_families(tmp_path / "slab.pt", STATED)[0].missing]
    assert missing == ["shape", "network"]
    # Along X, Y, Z; the network has Z first.
    stated = STATED | {
        "shape": (16, 12, 8),
        "axes": "SRA",
        "network": HEADS | {"patch_size": [2, 4, 4]},
    }
    embedder = assert_same(
        tmp_path / "slab.pt", network, stated, change=lambda x: from_ras(x, "SRA")
    )
    assert embedder.recipe.arguments["img_size"] == [8, 16, 12]
    with pytest.raises(BadInput, match=r"position_embeddings is \(1, 48, 16\)"):
        load_checkpoint(tmp_path / "slab.pt", stated | {"shape": (16, 16, 8)})


def test_converted_it_gives_the_same_vector_and_recipe(autoencoder, tmp_path):
    path, network = autoencoder
    checkpoint = load_checkpoint(path, {"network": HEADS})
    save_checkpoint(
        tmp_path / "own", checkpoint.recipe, {"backbone": checkpoint.weights("backbone")}
    )
    assert assert_same(tmp_path / "own", network, None).recipe == checkpoint.recipe


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("blocks.1.attn.out_proj.weight", torch.ones(16, 8), r"out_proj\.weight is \(16, 8\)"),
        ("blocks.1.norm2.bias", None, r"missing: blocks\.1\.norm2\.bias"),
        ("blocks.1.extra.bias", torch.ones(2), r"not in the network: blocks\.1\.extra\.bias"),
        (
            "patch_embedding.patch_embeddings.weight",
            torch.ones(16, 4, 4, 4, 4),
            "takes 4 channels at once",
        ),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, name, value, message):
    state = dict(vit().state_dict())
    state[name] = value
    if value is None:
        del state[name]
    torch.save(state, tmp_path / "vit.pt")
    with pytest.raises(BadInput, match=message):
        load_checkpoint(tmp_path / "vit.pt", STATED)


def test_a_truncated_file_is_refused(autoencoder, tmp_path):
    data = autoencoder[0].read_bytes()
    (tmp_path / "cut.pt").write_bytes(data[: len(data) // 2])
    with pytest.raises(BadInput, match=r"cut\.pt"):
        detect_families(tmp_path / "cut.pt")
