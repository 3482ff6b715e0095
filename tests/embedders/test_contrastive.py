"""A trained encoder as an embedder: the paper's scoring, the same bits for each volume."""

import json
import shutil

import numpy as np
import pytest
import torch

from napari_memscan.checkpoints.loading import load_weights
from napari_memscan.checkpoints.native_format import read_recipe, save_checkpoint
from napari_memscan.embedders.interface import Embedder
from napari_memscan.embedders.loading import load_embedder
from napari_memscan.errors import BadInput


@pytest.fixture(scope="module")
def embedder(tiny_embedder):
    return load_embedder(tiny_embedder, "cpu")


def batch(n=3, seed=0):
    return np.random.default_rng(seed).random((n, 1, 16, 16, 16)).astype(np.float32)


def test_it_is_an_embedder(embedder):
    assert isinstance(embedder, Embedder)
    assert embedder.input_shape == (16, 16, 16)
    assert embedder.dim == 6
    assert "contrastive" in embedder.name


def test_vectors_are_the_encoders_on_scaled_then_averaged_volumes(embedder, tiny_embedder):
    from napari_memscan.embedders.contrastive_encoder import ContrastiveEncoder

    network = ContrastiveEncoder(4, (4, 4, 4), (8, 8, 8), 6).eval()
    network.load_state_dict(load_weights(tiny_embedder, "embedder"))
    data = batch(2)
    low, high = (f(data, axis=(1, 2, 3, 4), keepdims=True) for f in (np.min, np.max))
    scaled = 2 * (data - low) / (high - low + 1e-4) - 1
    small = scaled.reshape(2, 1, 8, 2, 8, 2, 8, 2).mean(axis=(3, 5, 7))
    with torch.no_grad():
        expected = network(torch.from_numpy(small)).numpy()
    vectors = embedder.embed(data)
    assert vectors.shape == (2, 6)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-4)
    assert not np.allclose(vectors[0], vectors[1], atol=1e-3)


def test_a_vector_does_not_depend_on_its_neighbours_to_the_bit(embedder, tiny_embedder):
    together = embedder.embed(batch(4))
    for i, volume in enumerate(batch(4)):
        assert embedder.embed(volume[None])[0].tobytes() == together[i].tobytes()
    again = load_embedder(tiny_embedder, "cpu").embed(batch(4))
    assert again.tobytes() == together.tobytes()


def test_brightness_does_not_count(embedder):
    first, second = embedder.embed(np.concatenate([batch(1), 0.5 * batch(1) + 0.2]))
    np.testing.assert_allclose(first, second, rtol=1e-2, atol=1e-2)


def test_volumes_are_turned_to_the_axes_of_the_network(tmp_path):
    """RAS volumes and a network that takes depth first: S, R, A."""
    from napari_memscan.checkpoints.recipe import ContrastiveRecipe
    from napari_memscan.embedders.contrastive_encoder import ContrastiveEncoder, scale_to_unit
    from napari_memscan.volumes.preprocessing import MinMax, Preprocessing

    recipe = ContrastiveRecipe(
        input_shape=(16, 8, 4),
        working_shape=(4, 16, 8),
        downsample=(1, 4, 2),
        n_hiddens=4,
        dim=6,
        axes="SRA",
        preprocessing=Preprocessing(shape=(16, 8, 4), intensity=MinMax()),
    )
    network = ContrastiveEncoder(4, (1, 4, 2), (4, 16, 8), 6).eval()
    random = torch.Generator().manual_seed(0)
    weights = {
        key: 0.3 * torch.randn(value.shape, generator=random)
        for key, value in network.state_dict().items()
    }
    network.load_state_dict(weights)
    save_checkpoint(tmp_path, recipe, {"embedder": weights})
    data = np.random.default_rng(0).random((2, 1, 16, 8, 4)).astype(np.float32)
    with torch.no_grad():
        transposed = torch.from_numpy(data.transpose(0, 1, 4, 2, 3).copy())
        expected = network(scale_to_unit(transposed)).numpy()
    found = load_embedder(tmp_path, "cpu").embed(data)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert np.abs(found[0] - found[1]).max() > 1e-3


def test_no_volumes_give_no_vectors(embedder):
    assert embedder.embed(batch(0)).shape == (0, 6)


def test_the_hash_follows_the_weights(embedder, tiny_embedder, tmp_path):
    weights = load_weights(tiny_embedder, "embedder")
    weights["dense.4.bias"][0] += 1e-3
    save_checkpoint(tmp_path, read_recipe(tiny_embedder), {"embedder": weights})
    assert load_embedder(tmp_path, "cpu").hash != embedder.hash
    assert load_embedder(tiny_embedder, "cpu").hash == embedder.hash


def test_another_shape_or_nan_is_refused(embedder):
    with pytest.raises(BadInput, match=r"takes volumes of 16 x 16 x 16, these are 16 x 16 x 12"):
        embedder.embed(batch()[..., :12])
    data = batch()
    data[2, 0, 0, 0, 0] = np.nan
    with pytest.raises(BadInput, match="NaN or infinity"):
        embedder.embed(data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": 7}, r"dense\.4\.bias is \(6,\), the recipe makes it \(7,\)"),
        ({"downsample": [3, 4, 4]}, r"recipe\.json: downsample \(3, 4, 4\) must be powers of two"),
        ({"downsample": [2, 4, 4]}, "dense.1.weight"),
    ],
)
def test_a_recipe_that_does_not_fit_is_a_message(tiny_embedder, tmp_path, changes, message):
    folder = shutil.copytree(tiny_embedder, tmp_path / "embedder")
    path = folder / "recipe.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(BadInput, match=message):
        load_embedder(folder, "cpu")
