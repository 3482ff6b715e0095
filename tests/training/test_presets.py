"""Presets at their full size without memory, and a few steps of each with narrow networks."""

import numpy as np
import pytest
import torch

from napari_memscan.checkpoints.latent_model import LatentCodec
from napari_memscan.checkpoints.native_format import read_recipe
from napari_memscan.checkpoints.networks import build_autoencoder, build_denoiser
from napari_memscan.checkpoints.recipe import AutoencoderRecipe
from napari_memscan.embedders.contrastive_encoder import ContrastiveEncoder
from napari_memscan.errors import BadInput
from napari_memscan.training import resources as planning
from napari_memscan.training.presets import PRESET_SHAPES, PRESETS, get_preset, merge_settings
from napari_memscan.training.run import measure_training
from napari_memscan.training.settings import get_settings_class
from napari_memscan.volumes.preprocessing import MinMax, Preprocessing


def settings(name, part, **changes):
    return get_settings_class(part).model_validate(merge_settings(get_preset(name, part), changes))


@pytest.fixture(scope="module")
def small():
    """As few and small volumes as the networks and batches of all presets can take."""
    volumes = np.random.default_rng(0).random((6, 32, 32, 32)).astype(np.float32)
    return {"training": volumes[:5], "validation": volumes[5:]}


def parameters(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("name", "latent", "weights"),
    [("paper-ct", (8, 16, 16, 16), 3_019_960), ("paper-knee", (8, 8, 64, 64), 35_730_328)],
)
def test_networks_of_the_paper_fit_its_volumes(name, latent, weights):
    chosen = settings(name, "autoencoder")
    recipe = Preprocessing(shape=PRESET_SHAPES[name], intensity=MinMax())
    with torch.device("meta"):
        network = build_autoencoder(chosen.arguments())
        codec = LatentCodec(
            AutoencoderRecipe(autoencoder=chosen.arguments(), preprocessing=recipe), network
        )
        found = network.encode(torch.zeros(1, 1, *PRESET_SHAPES[name]))
        assert tuple(found.shape[1:]) == latent
        assert codec.network.decode(found).shape[2:] == PRESET_SHAPES[name]
        denoiser = build_denoiser(settings(name, "denoiser").arguments(8))
        made = denoiser(torch.zeros(1, *latent), torch.zeros(1))
    assert tuple(made.shape[1:]) == latent
    # As published: the paper's own denoiser.
    assert parameters(denoiser) == weights
    embedder = settings(name, "embedder")
    with torch.device("meta"):
        encoder = ContrastiveEncoder(16, embedder.downsample, PRESET_SHAPES[name], 32)
        assert encoder(torch.zeros(2, 1, *PRESET_SHAPES[name])).shape == (2, 32)


def test_tiny_is_the_default():
    for part in PRESETS["tiny"]:
        assert settings("tiny", part) == get_settings_class(part)()


@pytest.mark.parametrize("name", ["paper-ct", "paper-knee"])
def test_a_narrow_model_of_the_preset_trains(name, cells, fit, tmp_path):
    few = {"steps": 3, "batch": 2, "accumulate": 2}
    narrow = {"channels": (8, 8), "num_embeddings": 16, "critic_channels": 4, "critic_layers": 1}
    early = {"quantise_after": 1, "adversarial_start": 1}
    chosen = settings(name, "autoencoder", **few, **narrow, **early)
    assert (chosen.l1_weight, chosen.perceptual_weight, chosen.adversarial_weight) == (4, 4, 1)
    fit("autoencoder", cells, tmp_path / "ae", chosen)
    denoiser = settings(
        name,
        "denoiser",
        **few,
        channels=(8, 16),
        scheduler={"num_train_timesteps": 9},
        sample_steps=9,
    )
    fit("denoiser", cells, tmp_path / "d", denoiser, autoencoder=tmp_path / "ae")
    recipe = read_recipe(tmp_path / "d")
    assert recipe.denoiser["network"] == "VideoUNet"
    assert (recipe.sampler, recipe.steps) == ("ddpm", 9)
    assert (recipe.scheduler.schedule, recipe.scheduler.prediction_type) == ("cosine", "epsilon")


NARROW = {
    "autoencoder": {
        "channels": (8, 16),
        "batch": 2,
        "accumulate": 1,
        "critic_channels": 8,
        "num_embeddings": 64,
    },
    "denoiser": {"channels": (8, 16, 32, 64), "batch": 2, "accumulate": 1},
    "embedder": {"n_hiddens": 4, "batch": 4},
}
"""Of the paper's parts: as many levels as theirs, of an eighth of the width."""
# Their own working shapes take minutes here.
WORKING_SHAPES = {"paper-ct": (32, 32, 32), "paper-knee": (8, 64, 64)}
PRESET_WIDTHS = [
    pytest.param(name, wide, marks=[pytest.mark.long] if wide and name != "tiny" else [])
    for name in PRESETS
    for wide in (True, False)
    if wide or name != "tiny"
]


@pytest.mark.parametrize("part", ["autoencoder", "denoiser", "embedder"])
@pytest.mark.parametrize(("name", "wide"), PRESET_WIDTHS)
def test_steps_with_all_of_a_presets_settings(name, wide, part, small, fit, tmp_path, monkeypatch):
    """On small volumes; the last steps, where critic and codebook have a say. Nothing is saved."""
    monkeypatch.setattr(planning, "TIMED_STEPS", 1)
    smaller = {name: {} if wide else values for name, values in NARROW.items()}
    more = {}
    if part == "denoiser":
        more["autoencoder"] = tmp_path / "ae"
        without = {"steps": 1, "adversarial_weight": 0, "perceptual_weight": 0}
        one = settings(name, "autoencoder", **without, **smaller["autoencoder"])
        fit("autoencoder", small, more["autoencoder"], one)
    if part == "embedder" and (name == "paper-knee" or not wide):
        smaller[part] = smaller[part] | {"working_shape": WORKING_SHAPES[name]}
    chosen = settings(name, part, **smaller[part])
    recipe = Preprocessing(shape=small["training"].shape[1:], intensity=MinMax())
    job = measure_training(part, small, chosen, preprocessing=recipe, device="cpu", **more)
    with pytest.raises(StopIteration) as end:
        next(job)
    assert end.value.value.steps == chosen.steps


def test_what_there_is_no_preset_for_is_said():
    with pytest.raises(BadInput, match="choose one of tiny, paper-ct, paper-knee"):
        get_preset("paper", "denoiser")
    with pytest.raises(BadInput, match="paper's own embedder"):
        get_preset("paper-ct", "embedder", "structural")
