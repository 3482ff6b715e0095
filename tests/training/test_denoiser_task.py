"""What a denoiser may predict: it learns, samples with what the recipe says, and goes on."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from napari_memscan.checkpoints.loading import load_weights
from napari_memscan.checkpoints.native_format import read_recipe
from napari_memscan.checkpoints.recipe import FlowRecipe, SchedulerRecipe
from napari_memscan.errors import BadInput
from napari_memscan.generators.ldm import LDMGenerator
from napari_memscan.generators.sample import GeneratedSample
from napari_memscan.training.denoiser_task import DenoiserTask
from napari_memscan.training.run import train
from napari_memscan.training.settings import AutoencoderSettings, DenoiserSettings
from napari_memscan.volumes.preprocessing import MinMax, Preprocessing

pytestmark = pytest.mark.usefixtures("memory_told_once")
KINDS = {
    "epsilon": {"scheduler": {"prediction_type": "epsilon", "schedule": "cosine"}},
    "v_prediction": {},
    "sample": {"scheduler": {"prediction_type": "sample"}, "sampler": "ddpm"},
    "flow": {"scheduler": {"schedule": "rectified_flow"}},
    "shifted flow": {
        "scheduler": {
            "schedule": "rectified_flow",
            "use_discrete_timesteps": False,
            "use_timestep_transform": True,
            "base_img_size_numel": 64,
        }
    },
    "the paper's": {
        "network": "VideoUNet",
        "loss": "l1",
        "sampler": "ddpm",
        "channels": [8, 16],
        "scheduler": {"prediction_type": "epsilon", "schedule": "cosine", "num_train_timesteps": 9},
    },
}


def settings_of(kind, **changes):
    small = {"steps": 4, "channels": (8, 16), "batch": 4, "validate_every": 2, "sample_steps": 3}
    return DenoiserSettings.model_validate({**small, **KINDS[kind], **changes})


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_goes_on_after_a_stop_and_can_be_sampled(
    kind, cells, fit, fitted_autoencoder, tmp_path
):
    settings = settings_of(kind)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    fit("denoiser", cells, whole, settings, autoencoder=fitted_autoencoder)
    job = train(
        "denoiser",
        cells,
        stopped,
        settings,
        device="cpu",
        autoencoder=fitted_autoencoder,
        preprocessing=Preprocessing(shape=(16, 16, 16), intensity=MinMax()),
    )
    next(job)
    next(job)
    job.close()
    rest = fit("denoiser", cells, stopped, settings, autoencoder=fitted_autoencoder)
    assert rest[0].step == 3
    a, b = load_weights(whole, "denoiser"), load_weights(stopped, "denoiser")
    assert all(torch.equal(a[k], b[k]) for k in a)

    recipe = read_recipe(whole)
    assert recipe.scheduler == settings.scheduler
    assert recipe.sampler == settings.sampler
    made = [
        x for x in LDMGenerator(whole, "cpu").generate([1, 2]) if isinstance(x, GeneratedSample)
    ]
    assert [x.volume.data.shape for x in made] == [(16, 16, 16)] * 2


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "flow", "shifted flow"])
def test_the_target_is_what_sampling_takes_it_for(kind, cells, fitted_autoencoder):
    """A network that knows the target must lead the sampler back to the clean latent."""
    from napari_memscan.generators.schedule import SamplingSchedule

    settings = settings_of(kind)
    task = DenoiserTask(cells, settings, fitted_autoencoder, torch.device("cpu"))
    batch = task.data["training"][:2]
    seen = {}

    def network(noisy, t):
        seen.update(noisy=noisy, t=t)
        return torch.zeros_like(noisy)

    def target_of(seed):
        """The target is what makes the loss 0; a squared error around zero gives its size."""
        random = torch.Generator().manual_seed(seed)
        return float(task.loss(network, batch, random)), torch.Generator().manual_seed(seed)

    size, random = target_of(5)
    noise = torch.randn(batch.shape, generator=random)
    schedule = SamplingSchedule(settings.scheduler, settings.sampler, 4, batch[0, 0].numel())
    levels = settings.scheduler.num_train_timesteps
    for row in range(2):
        t = float(seen["t"][row])
        if kind.endswith("flow"):
            signal, spread = 1 - t / levels, t / levels
        else:
            kept = float(task.scheduler.alphas_cumprod[int(t)])
            signal, spread = kept**0.5, (1 - kept) ** 0.5
        expected = signal * batch[row] + spread * noise[row]
        torch.testing.assert_close(seen["noisy"][row], expected, atol=1e-4, rtol=1e-3)
        seen.setdefault("targets", []).append(
            {"epsilon": noise[row], "v_prediction": signal * noise[row] - spread * batch[row]}.get(
                kind, batch[row] - noise[row]
            )
        )
    assert size == pytest.approx(float(torch.stack(seen["targets"]).square().mean()), rel=1e-4)
    # And the sampler reads such a prediction as the clean latent.
    index = 1
    signal, spread = schedule._parts(index)
    latent = signal * batch[:1] + spread * noise[:1]
    prediction = {
        "epsilon": noise[:1],
        "v_prediction": signal * noise[:1] - spread * batch[:1],
    }.get(kind, batch[:1] - noise[:1])
    torch.testing.assert_close(
        schedule.clean(index, prediction, latent), batch[:1], atol=1e-3, rtol=1e-3
    )


def test_a_flow_learns(cells, fit, fitted_autoencoder, tmp_path):
    settings = settings_of("flow", steps=60, batch=6, learning_rate=3e-3)
    found = fit("denoiser", cells, tmp_path, settings, autoencoder=fitted_autoencoder)
    losses = [p.loss for p in found]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:3])


def test_saved_weights_are_the_average_and_both_go_on(cells, fit, fitted_autoencoder, tmp_path):
    settings = settings_of("epsilon", ema_decay=0.9)
    fit("denoiser", cells, tmp_path, settings, autoencoder=fitted_autoencoder)
    saved = load_weights(tmp_path, "denoiser")
    state = torch.load(tmp_path / "training.pt", weights_only=True)
    average = {k.removeprefix("module."): v for k, v in state["average"].items()}
    assert all(torch.equal(saved[k], average[k]) for k in saved)
    assert any(not torch.equal(saved[k], state["network"][k]) for k in saved)


def test_settings_that_contradict_each_other_are_refused():
    assert settings_of("flow").sampler == "rflow"
    assert isinstance(settings_of("flow").scheduler, FlowRecipe)
    assert DenoiserSettings(scheduler=FlowRecipe()).sampler == "rflow"
    for wrong, words in (
        ({"scheduler": FlowRecipe(), "sampler": "ddim"}, "rflow"),
        ({"sampler": "rflow"}, "rflow"),
        ({"scheduler": SchedulerRecipe(num_train_timesteps=10)}, "num_train_timesteps"),
        ({"network": "VideoUNet", "channels": (8, 12)}, "multiple of the first"),
    ):
        with pytest.raises(ValidationError, match=words):
            DenoiserSettings.model_validate(wrong)


def test_more_levels_than_the_latents_have_are_refused(cells, fit, fitted_autoencoder, tmp_path):
    deep = settings_of("epsilon", channels=[8] * 5)
    with pytest.raises(BadInput, match="Take fewer levels"):
        fit("denoiser", cells, tmp_path, deep, autoencoder=fitted_autoencoder)


def test_a_denoiser_in_quantised_latents(cells, fit, tmp_path):
    small = AutoencoderSettings(
        steps=4, channels=(8, 8), batch=2, network="VQVAE", num_embeddings=16, latent_channels=4
    )
    fit("autoencoder", cells, tmp_path / "ae", small)
    fit("denoiser", cells, tmp_path / "d", settings_of("flow"), autoencoder=tmp_path / "ae")
    recipe = read_recipe(tmp_path / "d")
    assert recipe.latent_shape == (4, 4, 4, 4)
    made = [
        x
        for x in LDMGenerator(tmp_path / "d", "cpu").generate([3])
        if isinstance(x, GeneratedSample)
    ]
    assert made[0].volume.data.shape == (16, 16, 16)
