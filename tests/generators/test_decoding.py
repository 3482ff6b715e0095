"""Whole where it fits, else window by window: chosen by memory, recorded, near to the whole."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_memscan.checkpoints.networks import build_autoencoder
from napari_memscan.errors import BadInput
from napari_memscan.generators import decoding
from napari_memscan.generators import memory as needs
from napari_memscan.generators.ldm import LDMGenerator
from napari_memscan.generators.sample import GeneratedSample

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def generator(tiny_ldm):
    return LDMGenerator(tiny_ldm, "cpu")


@pytest.fixture(scope="module")
def large(generator):
    """The tiny model with a large latent, on the meta device."""
    from napari_memscan.checkpoints.latent_model import LatentModel

    shape = generator.recipe.preprocessing.model_copy(update={"shape": (128, 96, 32)})
    recipe = generator.recipe.model_copy(
        update={"latent_shape": (3, 64, 48, 16), "preprocessing": shape}
    )
    with torch.device("meta"):
        return LatentModel(recipe, build_autoencoder(recipe.autoencoder), None)


def volume(generator, **options):
    (sample,) = (s for s in generator.generate([3], **options) if isinstance(s, GeneratedSample))
    return sample


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        (1.1, "whole"),
        (0.99, "window:32x48x16:0.5"),
        (0.4, "window:32x24x16:0.5"),
        (0.26, "window:16x24x16:0.5"),
        (0.0, "window:8x8x8:0.5"),
    ],
)
def test_the_window_is_halved_until_it_fits(large, monkeypatch, room, expected):
    latent = torch.zeros((1, 3, 64, 48, 16), device="meta")
    whole = (
        needs.estimate_need(large.decode, latent).bytes
        * needs.WORKSPACE_FACTOR
        / needs.USABLE_SHARE
    )
    monkeypatch.setattr(needs, "get_free_bytes", lambda device: room * whole)
    assert decoding.choose_decoding(large, CPU) == expected


def test_windows_can_be_asked_for_where_the_whole_would_fit(large):
    assert decoding.choose_decoding(large, CPU, "whole") == "whole"
    assert decoding.choose_decoding(large, CPU, "window") == "window:32x48x16:0.5"
    assert decoding.choose_decoding(large, CPU, "window:7x8x9:0.25") == "window:7x8x9:0.25"


@pytest.mark.parametrize(
    "wrong",
    ["half", "window:8x8:0.5", "window:8x8x8", "window:0x8x8:0.5", "window:8x8x8:1", "w:8x8x8:0"],
)
def test_other_ways_are_refused(large, wrong):
    with pytest.raises(BadInput, match="choose auto, whole, window"):
        decoding.choose_decoding(large, CPU, wrong)


def test_a_window_over_everything_gives_the_whole(generator):
    latent = torch.randn((1, 3, 8, 8, 8), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole = decoding.decode_latent(generator.model, latent)
        one = decoding.decode_latent(generator.model, latent, "window:8x8x8:0.5")
    assert whole.shape == one.shape == (1, 1, 16, 16, 16)
    assert torch.allclose(whole, one, atol=1e-5)


def test_windows_of_a_network_that_looks_near_give_the_whole():
    """Without normalisation and attention the middle of a window knows all it needs."""
    torch.manual_seed(0)
    layer = torch.nn.ConvTranspose3d(3, 1, 2, stride=2)
    codec = SimpleNamespace(unscaled=lambda x: x, decode_unscaled=layer)
    model = SimpleNamespace(codec=codec)
    latent = torch.randn(1, 3, 12, 10, 8)
    with torch.inference_mode():
        windowed = decoding.decode_latent(model, latent, "window:6x6x6:0.5")
        assert torch.allclose(windowed, layer(latent), atol=1e-5)


@pytest.mark.slow
def test_windowed_samples_are_near_the_whole_ones_and_say_so(tmp_path):
    """On the demo's model, windows of 8 out of 12 cells: a correlation above 0.9 is left."""
    from napari_memscan.demo.study import get_demo_checkpoint

    demo = LDMGenerator(get_demo_checkpoint("ldm"), "cpu")
    fixed = {"steps": 2, "precision": "float32", "batch": 1}
    whole = volume(demo, decode="whole", **fixed)
    windowed = volume(demo, decode="window:8x8x8:0.5", **fixed)
    assert windowed.settings.endswith("decode=window:8x8x8:0.5")
    a, b = whole.volume.data, windowed.volume.data
    assert a.shape == b.shape
    assert 0.9 < np.corrcoef(a.ravel(), b.ravel())[0, 1] < 0.9999
