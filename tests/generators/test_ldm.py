"""Sampling equals MONAI's, repeats to the byte, stops within one step, and says what is wrong."""

import json
import shutil
from dataclasses import asdict

import numpy as np
import pytest
import torch

from napari_memscan.checkpoints.loading import load_weights
from napari_memscan.checkpoints.native_format import read_recipe, save_checkpoint
from napari_memscan.errors import BadInput, JobFailed
from napari_memscan.generators.ldm import LDMGenerator
from napari_memscan.generators.sample import DenoisingStep, GeneratedSample, SamplingSettings

pytestmark = pytest.mark.slow


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


EXACT = {"batch": 1, "precision": "float32", "decode": "whole"}


def volumes(generator, seeds, **options):
    return [
        s.volume.data
        for s in generator.generate(seeds, **options)
        if isinstance(s, GeneratedSample)
    ]


def by_monai(generator, seed, sampler, steps, **options):
    """Sample with MONAI's own call, from the same noise."""
    from monai.inferers import LatentDiffusionInferer

    from napari_memscan.checkpoints.networks import build_scheduler

    recipe, model = generator.recipe, generator.model
    scheduler = build_scheduler(recipe.scheduler, sampler)
    if sampler == "rflow":
        cells = int(np.prod(recipe.latent_shape[1:]))
        scheduler.set_timesteps(steps, input_img_size_numel=cells)
    else:
        scheduler.set_timesteps(steps)
    network = options.pop("network", model.denoiser)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        noise = torch.randn((1, *recipe.latent_shape))
        image = LatentDiffusionInferer(scheduler, recipe.scale_factor).sample(
            noise, model.codec.network, network, scheduler, verbose=False, **options
        )
    return image[0, 0].numpy()


def compare(generator, sampler, steps, **options):
    ours = (volumes(generator, [5], sampler=sampler, steps=steps, **EXACT)[0] + 300) / 1200
    monai = by_monai(generator, 5, sampler, steps, **options)
    # Otherwise clipping would hide a difference.
    assert ((monai > 0) & (monai < 1)).mean() > 0.1
    np.testing.assert_allclose(ours, np.clip(monai, 0, 1), atol=1e-5)
    return monai


@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon", "sample"])
@pytest.mark.parametrize(("sampler", "steps"), [("ddim", 7), ("ddim", 20), ("ddpm", 20)])
def test_samples_equal_monais_own(tiny_ldm, tmp_path, sampler, steps, prediction):
    scheduler = {"num_train_timesteps": 20, "prediction_type": prediction, "beta_end": 0.2}
    folder = changed(tiny_ldm, tmp_path / "ldm", scheduler=scheduler, scale_factor=0.7)
    compare(LDMGenerator(folder, "cpu"), sampler, steps)


FLOW = {"schedule": "rectified_flow", "num_train_timesteps": 20}
SHIFTED = {**FLOW, "use_timestep_transform": True, "base_img_size_numel": 64}


@pytest.mark.parametrize("scheduler", [FLOW, SHIFTED, {**FLOW, "use_discrete_timesteps": False}])
@pytest.mark.parametrize("steps", [6, 20])
def test_a_rectified_flow_equals_monais_own(tiny_ldm, tmp_path, scheduler, steps):
    folder = rebuilt(tiny_ldm, tmp_path, scheduler=scheduler, sampler="rflow")
    compare(LDMGenerator(folder, "cpu"), "rflow", steps)


def rebuilt(folder, to, denoiser=None, **changes):
    """Save a checkpoint with another recipe; all weights of another denoiser are random."""
    from napari_memscan.checkpoints.networks import build_denoiser
    from napari_memscan.checkpoints.recipe import LDMRecipe

    recipe = read_recipe(folder).model_dump(mode="json")
    weights = {part: load_weights(folder, part) for part in ("autoencoder", "denoiser")}
    if denoiser:
        recipe["denoiser"] |= denoiser
        random = torch.Generator().manual_seed(1)
        weights["denoiser"] = {
            key: 0.1 * torch.randn(value.shape, generator=random) + (value.ndim == 1) * 0.1
            for key, value in build_denoiser(recipe["denoiser"]).state_dict().items()
        }
    save_checkpoint(to, LDMRecipe.model_validate(recipe | changes), weights)
    return to


ATTENTION = {
    "with_conditioning": True,
    "cross_attention_dim": 3,
    "attention_levels": [False, True],
    "num_head_channels": [0, 8],
}
# Every step of a short chain: what a condition does is the same in each.
STEPS = 6
NOISE = {"num_train_timesteps": STEPS, "beta_end": 0.2}
SCHEDULES = [("ddim", NOISE), ("ddpm", NOISE), ("rflow", {**FLOW, "num_train_timesteps": STEPS})]


@pytest.mark.parametrize("guidance", [None, 2.5])
@pytest.mark.parametrize("way", ["crossattn", "concat"])
@pytest.mark.parametrize(("sampler", "scheduler"), SCHEDULES)
def test_conditioned_samples_equal_monais_own(
    tiny_ldm, tmp_path, sampler, scheduler, way, guidance
):
    values = (0.3, -0.9, 0.6)
    attention = way == "crossattn"
    condition = {"context": values, "guidance": guidance, "concatenate": not attention}
    folder = rebuilt(
        tiny_ldm,
        tmp_path,
        ATTENTION | ({} if attention else {"in_channels": 6}),
        scheduler=scheduler,
        sampler=sampler,
        conditioning=condition,
    )
    generator = LDMGenerator(folder, "cpu")
    options = {"mode": way, "cfg": guidance}
    given = torch.tensor(values)[None, None]
    if not attention:
        given = given.reshape(1, 3, 1, 1, 1).expand(1, 3, 8, 8, 8)
        # Appended to the latent and attended to, as in MONAI's BraTS bundle; its call does one.
        options["network"] = lambda x, timesteps, context: generator.model.denoiser(
            x, timesteps, context=x[:, None, 3:, 0, 0, 0]
        )
    with_ = compare(generator, sampler, STEPS, conditioning=given, **options)
    other = by_monai(generator, 5, sampler, STEPS, conditioning=0 * given, **options)
    assert np.abs(with_ - other).max() > 1e-4


@pytest.mark.parametrize(("sampler", "scheduler"), SCHEDULES)
def test_samples_of_a_class_equal_monais_own(tiny_ldm, tmp_path, sampler, scheduler):
    folder = rebuilt(
        tiny_ldm,
        tmp_path,
        {"num_class_embeds": 4},
        scheduler=scheduler,
        sampler=sampler,
        conditioning={"class_label": 2},
    )
    generator = LDMGenerator(folder, "cpu")

    def of_class(x, timesteps, context=None, label=2):
        return generator.model.denoiser(x, timesteps, class_labels=torch.tensor([label]))

    monai = compare(generator, sampler, STEPS, network=of_class)
    other = by_monai(
        generator, 5, sampler, STEPS, network=lambda *a, **k: of_class(*a, **k, label=1)
    )
    assert np.abs(monai - other).max() > 1e-4


@pytest.mark.parametrize("guidance", [None, 2.5])
def test_samples_of_a_named_condition_equal_monais_own(conditional_ldm, tmp_path, guidance):
    conditioning = {"guidance": guidance}
    folder = changed(conditional_ldm, tmp_path / "ldm", conditioning=conditioning)
    generator = LDMGenerator(folder, "cpu")
    denoiser = generator.model.denoiser

    def of_class(label):
        def network(x, timesteps, context=None):
            told, none = (
                denoiser(x, timesteps, class_labels=torch.tensor([n])) for n in (label, 0)
            )
            return told if guidance is None else none + guidance * (told - none)

        return network

    options = {"sampler": "ddim", "steps": 5}
    found = []
    for label, name in enumerate(("", "left", "right")):
        ours = volumes(generator, [5], conditions=[name], **options, **EXACT)[0]
        found.append((ours + 300) / 1200)
        monai = by_monai(generator, 5, network=of_class(label), **options)
        np.testing.assert_allclose(found[-1], np.clip(monai, 0, 1), atol=1e-5)
    assert min(np.abs(found[i] - found[i - 1]).max() for i in range(3)) > 1e-3


def test_conditions_beside_a_sample_do_not_change_its_bytes(conditional_ldm):
    generator = LDMGenerator(conditional_ldm, "cpu")
    options = {"batch": 3, "sampler": "ddpm"}
    alone = volumes(generator, [7], conditions=["right"], **options)[0]
    for names in (["right", "left", ""], ["left", "left", "right", "right"]):
        seeds = [7 if name == "right" else 100 + i for i, name in enumerate(names)]
        made = list(generator.generate(seeds, conditions=names, **options))
        samples = [s for s in made if isinstance(s, GeneratedSample)]
        assert [(s.seed, s.condition) for s in samples] == list(zip(seeds, names, strict=True))
        same = [s.volume.data.tobytes() == alone.tobytes() for s in samples]
        assert same == [name == "right" for name in names]


def test_a_seed_draws_its_condition_where_none_is_named(conditional_ldm, generator):
    drawing = LDMGenerator(conditional_ldm, "cpu")
    samples = [s for s in drawing.generate(range(6), steps=1) if isinstance(s, GeneratedSample)]
    names = [drawing.recipe.conditioning.draw(seed) for seed in range(6)]
    assert [s.condition for s in samples] == names
    assert len(set(names)) > 1
    named = volumes(drawing, range(6), steps=1, conditions=names)
    assert [v.tobytes() for v in named] == [s.volume.data.tobytes() for s in samples]
    assert {s.condition for s in generator.generate([1, 2]) if isinstance(s, GeneratedSample)} == {
        ""
    }


def test_an_unknown_condition_is_refused_at_the_call_with_those_that_are_known(
    conditional_ldm, generator
):
    with pytest.raises(BadInput, match=r"condition 'up': .* knows left, right\."):
        LDMGenerator(conditional_ldm, "cpu").generate([1, 2], conditions=["left", "up"])
    with pytest.raises(BadInput, match=r"condition 'left': .* knows no conditions by name"):
        generator.generate([1], conditions=["left"])


@pytest.mark.parametrize(
    ("batch", "memory", "precision", "attention"),
    [
        (2, "contiguous", "float32", False),
        (3, "contiguous", "float32", True),
        (2, "channels_last", "float32", True),
        (3, "channels_last", "bfloat16", True),
    ],
)
def test_place_and_neighbours_in_a_batch_do_not_change_bytes(
    tiny_ldm, tmp_path, batch, memory, precision, attention
):
    heads = {"attention_levels": [True, True], "num_head_channels": [8, 8]}
    folder = rebuilt(tiny_ldm, tmp_path, heads) if attention else tiny_ldm
    generator = LDMGenerator(folder, "cpu")
    options = {"batch": batch, "memory": memory, "precision": precision, "sampler": "ddpm"}
    alone = volumes(generator, [7], **options)[0]
    for beside in ([7, 1, 2], [1, 2, 3, 7], [1, 7, 4]):
        again = volumes(generator, beside, **options)
        assert again[beside.index(7)].tobytes() == alone.tobytes()
        assert len({v.tobytes() for v in again}) == len(beside)


def test_a_batch_is_seen_step_by_step_then_its_samples(generator):
    events = list(generator.generate([4, 9, 1], steps=2, start=10, batch=2))
    assert [(e.sample, e.step) if isinstance(e, DenoisingStep) else e.seed for e in events] == [
        *((10, 1), (10, 2), 4, 9),
        *((12, 1), (12, 2), 1),
    ]
    assert [e.index for e in events if isinstance(e, GeneratedSample)] == [10, 11, 12]


def test_settings_stand_beside_each_sample_and_give_it_again(generator):
    options = {"batch": 2, "memory": "channels_last", "decode": "window:4x4x4:0.5"}
    sample = next(s for s in generator.generate([3], **options) if isinstance(s, GeneratedSample))
    settings = SamplingSettings.parse(sample.settings)
    assert (settings.batch, settings.memory) == (2, "channels_last")
    assert settings.threads == torch.get_num_threads()
    again = volumes(generator, [3], **asdict(settings))[0]
    assert again.tobytes() == sample.volume.data.tobytes()
    plain = volumes(generator, [3], **EXACT)[0]
    assert not np.array_equal(again, plain)
    # What was set for one run does not stay for the next.
    assert volumes(generator, [3], **EXACT)[0].tobytes() == plain.tobytes()


def test_the_number_of_threads_is_set_while_computing_only(generator, monkeypatch):
    before = torch.get_num_threads()
    seen = []
    denoise = generator.model.denoise

    def noted(*args):
        seen.append(torch.get_num_threads())
        return denoise(*args)

    monkeypatch.setattr(generator.model, "denoise", noted)
    for _ in generator.generate([1], steps=2, threads=before + 1):
        seen.append(torch.get_num_threads())
    assert seen == [before + 1, before, before + 1, before, before]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch": 0}, "batch '0': choose auto, or a number from 1"),
        ({"batch": "many"}, "batch 'many'"),
        ({"threads": -1}, "threads '-1'"),
        ({"precision": "float16"}, "on cpu choose auto, float32 or bfloat16"),
        ({"memory": "upside-down"}, "choose auto, contiguous or channels_last"),
        ({"decode": "half"}, "choose auto, whole, window"),
    ],
)
def test_settings_that_do_not_exist_are_refused_at_the_call(generator, wrong, message):
    with pytest.raises(BadInput, match=message):
        generator.generate([1], **wrong)


def test_too_little_memory_is_a_message(generator, monkeypatch):
    def full(*args):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(generator.model, "denoise", full)
    with pytest.raises(JobFailed, match="memory does not suffice with batch=1 "):
        list(generator.generate([1], **EXACT))

    def broken(*args):
        raise RuntimeError("something else")

    monkeypatch.setattr(generator.model, "denoise", broken)
    with pytest.raises(RuntimeError, match="something else"):
        list(generator.generate([1], **EXACT))


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
    events = list(generator.generate([4, 9], steps=2, start=10, batch=1))
    steps = [(e.sample, e.step, e.total) for e in events if isinstance(e, DenoisingStep)]
    assert steps == [(10, 1, 2), (10, 2, 2), (11, 1, 2), (11, 2, 2)]
    first, second = events[2], events[5]
    assert (first.index, first.seed, second.index, second.seed) == (10, 4, 11, 9)
    assert first.checkpoint_hash == generator.checkpoint_hash
    assert first.recipe_hash == generator.recipe.hash
    assert len(list(generator.generate([1]))) == generator.recipe.steps + 1


def test_not_asking_on_stops_within_one_step(generator, monkeypatch):
    calls = []
    denoiser = generator.model.denoiser

    def counted(*args):
        calls.append(1)
        return denoiser(*args)

    monkeypatch.setattr(generator.model, "denoiser", counted)
    run = generator.generate([1, 2], steps=20)
    assert not calls
    for _ in range(3):
        next(run)
    run.close()
    assert len(calls) == 3


def test_volumes_are_in_the_units_of_the_window_with_spacing(generator, tiny_ldm, tmp_path):
    sample = next(s for s in generator.generate([2]) if isinstance(s, GeneratedSample))
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
    plain = next(
        s for s in LDMGenerator(folder, "cpu").generate([2]) if isinstance(s, GeneratedSample)
    )
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
    with pytest.raises(BadInput, match=r"ldm: a latent .* decodes to \(1, 16, 16, 8\)"):
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
