"""Pooled features of a network of others: preprocessing, axes, pooling, the same bits each time."""

import json
import shutil

import numpy as np
import pytest
import torch

from napari_memscan.checkpoints.backbone_networks import build_backbone, pool_features
from napari_memscan.checkpoints.loading import describe_checkpoint, load_weights
from napari_memscan.checkpoints.native_format import read_recipe, save_checkpoint
from napari_memscan.checkpoints.recipe import BackboneRecipe
from napari_memscan.embedders.backbone_embedder import BackboneEmbedder, standardise_nonzero
from napari_memscan.embedders.interface import Embedder
from napari_memscan.embedders.loading import load_embedder
from napari_memscan.errors import BadInput
from napari_memscan.volumes.orientation import from_ras
from napari_memscan.volumes.preprocessing import MinMax, Preprocessing, Window

SHAPE = (16, 12, 8)
NETWORKS = {
    "ResNet": {
        "block": "basic",
        "layers": [1, 1, 1, 1],
        "block_inplanes": [3, 4, 5, 6],
        "n_input_channels": 1,
        "conv1_t_size": [3, 3, 3],
        "conv1_t_stride": 1,
        "feed_forward": False,
        "dilated": True,
    },
    "SwinViT": {
        "in_chans": 1,
        "embed_dim": 2,
        "window_size": [2, 2, 2],
        "patch_size": [2, 2, 2],
        "depths": [1, 1, 1, 1],
        "num_heads": [1, 1, 1, 1],
    },
    "SegResEncoder": {"init_filters": 3, "in_channels": 1, "blocks_down": [1, 1]},
    "ViT": {
        "in_channels": 1,
        "img_size": [8, 12, 16],
        "patch_size": [4, 4, 4],
        "hidden_size": 6,
        "mlp_dim": 8,
        "num_layers": 1,
        "num_heads": 2,
    },
}
FEATURES = {"ResNet": 6, "SwinViT": 32, "SegResEncoder": 6, "ViT": 6}


def randomised(network, seed=0):
    random = torch.Generator().manual_seed(seed)
    state = network.state_dict()
    for name, value in state.items():
        noise = torch.randn(value.shape, generator=random)
        if name.endswith("running_var"):
            state[name] = 0.5 + noise.abs()
        elif value.is_floating_point():
            state[name] = 0.1 * noise + 0.3 if value.ndim == 1 else 0.2 * noise
    network.load_state_dict(state)
    return network.eval()


def recipe(network="SegResEncoder", **more):
    return BackboneRecipe(
        network=network,
        arguments=NETWORKS[network],
        input_shape=SHAPE,
        preprocessing=Preprocessing(shape=SHAPE, intensity=MinMax()),
        **{"axes": "SPL", "normalisation": "zscore-nonzero", **more},
    )


def saved(folder, value):
    network = randomised(build_backbone(value.network, value.arguments))
    save_checkpoint(folder, value, {"backbone": network.state_dict()})
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("tiny") / "backbone", recipe())


@pytest.fixture(scope="module")
def embedder(tiny):
    return load_embedder(tiny, "cpu")


def batch(n=3, seed=0):
    data = np.random.default_rng(seed).random((n, 1, *SHAPE)).astype(np.float32)
    data[:, :, :3] = 0
    return data


def test_it_is_an_embedder_and_is_found_by_its_checkpoint(embedder, tiny):
    assert isinstance(embedder, Embedder)
    assert embedder.input_shape is None
    assert embedder.recipe.input_shape == SHAPE
    assert embedder.dim == 6
    assert embedder.name == "SegResNet encoder, 6 features"
    assert embedder.preprocessing.shape == SHAPE
    loaded = load_embedder(tiny, "cpu")
    assert isinstance(loaded, BackboneEmbedder)
    assert loaded.hash == embedder.hash
    assert "pooled features of a SegResEncoder: 16 x 12 x 8" in describe_checkpoint(tiny)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_vectors_are_pooled_features_of_turned_and_scaled_volumes(tmp_path, network, pooling):
    value = recipe(network, pooling=pooling)
    embedder = load_embedder(saved(tmp_path / "own", value), "cpu")
    module = randomised(build_backbone(network, NETWORKS[network]))
    assert embedder.dim == FEATURES[network]
    data = batch(2)
    turned = np.stack([from_ras(volume[0], "SPL") for volume in data])[:, None]
    assert turned.shape == (2, 1, 8, 12, 16)
    scaled = np.stack([standardise_nonzero(volume) for volume in turned])
    with torch.no_grad():
        features = module(torch.from_numpy(scaled)).flatten(2)
    expected = features.mean(2) if pooling == "mean" else features[:, :, 0]
    found = embedder.embed(data)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-5


def test_without_normalisation_volumes_stay_as_they_are(tmp_path, embedder):
    value = recipe(normalisation="none", axes="RAS")
    other = load_embedder(saved(tmp_path / "own", value), "cpu")
    module = randomised(build_backbone("SegResEncoder", NETWORKS["SegResEncoder"]))
    with torch.no_grad():
        expected = pool_features(module(torch.from_numpy(batch())), "mean").numpy()
    np.testing.assert_allclose(other.embed(batch()), expected, rtol=1e-5, atol=1e-5)
    assert np.abs(other.embed(batch()) - embedder.embed(batch())).max() > 1e-3
    assert other.hash != embedder.hash


def test_the_z_score_leaves_zeros_alone():
    data = np.array([[[0, 0, 0.2], [0.4, 0.6, 0.8]]], np.float32)
    result = standardise_nonzero(data)
    assert (result[data == 0] == 0).all()
    inside = result[data != 0]
    assert inside.mean() == pytest.approx(0, abs=1e-6)
    assert inside.std() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(standardise_nonzero(data / 2), result, atol=1e-6)
    assert not standardise_nonzero(np.zeros((2, 2, 2), np.float32)).any()
    assert not standardise_nonzero(np.full((2, 2, 2), 0.5, np.float32)).any()


def test_a_vector_does_not_depend_on_its_neighbours_to_the_bit(embedder, tiny):
    together = embedder.embed(batch(4))
    for i, volume in enumerate(batch(4)):
        assert embedder.embed(volume[None])[0].tobytes() == together[i].tobytes()
    assert load_embedder(tiny, "cpu").embed(batch(4)).tobytes() == together.tobytes()
    assert embedder.embed(batch(0)).shape == (0, 6)


def test_the_hash_follows_the_weights(embedder, tiny, tmp_path):
    weights = load_weights(tiny, "backbone")
    weights["conv_init.weight"][0] += 1e-3
    save_checkpoint(tmp_path, read_recipe(tiny), {"backbone": weights})
    assert load_embedder(tmp_path, "cpu").hash != embedder.hash
    assert load_embedder(tiny, "cpu").hash == embedder.hash


def test_nan_is_refused(embedder):
    data = batch()
    data[2, 0, 0, 0, 0] = np.nan
    with pytest.raises(BadInput, match="NaN or infinity"):
        embedder.embed(data)


@pytest.mark.parametrize(
    ("network", "changes", "message"),
    [
        ("SegResEncoder", {"init_filters": 4}, r"conv_init\.weight is \(3, 1, 3, 3, 3\)"),
        ("SegResEncoder", {"blocks": [1]}, "do not build a SegResEncoder"),
        ("SegResEncoder", {"in_channels": 4}, "takes 4 channels at once"),
        ("ViT", {"img_size": [8, 8, 16]}, "does not take volumes of 8 x 12 x 16"),
        ("ViT", {"num_heads": 4}, "do not build a ViT"),
        ("ViT", {"num_layers": 10**12}, "more than 1000 layers"),
        ("ViT", {"num_layers": "many"}, "do not build a ViT"),
        ("ResNet", {"layers": [10**9, 1, 1, 1]}, "more than 1000 layers"),
        # Would be petabytes if it were built before names and shapes are compared.
        ("ViT", {"mlp_dim": 10**14}, r"linear1\.bias is \(8,\)"),
    ],
)
def test_a_recipe_that_does_not_fit_is_a_message(tmp_path, network, changes, message):
    folder = saved(tmp_path / "own", recipe(network))
    path = folder / "recipe.json"
    value = json.loads(path.read_text())
    value["arguments"] |= changes
    path.write_text(json.dumps(value))
    with pytest.raises(BadInput, match=message):
        load_embedder(folder, "cpu")


def test_an_empty_weight_file_is_a_message(tiny, tmp_path):
    folder = shutil.copytree(tiny, tmp_path / "own")
    (folder / "backbone.safetensors").write_bytes(b"")
    with pytest.raises(BadInput, match="is empty"):
        load_embedder(folder, "cpu")


def test_volumes_of_another_shape_are_resized(embedder):
    import torch.nn.functional as functional

    data = np.random.default_rng(3).random((1, 1, 20, 9, 11)).astype(np.float32)
    small = functional.interpolate(
        torch.from_numpy(data), SHAPE, mode="trilinear", align_corners=False
    ).numpy()
    assert np.array_equal(embedder.embed(data), embedder.embed(small))


def test_between_two_windows_intensities_are_converted_else_it_is_said(tmp_path):
    narrow = Preprocessing(shape=SHAPE, intensity=Window(low=-100, high=100))
    wide = Preprocessing(shape=SHAPE, intensity=Window(low=-1000, high=1000))
    changed = recipe(normalisation="none").model_copy(update={"preprocessing": narrow})
    embedder = load_embedder(saved(tmp_path / "b", changed), "cpu")
    units = np.random.default_rng(0).uniform(-150, 150, (1, 1, *SHAPE)).astype(np.float32)
    as_trained = embedder.embed(np.clip((units + 100) / 200, 0, 1))
    embedder.adapt_to(wide)
    assert np.allclose(embedder.embed((units + 1000) / 2000), as_trained, atol=1e-5)
    assert embedder.warning == ""
    embedder.adapt_to(Preprocessing(shape=SHAPE, intensity=MinMax()))
    assert "scaled by window, this study scales by minmax" in embedder.warning
