"""A denoiser learns volumes by their condition, and samples told one are of that kind."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from napari_memscan.checkpoints.loading import load_weights
from napari_memscan.checkpoints.native_format import read_recipe
from napari_memscan.errors import BadInput
from napari_memscan.generators.ldm import LDMGenerator
from napari_memscan.generators.sample import GeneratedSample
from napari_memscan.training.conditions import drop_labels, learn_conditioning
from napari_memscan.training.denoiser_task import DenoiserTask
from napari_memscan.training.logs import PICTURES, save_slice_figure
from napari_memscan.training.run import train
from napari_memscan.training.settings import AutoencoderSettings, DenoiserSettings
from napari_memscan.volumes.preprocessing import MinMax, Preprocessing

SMALL = DenoiserSettings(
    steps=6, channels=(8, 16), batch=4, validate_every=3, sample_steps=3, conditional=True
)
SIDES = {"training": ["a", "b", "a", "b", "", "a"], "validation": ["b", "a", "unheard of"]}


def changed(**changes):
    return DenoiserSettings.model_validate(SMALL.model_dump() | changes)


# What there is to learn


@pytest.mark.parametrize(
    ("names", "n"),
    [
        (None, "0"),
        ([""] * 6, "0"),
        (["a"] * 6, "1"),
        (["a", "", "", "a", "a", "a"], "1"),
        (list("abcdaa"), "4"),
    ],
)
def test_too_few_or_too_many_conditions_are_refused(names, n):
    conditions = None if names is None else {"training": names, "validation": ["a"]}
    with pytest.raises(BadInput, match=f"'condition' of cohort.csv has {n} different .* 6 train"):
        learn_conditioning(conditions, torch.ones(6), None)


def test_shares_are_those_in_which_volumes_are_drawn():
    told = learn_conditioning(SIDES, torch.ones(6), 2.0)
    assert (told.classes, told.guidance) == (("a", "b"), 2.0)
    assert told.shares == pytest.approx((3 / 6, 2 / 6))
    weights = torch.tensor([5.0, 1, 1, 1, 1, 1])
    assert learn_conditioning(SIDES, weights, None).shares == pytest.approx((7 / 10, 2 / 10))


def test_a_share_of_labels_is_dropped_and_the_others_stay():
    labels = torch.arange(1, 5).repeat(1000)
    random = torch.Generator().manual_seed(0)
    found = drop_labels(labels, 0.25, random)
    gone = found == 0
    assert float(gone.float().mean()) == pytest.approx(0.25, abs=0.04)
    assert torch.equal(found[~gone], labels[~gone])
    assert torch.equal(drop_labels(labels, 0.0, random), labels)
    assert torch.equal(drop_labels(labels, 0.25, torch.Generator().manual_seed(0)), found)


def test_settings_that_cannot_be_followed_are_refused():
    for wrong, words in (
        ({"conditional": True, "network": "VideoUNet"}, "VideoUNet takes no condition"),
        ({"condition_guidance": 2.0}, "condition_guidance: needs conditional=true"),
        (
            {"conditional": True, "condition_guidance": 2.0, "condition_dropout": 0},
            "condition_dropout above 0",
        ),
        ({"conditional": True, "condition_dropout": 1.0}, "less than 1"),
    ):
        with pytest.raises(ValidationError, match=words):
            DenoiserSettings.model_validate(wrong)


def test_settings_of_a_denoiser_that_is_told_nothing_are_those_of_before():
    plain = DenoiserSettings()
    assert not any("condition" in key for key in plain.identity())
    assert "num_class_embeds" not in plain.arguments(3)
    assert changed().identity()["conditional"] is True
    assert changed().arguments(3, 2)["num_class_embeds"] == 3


# Training


def test_a_conditional_training_stops_and_goes_on_to_the_same_weights(
    cells, fit, fitted_autoencoder, tmp_path
):
    more = {"autoencoder": fitted_autoencoder, "conditions": SIDES}
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    fit("denoiser", cells, whole, SMALL, **more)
    recipe = Preprocessing(shape=(16, 16, 16), intensity=MinMax())
    job = train("denoiser", cells, stopped, SMALL, preprocessing=recipe, device="cpu", **more)
    next(job)
    next(job)
    job.close()
    rest = fit("denoiser", cells, stopped, SMALL, **more)
    assert rest[0].step == 3
    a, b = load_weights(whole, "denoiser"), load_weights(stopped, "denoiser")
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert a["class_embedding.weight"].shape[0] == 3
    told = read_recipe(whole).conditioning
    assert told == learn_conditioning(SIDES, torch.ones(6), None)


def test_other_conditions_are_another_training(cells, fit, fitted_autoencoder, tmp_path):
    more = {"autoencoder": fitted_autoencoder}
    fit("denoiser", cells, tmp_path / "told", changed(steps=1), conditions=SIDES, **more)
    other = SIDES | {"training": ["b", "a", "a", "b", "", "a"]}
    with pytest.raises(BadInput, match="other data or settings"):
        fit("denoiser", cells, tmp_path / "told", changed(steps=1), conditions=other, **more)
    # Where nothing is told, conditions change nothing: the state of before still fits.
    plain = changed(steps=1, conditional=False)
    fit("denoiser", cells, tmp_path / "plain", plain, **more)
    before = load_weights(tmp_path / "plain", "denoiser")
    fit("denoiser", cells, tmp_path / "plain", plain, conditions=other, **more)
    after = load_weights(tmp_path / "plain", "denoiser")
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert read_recipe(tmp_path / "plain").conditioning is None


def test_labels_reach_the_network_and_are_dropped_in_training_only(cells, fitted_autoencoder):
    task = DenoiserTask(
        cells, changed(condition_dropout=0.5), fitted_autoencoder, torch.device("cpu"), SIDES
    )
    assert task.data["validation"][:][1].tolist() == [2, 1, 0]
    rows = torch.tensor([0, 1, 2, 3, 5]).repeat(40)
    batch = task.data["training"][rows]

    class Network(torch.nn.Module):
        def forward(self, noisy, t, class_labels):
            self.told = class_labels
            return torch.zeros_like(noisy)

    network = Network()
    task.loss(network.eval(), batch, torch.Generator().manual_seed(0))
    assert network.told.tolist() == [1, 2, 1, 2, 1] * 40
    task.loss(network.train(), batch, torch.Generator().manual_seed(0))
    assert 0.3 < float((network.told == 0).float().mean()) < 0.7


def test_versions_of_a_volume_are_told_what_it_is(cells, fitted_autoencoder):
    task = DenoiserTask(cells, changed(views=2), fitted_autoencoder, torch.device("cpu"), SIDES)
    labels = task.data["training"][:][1].tolist()
    assert labels == [label for label in (1, 2, 1, 2, 0, 1) for _ in range(3)]
    assert task.conditioning == learn_conditioning(SIDES, torch.ones(6), None)


def test_pictures_are_of_each_condition(cells, fit, fitted_autoencoder, tmp_path):
    more = {"autoencoder": fitted_autoencoder, "conditions": SIDES}
    task = DenoiserTask(cells, SMALL, fitted_autoencoder, torch.device("cpu"), SIDES)
    shown = task.pictures(task.network.eval(), 5)
    assert {name: values.shape for name, values in shown.items()} == {
        "sampled a": (3, 16, 16, 16),
        "sampled b": (2, 16, 16, 16),
    }
    plain = DenoiserTask(cells, changed(conditional=False), fitted_autoencoder, "cpu", SIDES)
    assert list(plain.pictures(plain.network.eval(), 2)) == ["sampled"]
    fit("denoiser", cells, tmp_path, changed(steps=2, pictures_every=2), **more)
    assert (tmp_path / PICTURES / "step-0000002.png").stat().st_size > 1000


def test_a_name_of_any_letters_can_be_drawn(tmp_path):
    save_slice_figure(
        tmp_path / "a.png", {"sampled $\\x_{$ <1/2>": np.zeros((1, 4, 4, 4))}, "title"
    )
    assert (tmp_path / "a.png").exists()


# What is learnt

KINDS = ("dark", "bright")


@pytest.fixture(scope="module")
def two_kinds(fit, tmp_path_factory):
    """A model trained for seconds on dark and on bright volumes."""
    random = np.random.default_rng(1)
    values = random.random((24, 4, 4, 4)) * 0.3
    values[1::2] += 0.7
    volumes = values.repeat(4, 1).repeat(4, 2).repeat(4, 3).astype(np.float32)
    arrays = {"training": volumes[:16], "validation": volumes[16:]}
    conditions = {"training": [*KINDS * 8], "validation": [*KINDS * 4]}
    out = tmp_path_factory.mktemp("two-kinds")
    coder = AutoencoderSettings(steps=60, channels=(8, 8), batch=4, learning_rate=3e-3)
    fit("autoencoder", arrays, out / "autoencoder", coder)
    settings = changed(
        steps=150, batch=8, learning_rate=3e-3, ema_decay=0.9, sample_steps=6, validate_every=150
    )
    more = {"autoencoder": out / "autoencoder", "conditions": conditions}
    fit("denoiser", arrays, out / "denoiser", settings, **more)
    return out / "denoiser"


def brightness(generator, seeds, conditions=None):
    made = generator.generate(seeds, conditions=conditions)
    return [
        (s.condition, float(s.volume.data.mean())) for s in made if isinstance(s, GeneratedSample)
    ]


def test_samples_are_of_the_kind_that_was_told(two_kinds):
    generator = LDMGenerator(two_kinds, "cpu")
    dark = [value for _, value in brightness(generator, range(3), ["dark"] * 3)]
    bright = [value for _, value in brightness(generator, range(3), ["bright"] * 3)]
    assert max(dark) < 0.4 < 0.6 < min(bright)
    # Not told, each seed draws its own, and is of that kind.
    drawn = brightness(generator, range(8))
    assert {name for name, _ in drawn} == set(KINDS)
    assert all((value > 0.5) == (name == "bright") for name, value in drawn)


def test_guidance_goes_further_in_the_direction_told(two_kinds):
    generator = LDMGenerator(two_kinds, "cpu")
    latent = torch.randn((4, 3, 8, 8, 8), generator=torch.Generator().manual_seed(0))
    level = torch.full((4,), 500)
    labels = torch.tensor([1, 2, 1, 2])
    model = generator.model
    with torch.inference_mode():
        told, none = model.denoise(latent, level, labels), model.denoise(latent, level)
        conditioning = generator.recipe.conditioning.model_copy(update={"guidance": 3.0})
        model.recipe = generator.recipe.model_copy(update={"conditioning": conditioning})
        guided = model.denoise(latent, level, labels)
    assert (told - none).abs().amax(dim=(1, 2, 3, 4)).min() > 0.01
    torch.testing.assert_close(guided, none + 3 * (told - none), atol=1e-4, rtol=1e-4)
