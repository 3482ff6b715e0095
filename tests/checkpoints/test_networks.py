"""Networks are built from recipes, and weights go in whole or not at all."""

import pytest
import torch

from napari_memscan.checkpoints.device import choose_device
from napari_memscan.checkpoints.latent_model import check_shapes
from napari_memscan.checkpoints.loading import load_weights
from napari_memscan.checkpoints.native_format import read_recipe
from napari_memscan.checkpoints.networks import (
    build_autoencoder,
    build_denoiser,
    build_scheduler,
    load_strict,
)
from napari_memscan.checkpoints.recipe import SchedulerRecipe
from napari_memscan.errors import BadInput


@pytest.fixture
def recipe(tiny_ldm):
    return read_recipe(tiny_ldm)


def test_weights_go_in_and_the_network_is_in_evaluation_mode(recipe, tiny_ldm):
    state = load_weights(tiny_ldm, "denoiser")
    network = build_denoiser(recipe.denoiser)
    load_strict(network, state, "here")
    assert not network.training
    assert all(torch.equal(network.state_dict()[k], v) for k, v in state.items())


def test_what_does_not_fit_is_named_with_both_shapes(recipe, tiny_ldm):
    state = load_weights(tiny_ldm, "autoencoder")
    network = build_autoencoder(recipe.autoencoder)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    first, second = sorted(state)[:2]
    shape = tuple(state[first].shape)
    state[first] = torch.zeros(5, 1)
    state["stranger"] = state.pop(second)
    with pytest.raises(BadInput) as caught:
        load_strict(network, state, "model")
    text = str(caught.value)
    assert text.startswith("model: recipe and weights do not fit (3 tensors)")
    assert f"{first} is (5, 1), the recipe makes it {shape}" in text
    assert f"missing: {second}" in text
    assert "not in the network: stranger" in text
    assert all(torch.equal(network.state_dict()[k], v) for k, v in before.items())


def test_a_long_list_of_misfits_is_cut(recipe):
    with pytest.raises(BadInput, match=r"missing: .*; \.\.\.\. Use the recipe that belongs"):
        load_strict(build_autoencoder(recipe.autoencoder), {}, "model")


@pytest.mark.parametrize(
    "changes",
    [
        {"norm_num_groups": 0},
        {"norm_num_groups": 3},
        {"channels": []},
        {"channels": [8]},
        {"channels": "ab"},
        {"spatial_dims": 4},
        {"num_res_blocks": "many"},
        {"latent_channels": -1},
        {"hidden": 5},
    ],
)
def test_arguments_that_build_nothing_are_a_message(recipe, changes):
    with pytest.raises(BadInput, match="under 'autoencoder' do not build a AutoencoderKL"):
        build_autoencoder({**recipe.autoencoder, **changes})
    if "latent_channels" not in changes:
        with pytest.raises(BadInput, match="under 'denoiser' do not build a DiffusionModelUNet"):
            build_denoiser({**recipe.denoiser, **changes})


def test_a_recipe_that_fits_passes(recipe):
    check_shapes(recipe, "recipe.json")


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        (None, {"latent_shape": (4, 8, 8, 8)}, "does not fit the denoiser"),
        (None, {"latent_shape": (3, 7, 8, 8)}, "does not fit the denoiser"),
        (None, {"latent_shape": (3, 8, 8, 6)}, r"decodes to \(1, 16, 16, 12\).*\(16, 16, 16\)"),
        ("denoiser", {"out_channels": 6}, r"makes \(6, 8, 8, 8\) of it"),
        ("denoiser", {"in_channels": 6}, "does not fit the denoiser"),
        ("denoiser", {"spatial_dims": 2}, "does not fit the denoiser"),
        ("denoiser", {"num_class_embeds": 3}, "does not fit the denoiser: class_labels"),
        ("autoencoder", {"latent_channels": 2}, "does not fit the autoencoder"),
        ("autoencoder", {"out_channels": 2}, r"decodes to \(2, 16, 16, 16\)"),
    ],
)
def test_shapes_that_disagree_are_told_before_any_step(recipe, part, changes, message):
    if part is not None:
        changes = {part: {**getattr(recipe, part), **changes}}
    with pytest.raises(BadInput, match=message):
        check_shapes(recipe.model_copy(update=changes), "recipe.json")


@pytest.mark.parametrize("schedule", ["linear_beta", "scaled_linear_beta", "sigmoid_beta"])
@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_schedulers_hold_the_recipe(schedule, sampler):
    recipe = SchedulerRecipe(
        num_train_timesteps=50, schedule=schedule, beta_start=0.001, beta_end=0.03
    )
    scheduler = build_scheduler(recipe, sampler)
    # MONAI's sigmoid reaches its ends only far out.
    loose = 0.01 if schedule == "sigmoid_beta" else 1e-6
    assert float(scheduler.betas[0]) == pytest.approx(0.001, abs=loose)
    assert float(scheduler.betas[-1]) == pytest.approx(0.03, abs=loose)
    assert len(scheduler.betas) == 50
    assert scheduler.prediction_type == "v_prediction"
    assert scheduler.clip_sample is False


def test_a_cosine_schedule_takes_no_betas():
    scheduler = build_scheduler(SchedulerRecipe(schedule="cosine"), "ddim")
    assert len(scheduler.alphas_cumprod) == 1000
    assert (scheduler.alphas_cumprod.diff() < 0).all()


def test_an_unknown_sampler_is_a_message():
    with pytest.raises(BadInput, match="sampler 'euler' is not known; choose ddim, ddpm or rflow"):
        build_scheduler(SchedulerRecipe(), "euler")


def test_the_device_is_chosen_from_what_is_there():
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert choose_device("auto").type == expected
    assert choose_device("cpu").type == "cpu"


@pytest.mark.parametrize("name", ["gpu", "meta", "cuda:99", "cpu:x"])
def test_a_device_that_is_not_there_is_a_message(name):
    with pytest.raises(BadInput, match=f"device '{name}'"):
        choose_device(name)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has such a GPU")
def test_apples_gpu_is_refused_where_there_is_none():
    with pytest.raises(BadInput, match="device 'mps': this machine has no such GPU"):
        choose_device("mps")
