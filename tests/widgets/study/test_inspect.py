"""What is this? One line for everything a person can choose."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from napari_memscan import jobs
from napari_memscan.checkpoints.backbones import build_backbone
from napari_memscan.checkpoints.native import save_checkpoint
from napari_memscan.checkpoints.recipe import SlicesRecipe, StructuralRecipe
from napari_memscan.config import GeneratorConfig
from napari_memscan.embedders.multiscale import MultiScaleEncoder
from napari_memscan.errors import BadInput
from napari_memscan.study import Study
from napari_memscan.volumes.importers import import_any
from napari_memscan.volumes.preprocessing import MinMax, Preprocessing
from napari_memscan.widgets.study.field_status import Choice, EmbedderChoice
from napari_memscan.widgets.study.inspect import has_source, look_at, spacing_of
from napari_memscan.widgets.study.tasks import (
    as_chosen,
    changing,
    chosen,
    creating,
    differing,
    stated,
    update,
)


def test_folder(tmp_path, ldm_study):
    assert look_at("folder", str(tmp_path / "new")).level == "ok"
    assert look_at("folder", str(tmp_path)).level == "warning"  # not empty
    found = look_at("folder", str(ldm_study))
    assert found.level == "error"
    assert "Open it" in found.text
    assert look_at("folder", str(ldm_study / "cohort.csv")).level == "error"


def test_cohort_counts_splits_and_repeats_warnings(parts):
    found = look_at("cohort", str(parts / "cohort"))
    assert "8 training, 20 validation" in found.text
    assert "subject_id" in found.text
    assert found.level == "warning"
    assert found.value.counts()["training"] == 8


def test_cohort_that_does_not_do_is_an_error_in_words(tmp_path):
    (tmp_path / "cohort.csv").write_text("path,split\n")
    found = look_at("cohort", str(tmp_path / "cohort.csv"))
    assert (found.level, found.value) == ("error", None)
    assert "training" in found.text


def test_generator_says_whether_it_is_a_model_or_volumes(parts, tmp_path):
    model = look_at("generator", str(parts / "ldm"))
    assert model.text.startswith("3D LDM")
    assert model.value.kind == "ldm"
    volumes = look_at("generator", str(parts / "made"))
    assert volumes.text.startswith("6 synthetic volumes")
    assert volumes.value.kind == "folder"
    (tmp_path / "empty").mkdir()
    for wrong in (tmp_path / "empty", tmp_path / "missing"):
        found = look_at("generator", str(wrong))
        assert found.level == "error"
        assert "recipe.json" in found.text


def test_embedder_may_be_left_empty_and_a_wrong_one_is_an_error(parts):
    found = look_at("embedder", "")
    assert (found.level, found.value) == ("info", EmbedderChoice("low-resolution"))
    assert look_at("embedder", str(parts / "made")).level == "error"
    # An LDM's own autoencoder is the paper's baseline; that it is not an embedder is said.
    found = look_at("embedder", str(parts / "ldm"))
    assert found.level == "warning"
    assert "autoencoder will be the embedder" in found.text


def test_every_kind_of_embedder_is_one(parts, tmp_path):
    preprocessing = Preprocessing(shape=(16, 16, 16), intensity=MinMax())
    structural = StructuralRecipe(
        input_shape=(16, 16, 16), working_shape=(8, 8, 8), width=4, stages=2, cells=2, hidden=8,
        dim=4, preprocessing=preprocessing,
    )  # fmt: skip
    encoder = MultiScaleEncoder((8, 8, 8), 4, 2, 2, 4, 8)
    save_checkpoint(tmp_path / "structural", structural, {"embedder": encoder.state_dict()})
    plain = {
        "block": "basic", "layers": [1] * 4, "block_inplanes": [4] * 4, "n_input_channels": 1,
        "feed_forward": False,
    }  # fmt: skip
    slices = SlicesRecipe(network="ResNet", arguments=plain, mean=(0,), std=(1,))
    network = build_backbone("ResNet", plain, dimensions=2)
    save_checkpoint(tmp_path / "slices", slices, {"backbone": network.state_dict()})
    for name in ("structural", "slices"):
        found = look_at("embedder", str(tmp_path / name))
        assert (found.level, found.value.path) == ("ok", str(tmp_path / name))
        assert "autoencoder" not in found.text
    # Slices go with a model of any shape.
    ldm = GeneratorConfig(kind="ldm", path=str(parts / "ldm"))
    creating({"folder": tmp_path / "s", "cohort": import_any(parts / "cohort"),
              "generator": ldm, "embedder": found.value})  # fmt: skip


def made(folder, parts, **values):
    return jobs.run(creating({"folder": folder, "cohort": import_any(parts / "cohort"), **values}))


def test_a_study_takes_the_preprocessing_of_the_model(parts, tmp_path):
    generator = look_at("generator", str(parts / "ldm")).value
    study = made(tmp_path / "one", parts, generator=generator, embedder=EmbedderChoice())
    assert study.config.preprocessing.shape == (16, 16, 16)
    assert study.config.preprocessing.intensity.rule == "window"
    other = look_at("generator", str(parts / "made")).value
    study = made(tmp_path / "two", parts, generator=other)
    assert study.config.preprocessing.intensity.rule == "percentile"
    with pytest.raises(BadInput, match="folder and a cohort"):
        creating({"folder": tmp_path})


def test_models_of_different_shapes_are_refused_before_anything_runs(parts, tmp_path, ldm_study):
    recipe = json.loads((parts / "ldm" / "recipe.json").read_text())
    recipe["preprocessing"]["shape"] = [32, 32, 32]
    recipe["latent_shape"] = [2, 16, 16, 16]
    other = tmp_path / "other"
    other.mkdir()
    (other / "recipe.json").write_text(json.dumps(recipe))
    for name in recipe["files"].values():
        (other / name).write_bytes((parts / "ldm" / name).read_bytes())
    values = {
        "generator": look_at("generator", str(parts / "ldm")).value,
        "embedder": look_at("embedder", str(other)).value,
    }
    with pytest.raises(BadInput, match="32 x 32 x 32"):
        made(tmp_path / "study", parts, **values)
    assert not (tmp_path / "study").exists()
    study = Study.open(ldm_study)
    for field in ("generator", "embedder"):
        with pytest.raises(BadInput, match="32 x 32 x 32"):
            jobs.run(changing(study, {field: look_at(field, str(other)).value}))


def test_changes_of_an_open_study(parts, ldm_study):
    study = Study.open(ldm_study)
    same = look_at("generator", str(parts / "ldm")).value
    assert differing(study, {"generator": same, "embedder": EmbedderChoice()}) == {}
    assert differing(study, {"generator": None}) == {}
    other = look_at("generator", str(parts / "made")).value
    update(study, jobs.run(changing(study, {"generator": other})))
    assert Study.open(ldm_study).config.generator.kind == "folder"
    stated_ = look_at("generator", Choice(str(parts / "ldm"), "steps=2")).value
    assert differing(study, {"generator": stated_}) == {"generator": stated_}


def test_what_is_set_elsewhere_stays_when_more_is_stated(ldm_study, bundles):
    study = Study.open(ldm_study)
    path = str(bundles / "unscaled")
    own = {"kind": "ldm", "path": path, "steps": 3, "declared": {"scale_factor": 1.0}}
    study.update(generator=own)
    value = look_at("generator", Choice(path, "scale_factor=0.5")).value
    update(study, jobs.run(changing(study, {"generator": value})))
    assert study.config.generator.steps == 3
    assert study.config.generator.declared == {"scale_factor": 0.5}


def test_missing_facts_are_listed_and_stating_them_makes_it_usable(bundles):
    path = str(bundles / "bare")
    found = look_at("generator", path)
    assert (found.level, found.value) == ("missing", None)
    assert [text.partition(":")[0] for text in found.missing] == ["latent_shape"]
    assert "\n• latent_shape: channels and axes" in found.text
    assert "nothing in it was run" in found.text
    assert "--set" not in found.text
    found = look_at("generator", Choice(path, "latent_shape=2,8,8,8; scale_factor = 0.5\naxes=RAS"))
    assert found.missing == ()
    assert found.value.declared == {
        "latent_shape": [2, 8, 8, 8], "scale_factor": 0.5, "axes": "RAS"
    }  # fmt: skip
    assert "Scale factor 0.5 (declared)" in found.text


@pytest.mark.parametrize("text", ["latent_shape", "latent_shape=2,8", "nonsense=1", "axes=XYZ"])
def test_a_statement_that_does_not_fit_is_an_error_and_can_be_mended(bundles, text):
    found = look_at("generator", Choice(str(bundles / "bare"), text))
    assert (found.level, found.value) == ("error", None)
    assert text.partition("=")[0] in found.text
    assert found.about_model  # the field stays open
    assert "--set" not in found.text


def test_a_missing_scale_factor_alone_is_no_hindrance(bundles):
    found = look_at("generator", str(bundles / "unscaled"))
    assert found.level == "warning"
    assert found.value.declared == {}
    assert "estimated from the training volumes" in found.text
    # What stands in for it meanwhile is not told as the model's.
    assert "Scale factor 1" not in found.text
    assert "scale factor 1" not in found.text + found.more
    # For an embedder it does not matter, and that is written down with it.
    found = look_at("embedder", str(bundles / "unscaled"))
    assert "not needed" in found.value.declared["scale_factor_from"]
    assert "cale factor" not in found.text


def test_a_weight_file_says_what_else_is_needed(bundles):
    found = look_at("generator", str(bundles / "bare" / "models" / "diffusion_unet.pt"))
    assert found.level == "missing"
    assert "configs/inference.json" in found.text
    config = bundles / "unscaled" / "configs" / "inference.json"
    more = f"config={config}; autoencoder={bundles / 'unscaled' / 'models' / 'autoencoder.pt'}"
    path = str(bundles / "unscaled" / "models" / "diffusion_unet.pt")
    found = look_at("generator", Choice(path, more))
    assert found.value is not None, found.text


def test_an_estimate_is_kept_until_something_else_is_stated(bundles):
    path = str(bundles / "unscaled")
    kept = {"scale_factor": 0.7, "scale_factor_from": "estimated: of a test"}
    config = GeneratorConfig(kind="ldm", path=path, declared={"axes": "RAS", **kept})
    choice = as_chosen(config)
    assert (choice.stated, choice.kept) == ("axes=RAS", kept)
    found = look_at("generator", choice)
    assert "Scale factor 0.7 (estimated: of a test)" in found.text
    assert found.value == config
    found = look_at("generator", Choice(path, "scale_factor=0.5", kept=kept))
    assert found.value.declared == {"scale_factor": 0.5}


def test_what_is_stated_reads_back_the_same():
    declared = {
        "latent_shape": [2, 8, 8, 8], "context": [0.5], "axes": "RAS", "steps": 5,
        "intensity": {"rule": "window", "low": -300.0, "high": 900.0},
        "decoded_range": [-1.0, 1.0],
    }  # fmt: skip
    assert Choice("x", stated(declared)).declared().given() == declared
    assert as_chosen(None) == Choice("")
    assert as_chosen(EmbedderChoice()) == Choice("")


def test_code_is_asked_for_only_where_data_does_not_do(bundles, tmp_path):
    found = look_at("generator", str(bundles / "code"))
    assert (found.level, found.value) == ("error", None)
    assert "scripts.own.Network" in found.code
    assert found.text.startswith("This can only be used by running its code.")
    assert look_at("generator", str(bundles / "unscaled")).code == ""
    found = look_at("generator", "package.module:make")
    assert "plug-in" in found.code
    trusted = look_at("generator", Choice("package.module:make", trust=True))
    assert trusted.value == GeneratorConfig(kind="ldm", path="package.module:make", trust=True)
    # A file without a function names nothing that could be run.
    (tmp_path / "model.py").write_text("raise SystemExit\n")
    found = look_at("embedder", str(tmp_path / "model.py"))
    assert (found.level, found.code) == ("error", "")
    assert "model.py:FUNCTION" in found.text


def test_a_file_that_would_run_code_is_refused_and_not_offered_trust(bomb):
    for field in ("generator", "embedder"):
        found = look_at(field, str(bomb))
        assert (found.level, found.value, found.code) == ("error", None, "")
        assert "system" in found.text
    assert not (bomb.parent / "ran").exists()


def test_weights_that_are_damaged_are_found_when_they_are_chosen(bundles, tmp_path):
    for known in ("unscaled", "bare"):
        folder = Path(shutil.copytree(bundles / known, tmp_path / known))
        file = folder / "models" / "autoencoder.pt"
        state = torch.load(file, weights_only=True)
        state[next(iter(state))].fill_(float("nan"))
        torch.save(state, file)
        choice = Choice(str(folder), "latent_shape=2,8,8,8")
        for field in ("generator", "embedder"):
            found = look_at(field, choice)
            assert (found.level, found.value) == ("error", None)
            assert "NaN" in found.text


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize("name", ["model.pt", "recipe.json"])
def test_a_link_to_itself_is_an_error_in_words(tmp_path, name):
    (tmp_path / name).symlink_to(tmp_path / name)
    for field in ("generator", "embedder"):
        found = look_at(field, str(tmp_path / name))
        assert (found.level, found.value) == ("error", None)


def test_a_plug_in_and_a_recipe_are_found_from_anywhere(fresh_study, parts, monkeypatch):
    monkeypatch.chdir(parts)
    found = look_at("generator", "ldm/recipe.json")
    assert found.value.path == str(parts / "ldm")
    assert look_at("generator", "own.py:make").code.startswith(str(parts / "own.py"))
    assert look_at("generator", str(parts / "made" / "made0.nii.gz")).level == "error"
    assert chosen(fresh_study)["generator"] == found.value


def test_where_volumes_come_from_and_how_large_a_voxel_is(ldm_study, fresh_study):
    study = Study.open(ldm_study)
    assert has_source(study)
    assert spacing_of(study) == pytest.approx((0.6, 0.6, 0.6))
    assert spacing_of(fresh_study) == pytest.approx((0.6, 0.6, 0.6))
    fresh_study.update(generator=None)
    assert not has_source(fresh_study)
