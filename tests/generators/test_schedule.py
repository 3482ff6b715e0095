"""The way back from noise arrives at the data, in many steps and in few."""

from itertools import pairwise

import pytest
import torch

from napari_memscan.checkpoints.networks import build_scheduler
from napari_memscan.checkpoints.recipe import SchedulerRecipe
from napari_memscan.errors import BadInput
from napari_memscan.generators.schedule import SamplingSchedule

MEAN, SPREAD = 1.0, 0.15


def drawn(sampler, steps, prediction="v_prediction"):
    """Sample 4000 numbers with the exact denoiser of a normal distribution."""
    recipe = SchedulerRecipe(prediction_type=prediction)
    alphas = build_scheduler(recipe, "ddpm").alphas_cumprod
    schedule = SamplingSchedule(recipe, sampler, steps)
    random = torch.Generator().manual_seed(0)
    x = torch.randn((4000, 1), generator=random)
    for index, level in enumerate(schedule.timesteps):
        a = alphas[level]
        clean = MEAN + a.sqrt() * SPREAD**2 / (a * SPREAD**2 + 1 - a) * (x - a.sqrt() * MEAN)
        noise = (x - a.sqrt() * clean) / (1 - a).sqrt()
        answer = {
            "epsilon": noise,
            "sample": clean,
            "v_prediction": a.sqrt() * noise - (1 - a).sqrt() * clean,
        }[prediction]
        x = schedule.step(index, answer, x, random)
    return float(x.mean()), float(x.std())


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("steps", [5, 25, 300, 1000])
def test_ddpm_arrives_in_any_number_of_steps(steps, prediction):
    mean, spread = drawn("ddpm", steps, prediction)
    assert mean == pytest.approx(MEAN, abs=0.02)
    # Few steps make samples too alike, never noisy.
    assert spread < 1.1 * SPREAD
    if steps >= 300:
        assert spread > 0.8 * SPREAD


@pytest.mark.parametrize("steps", [25, 50, 1000])
def test_ddim_arrives(steps):
    mean, spread = drawn("ddim", steps)
    assert mean == pytest.approx(MEAN, abs=0.02)
    assert 0.7 * SPREAD < spread < 1.1 * SPREAD


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
def test_levels_go_down_from_the_noisiest(sampler, steps):
    levels = SamplingSchedule(SchedulerRecipe(), sampler, steps).timesteps
    assert levels[0] == 999
    assert len(levels) == steps
    assert all(a > b for a, b in pairwise(levels))
    assert levels[-1] == (0 if steps > 1 else 999)


def test_all_levels_of_ddpm_are_monais_own():
    recipe = SchedulerRecipe(num_train_timesteps=30)
    schedule, monai = SamplingSchedule(recipe, "ddpm", 30), build_scheduler(recipe, "ddpm")
    monai.set_timesteps(30)
    x, answer = torch.randn(1, 1, 2, 2, 2), torch.randn(1, 1, 2, 2, 2)
    for index, level in enumerate(monai.timesteps):
        expected = monai.step(answer, level, x, generator=torch.Generator().manual_seed(index))[0]
        ours = schedule.step(index, answer, x, torch.Generator().manual_seed(index))
        assert torch.equal(ours, expected)


@pytest.mark.parametrize("steps", [0, 31])
def test_more_steps_than_levels_are_refused(steps):
    with pytest.raises(BadInput, match=f"steps {steps}: between 1 and 30 fit this model"):
        SamplingSchedule(SchedulerRecipe(num_train_timesteps=30), "ddim", steps)
