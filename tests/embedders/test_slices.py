"""Slices through a 2D network: how they lie, how they are pooled, the same bits each time."""

import json
import shutil

import numpy as np
import pytest
import torch

from napari_memscan.checkpoints.backbone_networks import build_backbone
from napari_memscan.checkpoints.loading import load_weights
from napari_memscan.checkpoints.native_format import read_recipe, save_checkpoint
from napari_memscan.checkpoints.recipe import SlicesRecipe
from napari_memscan.embedders import slices as module
from napari_memscan.embedders.interface import Embedder
from napari_memscan.embedders.loading import load_embedder
from napari_memscan.embedders.slices import SlicesEmbedder, extract_slices, pool_slices
from napari_memscan.errors import BadInput
from napari_memscan.volumes.preprocessing import MinMax, Preprocessing

ARGUMENTS = {
    "block": "basic",
    "layers": [1, 1, 1, 1],
    "block_inplanes": [3, 4, 5, 6],
    "n_input_channels": 1,
    "conv1_t_size": [3, 3],
    "conv1_t_stride": 1,
    "feed_forward": False,
}


def saved(folder, **more):
    recipe = SlicesRecipe(network="ResNet", arguments=ARGUMENTS, mean=(0.2,), std=(0.5,), **more)
    network = build_backbone("ResNet", ARGUMENTS, dimensions=2)
    random = torch.Generator().manual_seed(0)
    state = network.state_dict()
    for name, value in state.items():
        if value.is_floating_point():
            state[name] = 0.3 * torch.randn(value.shape, generator=random)
        if name.endswith("running_var"):
            state[name] = 0.5 + state[name].abs()
    save_checkpoint(folder, recipe, {"backbone": state})
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("tiny") / "slices")


@pytest.fixture(scope="module")
def embedder(tiny):
    return load_embedder(tiny, "cpu")


def batch(n=3, shape=(16, 12, 8)):
    return np.random.default_rng(0).random((n, 1, *shape)).astype(np.float32)


def test_it_is_an_embedder_of_volumes_of_any_shape(embedder):
    assert isinstance(embedder, SlicesEmbedder)
    assert isinstance(embedder, Embedder)
    assert (embedder.input_shape, embedder.dim) == (None, 12)
    assert embedder.name == "2D ResNet over slices along Z, mean+std, 12 features"
    for shape in ((16, 12, 8), (5, 30, 1)):
        assert embedder.embed(batch(2, shape)).shape == (2, 12)
    embedder.adapt_to(Preprocessing(shape=(4, 4, 4), intensity=MinMax()))


def test_slices_lie_as_radiologists_view_them():
    volume = np.zeros((4, 5, 6), np.float32)
    volume[3, 4, 5] = 1  # right, anterior, superior
    volume[0, 4, 5] = 2  # left, anterior, superior
    volume[3, 0, 5] = 3  # right, posterior, superior
    axial, coronal, sagittal = (extract_slices(volume, axis) for axis in "ZYX")
    assert (axial.shape, coronal.shape, sagittal.shape) == ((6, 5, 4), (5, 6, 4), (4, 6, 5))
    assert (axial[5][0, 0], axial[5][0, -1], axial[5][-1, 0]) == (1, 2, 3)
    assert (coronal[4][0, 0], coronal[4][0, -1], coronal[0][0, 0]) == (1, 2, 3)
    assert (sagittal[3][0, 0], sagittal[0][0, 0], sagittal[3][0, -1]) == (1, 2, 3)


def test_slices_are_pooled_as_their_names_say():
    features = torch.tensor([[1.0, -2.0], [3.0, 0.0], [5.0, 2.0]])
    for pooling, expected in {
        "mean": [3, 0],
        "max": [5, 2],
        "mean+std": [3, 0, np.sqrt(8 / 3), np.sqrt(8 / 3)],
        "gem": [np.cbrt((1 + 27 + 125) / 3), np.cbrt(8 / 3)],
    }.items():
        np.testing.assert_allclose(pool_slices(features, pooling).numpy(), expected, rtol=1e-9)
    with pytest.raises(BadInput, match="pooling 'median': choose mean, max"):
        pool_slices(features, "median")
    assert not pool_slices(features[:1], "mean+std")[2:].any()


def test_a_vector_does_not_depend_on_its_neighbours_to_the_bit(embedder, tiny):
    together = embedder.embed(batch(4))
    for i, volume in enumerate(batch(4)):
        assert embedder.embed(volume[None])[0].tobytes() == together[i].tobytes()
    assert load_embedder(tiny, "cpu").embed(batch(4)).tobytes() == together.tobytes()
    assert embedder.embed(batch(0)).shape == (0, 12)
    mirrored = embedder.embed(batch(4)[..., ::-1])
    np.testing.assert_allclose(mirrored, together, rtol=1e-5, atol=1e-6)


def test_few_slices_at_a_time_give_the_same_vector(embedder, monkeypatch):
    whole = embedder.embed(batch(2))
    seen = []
    hook = embedder._network.register_forward_hook(lambda _, x, __: seen.append(len(x[0])))
    monkeypatch.setattr(module, "MAX_PIXELS", 3 * 16 * 12 + 5)
    np.testing.assert_allclose(embedder.embed(batch(2)), whole, rtol=1e-5, atol=1e-6)
    hook.remove()
    assert seen == [3, 3, 2] * 2


def test_the_hash_follows_weights_pooling_and_axes(embedder, tiny, tmp_path):
    hashes = {embedder.hash, load_embedder(tiny, "cpu").hash}
    assert len(hashes) == 1
    for i, more in enumerate(
        ({"pooling": "mean"}, {"slice_axes": "XYZ"}, {"slice_shape": (9, 9)}, {"features": "first"})
    ):
        hashes.add(load_embedder(saved(tmp_path / str(i), **more), "cpu").hash)
    weights = load_weights(tiny, "backbone")
    weights["conv1.weight"][0] += 1e-3
    save_checkpoint(tmp_path / "w", read_recipe(tiny), {"backbone": weights})
    hashes.add(load_embedder(tmp_path / "w", "cpu").hash)
    assert len(hashes) == 6


def test_nan_and_volumes_without_slices_are_refused(embedder):
    data = batch()
    data[2, 0, 0, 0, 0] = np.nan
    with pytest.raises(BadInput, match="NaN or infinity"):
        embedder.embed(data)
    with pytest.raises(BadInput, match="has no slices"):
        embedder.embed(batch(1, (4, 4, 0)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pooling": "median"}, "pooling: Input should be"),
        ({"slice_axes": "ZZ"}, "slice_axes: Input should be"),
        ({"mean": [0.1, 0.2]}, "one number for each input channel"),
        ({"std": [0]}, "std.0: Input should be greater than 0"),
        ({"mean": [0, 0, 0], "std": [1, 1, 1]}, "takes 1 channels at once; it is given 3"),
        ({"arguments": ARGUMENTS | {"spatial_dims": 3}}, "do not build a ResNet"),
        ({"arguments": ARGUMENTS | {"dilated": True}}, "dilated is for three"),
        ({"arguments": ARGUMENTS | {"block_inplanes": [3, 4, 5, 7]}}, "do not fit"),
        ({"network": "SwinViT"}, "do not build a SwinViT"),
    ],
)
def test_a_recipe_that_does_not_fit_is_a_message(tiny, tmp_path, changes, message):
    folder = shutil.copytree(tiny, tmp_path / "own")
    path = folder / "recipe.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(BadInput, match=message):
        load_embedder(folder, "cpu")
