"""A volume as the autoencoder gives it back."""

from __future__ import annotations

import numpy as np
import pytest

from napari_memscan.generators.ldm import LDMGenerator
from napari_memscan.generators.roundtrip import reconstruct_volume


@pytest.fixture(scope="module")
def generator(tiny_ldm):
    return LDMGenerator(tiny_ldm)


def test_it_is_encoding_and_decoding_by_hand_and_repeats(generator):
    import torch

    volume = np.random.default_rng(0).random((16, 16, 16)).astype(np.float32)
    result = reconstruct_volume(generator, volume)
    network = generator.model.codec.network
    with torch.inference_mode():
        mean, _ = network.encode(torch.from_numpy(volume)[None, None])
        by_hand = network.decode(mean)[0, 0].numpy().clip(0, 1)
    assert result.shape == volume.shape
    assert result.dtype == np.float32
    assert np.allclose(result, by_hand, atol=1e-6)
    assert np.array_equal(result, reconstruct_volume(generator, volume))


def test_axes_of_the_model_are_turned_and_turned_back(generator, monkeypatch):
    volume = np.random.default_rng(1).random((16, 16, 16)).astype(np.float32)
    straight = reconstruct_volume(generator, np.ascontiguousarray(volume[::-1]))
    turned = generator.recipe.model_copy(update={"axes": "LAS"})
    monkeypatch.setattr(generator, "recipe", turned)
    monkeypatch.setattr(generator.model.codec, "recipe", turned)
    assert np.allclose(reconstruct_volume(generator, volume), straight[::-1], atol=1e-6)
