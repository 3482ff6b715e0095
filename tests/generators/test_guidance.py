"""Guidance leaves bytes alone at strength 0, lowers the similarity to training latents, repeats."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from napari_memscan.checkpoints.native_format import read_recipe
from napari_memscan.checkpoints.recipe import FlowRecipe, SchedulerRecipe
from napari_memscan.errors import BadInput
from napari_memscan.generators.guidance import Guidance
from napari_memscan.generators.ldm import LDMGenerator
from napari_memscan.generators.roundtrip import reconstruct_volume
from napari_memscan.generators.sample import GeneratedSample, SamplingSettings
from napari_memscan.generators.schedule import SamplingSchedule

EXACT = {"batch": 1, "precision": "float32", "decode": "whole", "memory": "contiguous"}


@pytest.fixture(scope="module")
def generator(tiny_ldm):
    return LDMGenerator(tiny_ldm, "cpu")


def latents(n, seed=0, shape=(3, 8, 8, 8)):
    return torch.randn((n, *shape), generator=torch.Generator().manual_seed(seed))


def samples(generator, seeds, **options):
    drawn = generator.generate(seeds, **EXACT, **options)
    return [event for event in drawn if isinstance(event, GeneratedSample)]


class Memoriser:
    """The best denoiser of a cohort that is one volume and its variants, of variance `SPREAD`."""

    SPREAD = 0.5

    def __init__(self, generator, latent, sampler):
        recipe = generator.recipe.scheduler
        self.latent, self.kind = latent[None], recipe.prediction_type
        self.schedule = SamplingSchedule(recipe, sampler, generator.recipe.steps, 512)

    def __call__(self, x, level, labels=None):
        index = next(i for i, t in enumerate(self.schedule.timesteps) if abs(t - level[0]) < 1e-3)
        signal, noise = self.schedule._parts(index)
        gain = self.SPREAD * signal / (self.SPREAD * signal**2 + noise**2)
        clean = self.latent + gain * (x - signal * self.latent)
        eps = (x - signal * clean) / noise
        return {
            "sample": clean,
            "epsilon": eps,
            "v_prediction": signal * eps - noise * clean,
            "velocity": clean - eps,
        }[self.kind]


def recipe_changed(folder, to, **changes):
    shutil.copytree(folder, to)
    recipe = read_recipe(folder).model_copy(update=changes)
    (to / "recipe.json").write_text(recipe.model_dump_json())
    return LDMGenerator(to, "cpu")


SHORT = {"num_train_timesteps": 20, "beta_end": 0.3}
WAYS = [
    ("ddim", SchedulerRecipe(**SHORT, prediction_type="epsilon")),
    ("ddpm", SchedulerRecipe(**SHORT, prediction_type="v_prediction")),
    ("ddim", SchedulerRecipe(**SHORT, prediction_type="sample")),
    ("rflow", FlowRecipe(num_train_timesteps=20)),
]


@pytest.mark.parametrize(("sampler", "scheduler"), WAYS)
def test_a_memorised_latent_is_avoided_whatever_is_predicted(
    tiny_ldm, tmp_path, monkeypatch, sampler, scheduler
):
    generator = recipe_changed(
        tiny_ldm, tmp_path / "ldm", scheduler=scheduler, sampler=sampler, steps=10
    )
    training = latents(6)
    monkeypatch.setattr(generator.model, "denoise", Memoriser(generator, training[2], sampler))
    ends = []
    decode = generator.model.decode
    monkeypatch.setattr(generator.model, "decode", lambda x: ends.append(x) or decode(x))
    for strength in (0, 0.3, 3):
        guidance = Guidance.of(strength, training, latents(5, 1))
        samples(generator, [4], guidance=guidance, sampler=sampler)
    near = [float(guidance.similarities(end)[0, 2]) for end in ends]
    assert near[0] > near[1] > near[2]
    assert near[0] > near[2] + 0.1
    # Farther from it, and still a latent.
    assert 0.8 < float(ends[2].std() / ends[0].std()) < 1.25


def test_strength_0_changes_no_byte_and_leaves_no_word(generator):
    plain = samples(generator, [3])[0]
    for guidance in (None, "", Guidance.of(0, latents(4), latents(3, 1))):
        again = samples(generator, [3], guidance=guidance)[0]
        assert again.volume.data.tobytes() == plain.volume.data.tobytes()
        assert again.settings == plain.settings
    assert "guidance" not in plain.settings


def test_guided_bytes_repeat_and_the_settings_say_what_they_depend_on(generator):
    # Its own volume as the neighbour: there is something to keep away from.
    ends = []
    decode = generator.model.decode
    generator.model.decode = lambda x: ends.append(x.clone()) or decode(x)
    try:
        plain = samples(generator, [3])[0]
    finally:
        generator.model.decode = decode
    training = torch.cat([latents(3), ends[0]])
    guidance = Guidance.of(1.5, training, latents(3, 1), "0123456789abcdef0123")
    guided = samples(generator, [3], guidance=guidance)[0]
    assert guided.volume.data.tobytes() != plain.volume.data.tobytes()
    beside = samples(generator, [8, 3], guidance=guidance)[1]
    assert beside.volume.data.tobytes() == guided.volume.data.tobytes()
    settings = SamplingSettings.parse(guided.settings)
    assert settings.guidance == f"1.5:{guidance.limit:.6f}:4:0123456789abcdef"
    assert str(settings) == guided.settings
    with pytest.raises(BadInput, match="latents of the training volumes are needed"):
        generator.generate([3], guidance=settings.guidance)


def test_what_is_far_enough_is_left_alone():
    guidance = Guidance.of(1.0, latents(5), latents(4, 1))
    clean = latents(1, 7)
    assert guidance.shift(clean, 0.0, 0.5) is None
    own = latents(5)[2:3]
    assert guidance.shift(own + clean, 0.0, 0.5) is not None
    # Early, when all predictions are alike, more is allowed.
    assert guidance.threshold(1.0) == 1.0
    assert guidance.threshold(0.0) == guidance.limit < guidance.threshold(0.5) < 1
    assert guidance.shift(own + clean, 1.0, 0.5) is None


def test_the_gradient_is_that_of_the_similarity():
    guidance = Guidance.of(1.0, latents(5), latents(4, 1))
    clean = (latents(5)[1:2] + 0.5 * latents(1, 7)).requires_grad_()
    similar = torch.nn.functional.cosine_similarity(
        clean.flatten(1) - guidance.mean, guidance.units[1:2]
    )
    (wanted,) = torch.autograd.grad(similar.sum(), clean)
    shift = guidance.shift(clean.detach(), 0.1, 0.25)
    np.testing.assert_allclose(shift, 0.25 * clean.numel() * wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("sampler", "scheduler"), WAYS)
def test_a_prediction_is_read_and_moved_alike(sampler, scheduler):
    schedule = SamplingSchedule(scheduler, sampler, 7)
    random = torch.Generator().manual_seed(0)
    for index in range(7):
        latent, prediction, shift = torch.randn((3, 1, 1, 2, 2, 2), generator=random)
        moved = schedule.moved(index, prediction, shift)
        before, after = (schedule.clean(index, p, latent) for p in (prediction, moved))
        np.testing.assert_allclose(before - after, shift, rtol=1e-3, atol=1e-4)
        assert 0 < schedule.noise(index) <= 1
    levels = [schedule.level(i) for i in range(7)]
    assert levels == sorted(levels, reverse=True)
    assert 0 < levels[-1] < levels[0] <= 1


def test_the_clean_latent_is_the_one_that_monai_reads():
    schedule = SamplingSchedule(SchedulerRecipe(prediction_type="v_prediction"), "ddim", 10)
    latent, prediction = torch.randn((2, 1, 1, 4, 4, 4), generator=torch.Generator().manual_seed(3))
    _, clean = schedule._scheduler.step(prediction, schedule.timesteps[4], latent)
    np.testing.assert_allclose(schedule.clean(4, prediction, latent), clean, atol=1e-5)


def test_encoded_latents_decode_to_what_the_autoencoder_gives_back(generator):
    volume = np.random.default_rng(0).random((16, 16, 16), dtype=np.float32)
    latent = generator.encode_volume(volume)
    assert latent.shape == generator.recipe.latent_shape
    with torch.inference_mode():
        image = generator.model.decode(torch.from_numpy(latent)[None])[0, 0]
    np.testing.assert_allclose(image.clip(0, 1), reconstruct_volume(generator, volume), atol=1e-5)


def test_what_the_recipe_does_not_allow_is_refused(tiny_ldm, tmp_path):
    guidance = Guidance.of(1.0, latents(4), latents(3, 1))
    unknown = recipe_changed(tiny_ldm, tmp_path / "range", decoded_range=None)
    with pytest.raises(BadInput, match="does not say it: decoded_range"):
        unknown.generate([1], guidance=guidance)
    with pytest.raises(BadInput, match=r"latents of \(3, 8, 8, 4\)"):
        LDMGenerator(tiny_ldm, "cpu").generate(
            [1], guidance=Guidance.of(1.0, latents(4, 0, (3, 8, 8, 4)), latents(3, 1, (3, 8, 8, 4)))
        )
    LDMGenerator(tiny_ldm, "cpu").check_guidance()


@pytest.mark.parametrize("strength", [-1, 1000, float("nan")])
def test_a_strength_that_makes_no_sense_is_refused(strength):
    with pytest.raises(BadInput, match="choose a strength from 0 to 100"):
        Guidance.of(strength, latents(4), latents(3, 1))


def test_too_few_volumes_are_refused():
    for training, validation in ((1, 3), (3, 0)):
        with pytest.raises(BadInput, match="at least two training volumes"):
            Guidance.of(1.0, latents(training), latents(validation, 1))
