"""A model made by someone else's code, from the first look to a scan."""

import json
import shutil

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from napari_memscan import jobs
from napari_memscan.checkpoints.inspection import inspect_checkpoint
from napari_memscan.checkpoints.loading import load_weights
from napari_memscan.checkpoints.native_format import read_recipe
from napari_memscan.checkpoints.overrides import ModelOverrides
from napari_memscan.cli import app
from napari_memscan.config import GeneratorConfig
from napari_memscan.errors import BadInput
from napari_memscan.study import Study
from napari_memscan.volumes.preprocessing import Window

# All steps of the chain, each as short as it gets.
CHAIN = {"retrieved": 3, "proposed": 1, "verified": 1, "planted": 1, "workers": 1}


@pytest.fixture(scope="module")
def bundle(tiny_ldm, tmp_path_factory):
    """A MONAI bundle around the weights of the tiny LDM; like the published ones it names no
    scale factor."""
    folder = tmp_path_factory.mktemp("bundle")
    recipe = read_recipe(tiny_ldm)
    config = {
        "imports": ["$import glob"],
        "bundle_root": ".",
        "latent_shape": list(recipe.latent_shape),
        "autoencoder_def": {"_target_": "monai.networks.nets.AutoencoderKL", **recipe.autoencoder},
        "network_def": {"_target_": "monai.networks.nets.DiffusionModelUNet", **recipe.denoiser},
        "load_autoencoder_path": "$@bundle_root + '/models/model_autoencoder.pt'",
        "load_diffusion_path": "$@bundle_root + '/models/model.pt'",
        "noise_scheduler": {
            "_target_": "monai.networks.schedulers.DDIMScheduler",
            "num_train_timesteps": 1000,
            "schedule": "scaled_linear_beta",
            "beta_start": 0.0015,
            "beta_end": 0.0195,
            "prediction_type": "v_prediction",
            "clip_sample": False,
        },
        "set_timesteps": "$@noise_scheduler.set_timesteps(num_inference_steps=3)",
        "$open('/nowhere/at/all')": 1,
    }
    (folder / "configs").mkdir()
    (folder / "models").mkdir()
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    for part, name in (("autoencoder", "model_autoencoder.pt"), ("denoiser", "model.pt")):
        torch.save(load_weights(tiny_ldm, part), folder / "models" / name)
    return folder


@pytest.fixture
def made(bundle, phantoms, tmp_path):
    """A study over the bundle."""
    generator = GeneratorConfig(kind="ldm", path=str(bundle))
    return jobs.run_job(
        jobs.create_study(tmp_path / "study", phantoms, name="b", generator=generator)
    )


def test_a_lost_scale_factor_is_estimated_written_and_used(made, bundle, tiny_ldm):
    assert "scale_factor" in str(inspect_checkpoint(bundle).missing[0])
    declared = made.config.generator.declared
    assert declared["scale_factor_from"] == "estimated: 1/std of the latents of 8 training volumes"
    generator = Study.open(made.folder).generator()
    assert generator.recipe.scale_factor == declared["scale_factor"]
    fact = next(f for f in generator.report.facts if f.name == "scale_factor")
    assert fact.origin == declared["scale_factor_from"]
    # It is the deviation of these latents that it makes 1.
    codec = generator.model.codec
    latents = [
        codec.network.encode(torch.from_numpy(made.array(row.path))[None, None])
        for row in made.cohort.rows("training")
    ]
    mean = torch.stack([latent[0] for latent in latents])
    drawn = mean.var(correction=0) + torch.stack([s for _, s in latents]).square().mean()
    assert float(drawn.sqrt()) * declared["scale_factor"] == pytest.approx(1, rel=1e-4)


def test_generate_and_scan_work_on_it_and_every_sample_says_what_made_it(made, bundle, tiny_ldm):
    made.update(verification=CHAIN)
    jobs.run_job(jobs.generate_volumes(made, 2))
    result = jobs.run_job(jobs.scan_study(made))
    assert result.n_synthetic == 2
    generator = made.generator()
    rows = made.samples()
    assert {row.recipe_hash for row in rows} == {generator.recipe_hash}
    assert {row.checkpoint_hash for row in rows} == {generator.checkpoint_hash}
    assert all(made.volume(made.sample_path(row)).spacing is None for row in rows)
    page = jobs.report_study(made).read_text()
    assert "estimated: 1/std of the latents of 8 training volumes" in page
    assert "precision=float32" in page
    # The bundle did not say how its training volumes looked: that is told, not guessed.
    assert any(f.name == "spacing" for f in generator.report.facts) or generator.report.warnings


def test_a_scale_factor_that_is_far_off_is_a_warning_of_the_study(bundle, phantoms, tmp_path):
    generator = GeneratorConfig(kind="ldm", path=str(bundle), declared={"scale_factor": 50.0})
    study = jobs.run_job(
        jobs.create_study(tmp_path / "study", phantoms, name="b", generator=generator)
    )
    (warning,) = [w for w in Study.open(study.folder).config.model_warnings if "scale factor" in w]
    assert "the model's is 50" in warning
    assert "state scale_factor=" in warning


def test_converted_it_gives_the_same_volumes_without_questions(made, bundle, tmp_path):
    declared = ModelOverrides.from_mapping(made.config.generator.declared)
    jobs.run_job(jobs.convert_checkpoint(bundle, tmp_path / "native", declared))
    recipe = read_recipe(tmp_path / "native")
    assert recipe.provenance["scale_factor"].startswith("estimated")
    assert recipe.provenance["converted"]["family"] == "monai_bundle"
    jobs.run_job(jobs.generate_volumes(made, 1, seed=3))
    first = made.volume(made.sample_path(made.samples()[0])).data
    made.update(generator={"kind": "ldm", "path": str(tmp_path / "native")})
    jobs.run_job(jobs.generate_volumes(made, 1, seed=3))
    again = made.volume(made.sample_path(made.samples()[1])).data
    assert np.array_equal(first, again)


def test_convert_estimates_from_a_study_or_says_what_is_missing(made, bundle, tmp_path):
    with pytest.raises(BadInput, match=r"Missing: scale_factor"):
        jobs.run_job(jobs.convert_checkpoint(bundle, tmp_path / "a"))
    jobs.run_job(jobs.convert_checkpoint(bundle, tmp_path / "b", study=made))
    assert read_recipe(tmp_path / "b").scale_factor == pytest.approx(
        made.config.generator.declared["scale_factor"]
    )


def test_a_snapshot_of_hugging_faces_cache_holds_links(bundle, tmp_path):
    repository = tmp_path / "models--someone--bundle"
    snapshot = shutil.copytree(bundle, repository / "snapshots" / "0f1e2d")
    (repository / "blobs").mkdir()
    for i, path in enumerate(sorted(p for p in snapshot.rglob("*") if p.is_file())):
        blob = repository / "blobs" / f"{i:064x}"
        path.rename(blob)
        path.symlink_to(blob)
    found = inspect_checkpoint(snapshot, ModelOverrides(scale_factor=1.0))
    assert found.checkpoint is not None, found.problem
    assert (
        found.checkpoint.hash
        == inspect_checkpoint(bundle, ModelOverrides(scale_factor=1.0)).checkpoint.hash
    )
    # A link out of the repository is refused there as everywhere.
    path = snapshot / "models" / "model.pt"
    outside = path.resolve().rename(tmp_path / "elsewhere.pt")
    path.unlink()
    path.symlink_to(outside)
    refused = inspect_checkpoint(snapshot, ModelOverrides(scale_factor=1.0)).problem
    assert "leads out" in str(refused)


def test_nothing_is_written_for_a_model_that_does_not_work(bundle, phantoms, tmp_path):
    broken = shutil.copytree(bundle, tmp_path / "broken")
    path = broken / "models" / "model.pt"
    weights = torch.load(path, weights_only=True)
    torch.save({k: v * 0 if k.startswith("out.2.") else v for k, v in weights.items()}, path)
    generator = GeneratorConfig(kind="ldm", path=str(broken), declared={"scale_factor": 1.0})
    with pytest.raises(BadInput, match="does not work"):
        jobs.run_job(jobs.create_study(tmp_path / "study", phantoms, name="b", generator=generator))
    assert not (tmp_path / "study").exists()


def test_units_that_cannot_meet_are_refused_or_told(bundle, tiny_ldm, phantoms, tmp_path):
    window = Window(low=-300, high=900)

    def create(name, **declared):
        declared = {"scale_factor": 1.0, **declared}
        generator = GeneratorConfig(kind="ldm", path=str(bundle), declared=declared)
        job = jobs.create_study(
            tmp_path / name, phantoms, name="b", generator=generator, intensity=window
        )
        return jobs.run_job(job)

    # The bundle says neither how intensities were scaled nor what is decoded.
    assert any("is not known" in w for w in create("unknown").config.model_warnings)
    relative = {"rule": "percentile", "low": 0, "high": 99.5}
    with pytest.raises(BadInput, match=r"scaled by percentile, which cannot be undone"):
        create("relative", decoded_range=[0, 1], intensity=relative)
    fixed = {"rule": "window", "low": -300, "high": 900}
    study = create("fixed", decoded_range=[0, 1], intensity=fixed)
    assert not any("is not known" in w for w in study.config.model_warnings)
    jobs.run_job(jobs.generate_volumes(study, 1))
    data = study.volume(study.sample_path(study.samples()[0])).data
    assert -300 <= data.min() < data.max() <= 900


def test_the_command_line_does_all_of_it(bundle, phantoms, tmp_path):
    def memscan(*arguments):
        return CliRunner().invoke(app, [str(a) for a in arguments])

    phantoms.save(tmp_path / "cohort.csv")
    looked = memscan("check", bundle)
    assert looked.exit_code == 2
    assert "missing     scale_factor" in looked.stdout
    made = memscan("new", tmp_path / "study", "--cohort", tmp_path / "cohort.csv", "--ldm", bundle)
    assert made.exit_code == 0, made.stderr
    assert "estimated: 1/std of the latents of 8 training volumes" in made.stdout
    fits = memscan("check", bundle, "--study", tmp_path / "study", "--json")
    value = json.loads(fits.stdout)
    assert value["usable"]
    assert value["report"]["family"] == "monai_bundle"
    stated = memscan("check", bundle, "--set", "scale_factor=0.9")
    assert stated.exit_code == 0
    assert "scale_factor: 0.9 (declared)" in stated.stdout
