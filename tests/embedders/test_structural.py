"""A structural checkpoint as an embedder: the same bits for each volume, flips do not count."""

import json
import shutil

import numpy as np
import pytest
import torch

from napari_memscan.checkpoints.loading import load_weights
from napari_memscan.checkpoints.native_format import read_recipe, save_checkpoint
from napari_memscan.checkpoints.recipe import StructuralRecipe
from napari_memscan.embedders.interface import Embedder
from napari_memscan.embedders.loading import load_embedder
from napari_memscan.embedders.multiscale_encoder import (
    AXIS_FLIPS,
    GeneralisedMeanPool,
    MultiScaleEncoder,
    standardise_volumes,
)
from napari_memscan.errors import BadInput
from napari_memscan.volumes.preprocessing import MinMax, Preprocessing

SHAPE = (16, 12, 8)


def batch(n=3, seed=0):
    return np.random.default_rng(seed).random((n, 1, *SHAPE)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    recipe = StructuralRecipe(
        input_shape=SHAPE,
        working_shape=(8, 6, 8),
        width=4,
        stages=2,
        cells=2,
        hidden=10,
        dim=6,
        preprocessing=Preprocessing(shape=SHAPE, intensity=MinMax()),
    )
    network = MultiScaleEncoder((8, 6, 8), 4, 2, 2, 6, 10)
    random = torch.Generator().manual_seed(0)
    weights = {
        key: 1.5 + torch.rand(value.shape, generator=random)
        if key.endswith(".p")
        else 0.4 * torch.randn(value.shape, generator=random)
        for key, value in network.state_dict().items()
    }
    path = tmp_path_factory.mktemp("structural")
    save_checkpoint(path, recipe, {"embedder": weights})
    return path


@pytest.fixture(scope="module")
def embedder(folder):
    return load_embedder(folder, "cpu")


def test_it_is_an_embedder(embedder):
    assert isinstance(embedder, Embedder)
    assert (embedder.input_shape, embedder.dim) == (SHAPE, 6)
    vectors = embedder.embed(batch())
    assert (vectors.shape, vectors.dtype) == ((3, 6), np.float32)
    np.testing.assert_allclose(vectors.mean(1), 0, atol=1e-5)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3
    assert embedder.embed(batch(0)).shape == (0, 6)


def test_a_vector_does_not_depend_on_its_neighbours_to_the_bit(embedder, folder):
    together = embedder.embed(batch(4))
    for i, volume in enumerate(batch(4)):
        assert embedder.embed(volume[None])[0].tobytes() == together[i].tobytes()
    assert load_embedder(folder, "cpu").embed(batch(4)).tobytes() == together.tobytes()


def test_flips_brightness_and_contrast_do_not_count(embedder):
    first = embedder.embed(batch(1))
    for axes in AXIS_FLIPS:
        flipped = 0.5 * np.flip(batch(1), axes) + 0.2
        np.testing.assert_allclose(embedder.embed(flipped), first, rtol=1e-2, atol=1e-2)


def test_the_template_is_the_mean_of_volumes_turned_alike():
    network = MultiScaleEncoder((8, 6, 8), 4, 2, 2, 6, 10)
    x = standardise_volumes(torch.randn(1, 1, 8, 6, 8, generator=torch.Generator().manual_seed(0)))
    turned = torch.cat([x, x.flip(2), x, x.flip((3, 4)), x])
    network.learn_template(turned)
    template = network.template.clone()
    alike = [(template - x.flip(axes)).abs().max() < 0.1 for axes in AXIS_FLIPS]
    assert sum(map(bool, alike)) == 1


def test_gem_with_exponent_one_is_the_mean_and_large_ones_near_the_maximum():
    x = torch.rand(2, 3, 4, 4, 4, generator=torch.Generator().manual_seed(0)) + 0.1
    cells = x.reshape(2, 3, 2, 2, 2, 2, 2, 2).mean(dim=(3, 5, 7)).flatten(1)
    torch.testing.assert_close(GeneralisedMeanPool(2, 1.0)(x), cells)
    peaks, pooled = x.amax(dim=(2, 3, 4)), GeneralisedMeanPool(1, 8.0)(x)
    assert (pooled < peaks).all()
    assert (pooled > x.mean(dim=(2, 3, 4))).all()
    assert GeneralisedMeanPool(9)(x).shape == (2, 3 * 64)


def test_the_hash_follows_the_weights(embedder, folder, tmp_path):
    weights = load_weights(folder, "embedder")
    weights["template"][0] += 1e-3
    save_checkpoint(tmp_path, read_recipe(folder), {"embedder": weights})
    assert load_embedder(tmp_path, "cpu").hash != embedder.hash
    assert load_embedder(folder, "cpu").hash == embedder.hash


def test_another_shape_and_nan_are_refused(embedder):
    with pytest.raises(BadInput, match="takes volumes of 16 x 12 x 8"):
        embedder.embed(batch()[..., :6])
    data = batch()
    data[0, 0, 0, 0, 0] = np.nan
    with pytest.raises(BadInput, match="NaN or infinity"):
        embedder.embed(data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": 7}, r"head\.4\.bias is \(6,\), the recipe makes it \(7,\)"),
        ({"width": 6}, r"recipe\.json: width 6 must be a multiple of 4"),
        ({"stages": 8}, r"recipe\.json: 8 stages"),
        ({"working_shape": [8, 8, 8]}, "template is"),
        ({"cells": 0}, "cells"),
    ],
)
def test_a_recipe_that_does_not_fit_is_a_message(folder, tmp_path, changes, message):
    own = shutil.copytree(folder, tmp_path / "own")
    path = own / "recipe.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(BadInput, match=message):
        load_embedder(own, "cpu")
