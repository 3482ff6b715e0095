"""The LDM's own autoencoder as an embedder: its mean latent, coarsely averaged."""

import json
import shutil

import numpy as np
import pytest
import torch

from napari_memscan.checkpoints.loading import load_weights
from napari_memscan.checkpoints.native_format import read_recipe, save_checkpoint
from napari_memscan.checkpoints.networks import build_autoencoder, load_strict
from napari_memscan.checkpoints.recipe import AutoencoderRecipe
from napari_memscan.embedders.interface import Embedder
from napari_memscan.embedders.loading import load_embedder
from napari_memscan.errors import BadInput


@pytest.fixture(scope="module")
def embedder(tiny_ldm):
    return load_embedder(tiny_ldm, "cpu")


def batch(n=3):
    return np.random.default_rng(0).random((n, 1, 16, 16, 16)).astype(np.float32)


def test_it_is_an_embedder(embedder):
    assert isinstance(embedder, Embedder)
    assert embedder.input_shape == (16, 16, 16)
    assert embedder.dim == 3 * 4**3


def test_vectors_are_the_averaged_mean_latent(embedder, tiny_ldm):
    network = build_autoencoder(read_recipe(tiny_ldm).autoencoder)
    load_strict(network, load_weights(tiny_ldm, "autoencoder"), tiny_ldm)
    with torch.no_grad():
        mean = network.encode(torch.from_numpy(batch(2)))[0].numpy()
    expected = mean.reshape(2, 3, 4, 2, 4, 2, 4, 2).mean(axis=(3, 5, 7)).reshape(2, -1)
    vectors = embedder.embed(batch(2))
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(vectors[0], vectors[1], atol=1e-3)


def test_a_vector_does_not_depend_on_its_neighbours_to_the_bit(embedder):
    together = embedder.embed(batch(4))
    torch.manual_seed(5)
    for i, volume in enumerate(batch(4)):
        assert embedder.embed(volume[None])[0].tobytes() == together[i].tobytes()


def test_an_autoencoder_alone_gives_the_same_vectors(embedder, tiny_ldm, tmp_path):
    recipe = read_recipe(tiny_ldm)
    alone = AutoencoderRecipe(autoencoder=recipe.autoencoder, preprocessing=recipe.preprocessing)
    save_checkpoint(tmp_path, alone, {"autoencoder": load_weights(tiny_ldm, "autoencoder")})
    other = load_embedder(tmp_path, "cpu")
    assert np.array_equal(other.embed(batch()), embedder.embed(batch()))
    assert other.hash != embedder.hash


def test_no_volumes_give_no_vectors(embedder):
    assert embedder.embed(batch(0)).shape == (0, 192)


def test_another_shape_is_refused(embedder):
    with pytest.raises(BadInput, match="takes volumes of 16 x 16 x 16"):
        embedder.embed(np.zeros((1, 1, 8, 8, 8), np.float32))


def test_an_autoencoder_of_flat_images_is_told_at_construction(tiny_ldm, tmp_path):
    recipe = read_recipe(tiny_ldm)
    arguments = {**recipe.autoencoder, "spatial_dims": 2}
    flat = recipe.model_copy(update={"autoencoder": arguments})
    weights = {
        "autoencoder": build_autoencoder(arguments).state_dict(),
        "denoiser": load_weights(tiny_ldm, "denoiser"),
    }
    save_checkpoint(tmp_path, flat, weights)
    with pytest.raises(BadInput, match=r"does not take volumes of preprocessing\.shape"):
        load_embedder(tmp_path, "cpu")


def test_weights_that_do_not_fit_are_named(tiny_ldm, tmp_path):
    folder = shutil.copytree(tiny_ldm, tmp_path / "ldm")
    path = folder / "recipe.json"
    recipe = json.loads(path.read_text())
    recipe["autoencoder"]["channels"] = [8, 16]
    path.write_text(json.dumps(recipe))
    with pytest.raises(BadInput, match="recipe and weights do not fit"):
        load_embedder(folder, "cpu")
