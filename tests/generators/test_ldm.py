"""Sampling equals MONAI's, repeats to the byte, stops within one step, and says what is wrong."""

import json
import shutil

import numpy as np
import pytest
import torch

from napari_memscan.checkpoints.native import load_weights, read_recipe, save_checkpoint
from napari_memscan.errors import BadInput, JobFailed
from napari_memscan.generators.interface import Sample, Step
from napari_memscan.generators.ldm import LDMGenerator


@pytest.fixture(scope="module")
def generator(tiny_ldm):
    return LDMGenerator(tiny_ldm, "cpu")


def changed(folder, to, **changes):
    """Copy a checkpoint with other fields in its recipe; a dict is merged into the old one."""
    shutil.copytree(folder, to)
    path = to / "recipe.json"
    recipe = json.loads(path.read_text())
    for key, value in changes.items():
        recipe[key] = {**recipe[key], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(recipe))
    return to


def volumes(generator, seeds, **options):
    return [s.volume.data for s in generator.generate(seeds, **options) if isinstance(s, Sample)]


def by_monai(generator, seed, sampler, steps):
    """Sample with MONAI's own call, from the same noise, in [0, 1]."""
    from monai.inferers import LatentDiffusionInferer

    from napari_memscan.checkpoints.networks import build_scheduler

    recipe = generator.recipe
    scheduler = build_scheduler(recipe.scheduler, sampler)
    scheduler.set_timesteps(steps)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        noise = torch.randn((1, *recipe.latent_shape))
        image = LatentDiffusionInferer(scheduler, recipe.scale_factor).sample(
            noise, generator._autoencoder, generator._denoiser, scheduler, verbose=False
        )
    return image[0, 0].numpy()


@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon", "sample"])
@pytest.mark.parametrize(("sampler", "steps"), [("ddim", 7), ("ddim", 20), ("ddpm", 20)])
def test_samples_equal_monais_own(tiny_ldm, tmp_path, sampler, steps, prediction):
    scheduler = {"num_train_timesteps": 20, "prediction_type": prediction, "beta_end": 0.2}
    folder = changed(tiny_ldm, tmp_path / "ldm", scheduler=scheduler, scale_factor=0.7)
    generator = LDMGenerator(folder, "cpu")
    ours = (volumes(generator, [5], sampler=sampler, steps=steps)[0] + 300) / 1200
    monai = by_monai(generator, 5, sampler, steps)
    # Otherwise clipping would hide a difference.
    assert ((monai > 0) & (monai < 1)).mean() > 0.1
    np.testing.assert_allclose(ours, np.clip(monai, 0, 1), atol=1e-5)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_a_seed_gives_the_same_bytes_whatever_is_drawn_beside_it(generator, tiny_ldm, sampler):
    alone = volumes(generator, [7], sampler=sampler)[0]
    torch.manual_seed(99)
    beside = volumes(generator, [3, 7, 11], sampler=sampler)
    assert alone.tobytes() == beside[1].tobytes()
    assert not np.array_equal(beside[0], beside[1])
    again = LDMGenerator(tiny_ldm, "cpu")
    assert volumes(again, [7], sampler=sampler)[0].tobytes() == alone.tobytes()


def test_sampling_leaves_the_global_noise_alone(generator):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    volumes(generator, [1], sampler="ddpm")
    assert torch.equal(torch.rand(3), expected)


def test_every_step_is_seen_then_the_sample(generator):
    events = list(generator.generate([4, 9], steps=2, start=10))
    steps = [(e.sample, e.step, e.total) for e in events if isinstance(e, Step)]
    assert steps == [(10, 1, 2), (10, 2, 2), (11, 1, 2), (11, 2, 2)]
    first, second = events[2], events[5]
    assert (first.index, first.seed, second.index, second.seed) == (10, 4, 11, 9)
    assert first.checkpoint_hash == generator.checkpoint_hash
    assert first.recipe_hash == generator.recipe.hash
    assert len(list(generator.generate([1]))) == generator.recipe.steps + 1


def test_not_asking_on_stops_within_one_step(generator, monkeypatch):
    calls = []
    denoiser = generator._denoiser

    def counted(*args):
        calls.append(1)
        return denoiser(*args)

    monkeypatch.setattr(generator, "_denoiser", counted)
    run = generator.generate([1, 2], steps=20)
    assert not calls
    for _ in range(3):
        next(run)
    run.close()
    assert len(calls) == 3


def test_volumes_are_in_the_units_of_the_window_with_spacing(generator, tiny_ldm, tmp_path):
    sample = next(s for s in generator.generate([2]) if isinstance(s, Sample))
    data = sample.volume.data
    assert data.shape == (16, 16, 16)
    assert data.dtype == np.float32
    assert data.flags.c_contiguous
    assert sample.volume.spacing == (0.6, 0.6, 0.6)
    assert data.min() >= -300
    assert data.max() <= 900
    assert data.max() > 1
    preprocessing = read_recipe(tiny_ldm).preprocessing.model_dump(mode="json")
    folder = changed(
        tiny_ldm,
        tmp_path / "mr",
        preprocessing={**preprocessing, "intensity": {"rule": "percentile"}},
        spacing=None,
    )
    plain = next(s for s in LDMGenerator(folder, "cpu").generate([2]) if isinstance(s, Sample))
    np.testing.assert_allclose(plain.volume.data, (data + 300) / 1200, atol=1e-6)
    assert plain.volume.spacing is None


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_steps_out_of_range_are_refused_at_the_call(generator, steps):
    with pytest.raises(BadInput, match=f"steps {steps}: between 1 and 1000"):
        generator.generate([1], steps=steps)


def test_an_unknown_sampler_is_refused_at_the_call(generator):
    with pytest.raises(BadInput, match="sampler 'euler' is not known"):
        generator.generate([1], sampler="euler")


@pytest.mark.parametrize("seed", [-(2**70), 2**64])
def test_a_seed_beyond_64_bits_is_refused_at_the_call(generator, seed):
    with pytest.raises(BadInput, match="seed"):
        generator.generate([1, seed])


def test_another_kind_of_checkpoint_is_named(tmp_path, tiny_ldm):
    from napari_memscan.checkpoints.recipe import AutoencoderRecipe

    recipe = read_recipe(tiny_ldm)
    alone = AutoencoderRecipe(autoencoder=recipe.autoencoder, preprocessing=recipe.preprocessing)
    save_checkpoint(tmp_path, alone, {"autoencoder": load_weights(tiny_ldm, "autoencoder")})
    with pytest.raises(BadInput, match="this is an autoencoder alone, but a 3D latent diffusion"):
        LDMGenerator(tmp_path)


def test_a_latent_shape_that_does_not_fit_is_told_at_construction(tiny_ldm, tmp_path):
    folder = changed(tiny_ldm, tmp_path / "ldm", latent_shape=[3, 8, 8, 4])
    with pytest.raises(BadInput, match=r"recipe\.json: a latent .* decodes to \(1, 16, 16, 8\)"):
        LDMGenerator(folder, "cpu")


def test_weights_of_another_recipe_are_told_at_construction(tiny_ldm, tmp_path):
    folder = changed(tiny_ldm, tmp_path / "ldm", denoiser={"channels": [8, 32]})
    with pytest.raises(BadInput, match="recipe and weights do not fit"):
        LDMGenerator(folder, "cpu")


def test_an_output_that_is_not_finite_names_the_seed(tiny_ldm, tmp_path):
    recipe = read_recipe(tiny_ldm)
    weights = {part: load_weights(tiny_ldm, part) for part in ("autoencoder", "denoiser")}
    last = max(k for k in weights["denoiser"] if k.startswith("out.") and k.endswith("bias"))
    weights["denoiser"][last] = torch.full_like(weights["denoiser"][last], 3e38)
    save_checkpoint(tmp_path, recipe, weights)
    with pytest.raises(JobFailed, match="seed 12: the generated volume holds NaN or infinity"):
        list(LDMGenerator(tmp_path, "cpu").generate([12]))
