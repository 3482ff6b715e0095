"""A cohort's conditions go into training, and each sample's stays beside it whatever follows."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from napari_memscan import jobs
from napari_memscan.checkpoints.native_format import read_recipe
from napari_memscan.cli import app
from napari_memscan.config import GeneratorConfig
from napari_memscan.errors import BadInput
from napari_memscan.study import Study
from napari_memscan.training.settings import AutoencoderSettings, DenoiserSettings
from napari_memscan.volumes.cohort import Cohort

EXACT = {"batch": 1, "precision": "float32", "memory": "contiguous"}


@pytest.fixture
def study(make_study, tmp_path, conditional_ldm):
    """Over a model that knows left and right; what counts here is not how samples are judged."""
    return make_study(
        tmp_path / "study",
        generator=GeneratorConfig(kind="ldm", path=str(conditional_ldm)),
        verification={"enabled": False},
    )


def told(study):
    return [(int(row.seed), row.condition) for row in study.samples()]


def column(study):
    with (study.synthetic_dir / "samples.csv").open(newline="") as file:
        return [row.get("condition") for row in csv.DictReader(file)]


def generate(study, n, **options):
    return jobs.run_job(jobs.generate_volumes(study, n, **EXACT | options))


# Sampling


def test_a_seed_told_two_conditions_is_two_samples(study):
    generate(study, 2, seed=5, condition="left")
    generate(study, 2, seed=5, condition="right")
    assert told(study) == [(5, "left"), (6, "left"), (5, "right"), (6, "right")]
    assert column(study) == ["left", "left", "right", "right"]
    files = {path.read_bytes() for path in study.synthetic_dir.glob("*.nii.gz")}
    assert len(files) == 4
    # Nothing is drawn twice.
    generate(study, 2, seed=5, condition="left")
    assert len(study.samples()) == 4
    generate(study, 3, seed=5, condition="left")
    assert told(study)[4:] == [(7, "left")]


def test_seeds_draw_their_own_and_are_the_same_as_when_told(study):
    generate(study, 6, seed=0)
    drawn = read_recipe(study.config.generator.path).conditioning.draw
    assert told(study) == [(seed, drawn(seed)) for seed in range(6)]
    assert column(study) == [drawn(seed) for seed in range(6)]
    assert {"left", "right"} <= {name for _, name in told(study)}
    # Those that drew left are there already.
    n = sum(name == "left" for _, name in told(study))
    generate(study, 6, seed=0, condition="left")
    assert len(study.samples()) == 6 + 6 - n
    generate(study, 2, seed=50, condition="")
    assert told(study)[-2:] == [(50, ""), (51, "")]


def test_the_study_says_a_condition_for_all_and_the_call_another(study):
    config = study.config.generator.model_copy(update={"condition": "right"})
    study.update(generator=config)
    opened = Study.open(study.folder)
    assert 'condition = "right"' in (study.folder / "study.toml").read_text()
    generate(opened, 4, seed=0)
    generate(opened, 1, seed=0, condition="left")
    assert told(opened) == [*((seed, "right") for seed in range(4)), (0, "left")]
    drawn = read_recipe(config.path).conditioning.draw
    assert {drawn(seed) for seed in range(4)} != {"right"}  # Not told, they would be others.


def test_what_the_model_does_not_know_is_refused_before_anything_is_drawn(study, make_study):
    with pytest.raises(BadInput, match=r"condition 'up': .* knows left, right\."):
        generate(study, 2, condition="up")
    assert study.samples() == []
    plain = make_study(study.folder.parent / "plain")
    with pytest.raises(BadInput, match="knows no conditions by name"):
        generate(plain, 1, condition="left")
    generate(plain, 1)
    assert column(plain) == [None]


def test_volumes_made_elsewhere_have_no_condition_to_choose(make_study, tmp_path, phantoms):
    folder = str(Path(phantoms.rows("unseen")[0].path).parent)
    study = make_study(tmp_path / "s", generator=GeneratorConfig(kind="folder", path=folder))
    with pytest.raises(BadInput, match="choose a condition"):
        generate(study, 1, condition="left")


def test_the_command_takes_a_condition(study):
    folder = str(study.folder)
    done = CliRunner().invoke(app, ["generate", folder, "-n", "1", "--condition", "right"])
    assert done.exit_code == 0, done.stderr
    assert [name for _, name in told(study)] == ["right"]
    refused = CliRunner().invoke(app, ["generate", folder, "-n", "1", "--condition", "up"])
    assert refused.exit_code == 2
    assert "knows left, right" in refused.stderr


def test_a_replacement_has_the_condition_of_what_it_replaces(study):
    generate(study, 1, seed=1, condition="left")
    generate(study, 1, seed=1, condition="right")
    generate(study, 1, seed=1, condition="")
    jobs.run_job(jobs.scan_study(study))
    names = ["s000000", "s000001", "s000002"]
    jobs.run_job(jobs.regenerate_samples(study, names, tries=1))
    rows = study.samples()
    assert [(row.parent, row.condition) for row in rows[3:]] == [
        ("s000000", "left"),
        ("s000001", "right"),
        ("s000002", ""),
    ]
    assert len({row.seed for row in rows[3:]}) == 3


def test_replacements_of_another_model_have_conditions_that_it_knows(study, tiny_ldm):
    generate(study, 1, seed=1, condition="left")
    jobs.run_job(jobs.scan_study(study))
    study.update(generator=GeneratorConfig(kind="ldm", path=str(tiny_ldm)))
    jobs.run_job(jobs.regenerate_sample(study, "s000000", tries=1))
    assert [row.condition for row in study.samples()] == ["left", ""]


def test_measures_are_tried_on_the_volumes_of_the_same_conditions(study):
    for name in ("right", "left"):
        generate(study, 2, condition=name)
    jobs.run_job(jobs.evaluate_mitigation(study, 2, most=2))
    own = Study.open(study.folder / "mitigation")
    rows = [row for row in own.samples() if "guidance" not in row.settings]
    first = study.config.seed
    drawn = read_recipe(study.config.generator.path).conditioning.draw
    assert [(row.seed, row.condition) for row in sorted(rows, key=lambda row: row.seed)] == [
        (str(seed), drawn(seed)) for seed in (first, first + 1)
    ]
    # None was drawn again that the study had.
    assert all(study.folder / "synthetic" in own.sample_path(row).parents for row in rows)


# Training


@pytest.fixture
def sided(make_study, tmp_path, phantoms):
    """A study whose volumes have a condition, but for one in training."""
    names = ["left", "right"]
    rows = [
        replace(row, condition="" if i == 7 else names[i % 2])
        for i, row in enumerate([*phantoms.rows("training"), *phantoms.rows("validation")])
    ]
    return make_study(tmp_path / "sided", cohort=Cohort.from_rows(rows), generator=None)


def test_a_study_trains_by_its_conditions_and_samples_them(sided):
    models = sided.folder / "models"
    coder = AutoencoderSettings(steps=2, channels=(8, 8))
    jobs.run_job(
        jobs.train_model(sided, "autoencoder", models / "autoencoder", coder, device="cpu")
    )
    settings = DenoiserSettings(
        steps=2, channels=(8, 16), batch=2, sample_steps=2, conditional=True, duplicated=1, times=5
    )
    more = {"device": "cpu", "autoencoder": models / "autoencoder"}
    jobs.run_job(jobs.train_model(sided, "denoiser", models / "denoiser", settings, **more))
    conditioning = read_recipe(models / "denoiser").conditioning
    assert conditioning.classes == ("left", "right")
    # Of 12 drawn: the first five times, and one that has none.
    assert conditioning.shares == pytest.approx((8 / 12, 3 / 12))
    sided.update(generator=GeneratorConfig(kind="ldm", path=str(models / "denoiser")))
    generate(sided, 1, condition="right")
    assert [name for _, name in told(sided)] == ["right"]

    # Changed versions of a volume have its condition.
    views = settings.model_copy(update={"views": 1})
    jobs.run_job(jobs.train_model(sided, "denoiser", sided.folder / "augmented", views, **more))
    assert read_recipe(sided.folder / "augmented").conditioning == conditioning


def test_a_cohort_without_conditions_is_refused_in_words(make_study, tmp_path):
    study = make_study(tmp_path / "study", generator=None)
    coder = AutoencoderSettings(steps=1, channels=(8, 8))
    jobs.run_job(jobs.train_model(study, "autoencoder", tmp_path / "a", coder, device="cpu"))
    settings = DenoiserSettings(steps=1, channels=(8, 16), conditional=True)
    job = jobs.train_model(
        study, "denoiser", tmp_path / "d", settings, device="cpu", autoencoder=tmp_path / "a"
    )
    with pytest.raises(BadInput, match=r"'condition' of cohort\.csv has 0 different texts"):
        jobs.run_job(job)
