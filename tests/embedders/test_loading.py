"""What the user names becomes an embedder."""

import pytest

from napari_memscan.embedders.autoencoder import AutoencoderEmbedder
from napari_memscan.embedders.contrastive import ContrastiveEmbedder
from napari_memscan.embedders.loading import load_embedder
from napari_memscan.embedders.low_resolution import LowResolutionEmbedder
from napari_memscan.errors import BadInput


def test_nothing_and_the_name_give_the_training_free_one():
    for spec in (None, "low-resolution"):
        embedder = load_embedder(spec)
        assert isinstance(embedder, LowResolutionEmbedder)
        assert embedder.size == (12, 12, 12)


def test_a_checkpoint_gives_the_embedder_of_its_kind(tiny_embedder, tiny_ldm):
    assert isinstance(load_embedder(tiny_embedder, "cpu"), ContrastiveEmbedder)
    assert isinstance(load_embedder(str(tiny_embedder / "recipe.json")), ContrastiveEmbedder)
    assert isinstance(load_embedder(str(tiny_ldm), "cpu"), AutoencoderEmbedder)


def test_what_is_no_checkpoint_is_a_message(tmp_path):
    with pytest.raises(BadInput, match="no such file or folder"):
        load_embedder(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"neither weight files nor recipe\.json"):
        load_embedder(tmp_path)


def test_an_unknown_device_is_a_message(tiny_embedder):
    with pytest.raises(BadInput, match="device 'gpu'"):
        load_embedder(tiny_embedder, "gpu")
