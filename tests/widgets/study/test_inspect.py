"""What is this? One line for everything a person can choose."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from napari_memscan import jobs
from napari_memscan.checkpoints.backbone_networks import build_backbone
from napari_memscan.checkpoints.native_format import save_checkpoint
from napari_memscan.checkpoints.recipe import SlicesRecipe, StructuralRecipe
from napari_memscan.config import GeneratorConfig
from napari_memscan.embedders.multiscale_encoder import MultiScaleEncoder
from napari_memscan.errors import BadInput
from napari_memscan.study import Study
from napari_memscan.volumes.importers import import_cohort
from napari_memscan.volumes.preprocessing import MinMax, Preprocessing
from napari_memscan.widgets.study.field_status import EmbedderChoice, FieldChoice
from napari_memscan.widgets.study.inspect import find_display_spacing, has_source, inspect_field
from napari_memscan.widgets.study.tasks import (
    create_chosen_study,
    find_changed_models,
    format_statement,
    get_study_models,
    make_field_choice,
    prepare_model_changes,
    write_model_changes,
)


def test_folder(tmp_path, ldm_study):
    assert inspect_field("folder", str(tmp_path / "new")).level == "ok"
    assert inspect_field("folder", str(tmp_path)).level == "warning"  # not empty
    found = inspect_field("folder", str(ldm_study))
    assert found.level == "error"
    assert "Open it" in found.text
    assert inspect_field("folder", str(ldm_study / "cohort.csv")).level == "error"


def test_cohort_counts_splits_and_repeats_warnings(parts):
    found = inspect_field("cohort", str(parts / "cohort"))
    assert "8 training, 20 validation" in found.text
    assert "subject_id" in found.text
    assert found.level == "warning"
    assert found.value.counts()["training"] == 8


def test_cohort_that_does_not_do_is_an_error_in_words(tmp_path):
    (tmp_path / "cohort.csv").write_text("path,split\n")
    found = inspect_field("cohort", str(tmp_path / "cohort.csv"))
    assert (found.level, found.value) == ("error", None)
    assert "training" in found.text


def test_generator_says_whether_it_is_a_model_or_volumes(parts, tmp_path):
    model = inspect_field("generator", str(parts / "ldm"))
    assert model.text.startswith("3D LDM")
    assert model.value.kind == "ldm"
    volumes = inspect_field("generator", str(parts / "made"))
    assert volumes.text.startswith("6 synthetic volumes")
    assert volumes.value.kind == "folder"
    (tmp_path / "empty").mkdir()
    for wrong in (tmp_path / "empty", tmp_path / "missing"):
        found = inspect_field("generator", str(wrong))
        assert found.level == "error"
        assert "recipe.json" in found.text


def test_embedder_may_be_left_empty_and_a_wrong_one_is_an_error(parts):
    found = inspect_field("embedder", "")
    assert (found.level, found.value) == ("info", EmbedderChoice("low-resolution"))
    assert inspect_field("embedder", str(parts / "made")).level == "error"
    # An LDM's own autoencoder is the paper's baseline; that it is not an embedder is said.
    found = inspect_field("embedder", str(parts / "ldm"))
    assert found.level == "warning"
    assert "autoencoder will be the embedder" in found.text


def test_every_kind_of_embedder_is_one(parts, tmp_path):
    preprocessing = Preprocessing(shape=(16, 16, 16), intensity=MinMax())
    structural = StructuralRecipe(
        input_shape=(16, 16, 16),
        working_shape=(8, 8, 8),
        width=4,
        stages=2,
        cells=2,
        hidden=8,
        dim=4,
        preprocessing=preprocessing,
    )
    encoder = MultiScaleEncoder((8, 8, 8), 4, 2, 2, 4, 8)
    save_checkpoint(tmp_path / "structural", structural, {"embedder": encoder.state_dict()})
    plain = {
        "block": "basic",
        "layers": [1] * 4,
        "block_inplanes": [4] * 4,
        "n_input_channels": 1,
        "feed_forward": False,
    }
    slices = SlicesRecipe(network="ResNet", arguments=plain, mean=(0,), std=(1,))
    network = build_backbone("ResNet", plain, dimensions=2)
    save_checkpoint(tmp_path / "slices", slices, {"backbone": network.state_dict()})
    for name in ("structural", "slices"):
        found = inspect_field("embedder", str(tmp_path / name))
        assert (found.level, found.value.path) == ("ok", str(tmp_path / name))
        assert "autoencoder" not in found.text
    # Slices go with a model of any shape.
    ldm = GeneratorConfig(kind="ldm", path=str(parts / "ldm"))
    create_chosen_study(
        {
            "folder": tmp_path / "s",
            "cohort": import_cohort(parts / "cohort"),
            "generator": ldm,
            "embedder": found.value,
        }
    )


def made(folder, parts, **values):
    return jobs.run_job(
        create_chosen_study({"folder": folder, "cohort": import_cohort(parts / "cohort"), **values})
    )


def test_a_study_takes_the_preprocessing_of_the_model(parts, tmp_path):
    generator = inspect_field("generator", str(parts / "ldm")).value
    study = made(tmp_path / "one", parts, generator=generator, embedder=EmbedderChoice())
    assert study.config.preprocessing.shape == (16, 16, 16)
    assert study.config.preprocessing.intensity.rule == "window"
    other = inspect_field("generator", str(parts / "made")).value
    study = made(tmp_path / "two", parts, generator=other)
    assert study.config.preprocessing.intensity.rule == "percentile"
    with pytest.raises(BadInput, match="folder and a cohort"):
        create_chosen_study({"folder": tmp_path})


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
        "generator": inspect_field("generator", str(parts / "ldm")).value,
        "embedder": inspect_field("embedder", str(other)).value,
    }
    with pytest.raises(BadInput, match="32 x 32 x 32"):
        made(tmp_path / "study", parts, **values)
    assert not (tmp_path / "study").exists()
    study = Study.open(ldm_study)
    for field in ("generator", "embedder"):
        with pytest.raises(BadInput, match="32 x 32 x 32"):
            jobs.run_job(
                prepare_model_changes(study, {field: inspect_field(field, str(other)).value})
            )


def test_changes_of_an_open_study(parts, ldm_study):
    study = Study.open(ldm_study)
    same = inspect_field("generator", str(parts / "ldm")).value
    assert find_changed_models(study, {"generator": same, "embedder": EmbedderChoice()}) == {}
    assert find_changed_models(study, {"generator": None}) == {}
    other = inspect_field("generator", str(parts / "made")).value
    write_model_changes(study, jobs.run_job(prepare_model_changes(study, {"generator": other})))
    assert Study.open(ldm_study).config.generator.kind == "folder"
    stated_ = inspect_field("generator", FieldChoice(str(parts / "ldm"), "steps=2")).value
    assert find_changed_models(study, {"generator": stated_}) == {"generator": stated_}


def test_what_is_set_elsewhere_stays_when_more_is_stated(ldm_study, bundles):
    study = Study.open(ldm_study)
    path = str(bundles / "unscaled")
    own = {"kind": "ldm", "path": path, "steps": 3, "declared": {"scale_factor": 1.0}}
    study.update(generator=own)
    value = inspect_field("generator", FieldChoice(path, "scale_factor=0.5")).value
    write_model_changes(study, jobs.run_job(prepare_model_changes(study, {"generator": value})))
    assert study.config.generator.steps == 3
    assert study.config.generator.declared == {"scale_factor": 0.5}


def test_missing_facts_are_listed_and_stating_them_makes_it_usable(bundles):
    path = str(bundles / "bare")
    found = inspect_field("generator", path)
    assert (found.level, found.value) == ("missing", None)
    assert [fact.name for fact in found.missing] == ["latent_shape"]
    assert "\n• latent_shape: channels and axes" in found.text
    assert "nothing in it was run" in found.text
    assert "--set" not in found.text
    found = inspect_field(
        "generator", FieldChoice(path, "latent_shape=2,8,8,8; scale_factor = 0.5\naxes=RAS")
    )
    assert found.missing == ()
    assert found.value.declared == {
        "latent_shape": [2, 8, 8, 8],
        "scale_factor": 0.5,
        "axes": "RAS",
    }
    assert "Scale factor 0.5 (declared)" in found.text


@pytest.mark.parametrize("text", ["latent_shape", "latent_shape=2,8", "nonsense=1", "axes=XYZ"])
def test_a_statement_that_does_not_fit_is_an_error_and_can_be_mended(bundles, text):
    found = inspect_field("generator", FieldChoice(str(bundles / "bare"), text))
    assert (found.level, found.value) == ("error", None)
    assert text.partition("=")[0] in found.text
    assert found.about_model  # the field stays open
    assert "--set" not in found.text


def test_a_missing_scale_factor_alone_is_no_hindrance(bundles):
    found = inspect_field("generator", str(bundles / "unscaled"))
    assert found.level == "warning"
    assert found.value.declared == {}
    assert "estimated from the training volumes" in found.text
    # What stands in for it meanwhile is not told as the model's.
    assert "Scale factor 1" not in found.text
    assert "scale factor 1" not in found.text + found.more
    # For an embedder it does not matter.
    found = inspect_field("embedder", str(bundles / "unscaled"))
    assert found.value == EmbedderChoice(str(bundles / "unscaled"))
    assert "cale factor" not in found.text


def test_a_weight_file_says_what_else_is_needed(bundles):
    found = inspect_field("generator", str(bundles / "bare" / "models" / "diffusion_unet.pt"))
    assert found.level == "missing"
    assert "configs/inference.json" in found.text
    config = bundles / "unscaled" / "configs" / "inference.json"
    more = f"config={config}; autoencoder={bundles / 'unscaled' / 'models' / 'autoencoder.pt'}"
    path = str(bundles / "unscaled" / "models" / "diffusion_unet.pt")
    found = inspect_field("generator", FieldChoice(path, more))
    assert found.value is not None, found.text


def test_an_estimate_is_kept_until_something_else_is_stated(bundles):
    path = str(bundles / "unscaled")
    kept = {"scale_factor": 0.7, "scale_factor_from": "estimated: of a test"}
    config = GeneratorConfig(kind="ldm", path=path, declared={"axes": "RAS", **kept})
    choice = make_field_choice(config)
    assert (choice.stated, choice.kept) == ("axes=RAS", kept)
    found = inspect_field("generator", choice)
    assert "Scale factor 0.7 (estimated: of a test)" in found.text
    assert found.value == config
    found = inspect_field("generator", FieldChoice(path, "scale_factor=0.5", kept=kept))
    assert found.value.declared == {"scale_factor": 0.5}


def test_what_is_stated_reads_back_the_same():
    declared = {
        "latent_shape": [2, 8, 8, 8],
        "context": [0.5],
        "axes": "RAS",
        "steps": 5,
        "intensity": {"rule": "window", "low": -300.0, "high": 900.0},
        "decoded_range": [-1.0, 1.0],
    }
    assert FieldChoice("x", format_statement(declared)).declared().to_dict() == declared
    assert make_field_choice(None) == FieldChoice("")
    assert make_field_choice(EmbedderChoice()) == FieldChoice("")


def test_code_is_asked_for_only_where_data_does_not_do(bundles, tmp_path):
    found = inspect_field("generator", str(bundles / "code"))
    assert (found.level, found.value) == ("error", None)
    assert "scripts.own.Network" in found.code
    assert found.text.startswith("This can only be used by running its code.")
    assert inspect_field("generator", str(bundles / "unscaled")).code == ""
    found = inspect_field("generator", "package.module:make")
    assert "plug-in" in found.code
    trusted = inspect_field("generator", FieldChoice("package.module:make", trust=True))
    assert trusted.value == GeneratorConfig(kind="ldm", path="package.module:make", trust=True)
    # A file without a function names nothing that could be run.
    (tmp_path / "model.py").write_text("raise SystemExit\n")
    found = inspect_field("embedder", str(tmp_path / "model.py"))
    assert (found.level, found.code) == ("error", "")
    assert "model.py:FUNCTION" in found.text


def test_a_file_that_would_run_code_is_refused_and_not_offered_trust(bomb):
    for field in ("generator", "embedder"):
        found = inspect_field(field, str(bomb))
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
        choice = FieldChoice(str(folder), "latent_shape=2,8,8,8")
        for field in ("generator", "embedder"):
            found = inspect_field(field, choice)
            assert (found.level, found.value) == ("error", None)
            assert "NaN" in found.text


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize("name", ["model.pt", "recipe.json"])
def test_a_link_to_itself_is_an_error_in_words(tmp_path, name):
    (tmp_path / name).symlink_to(tmp_path / name)
    for field in ("generator", "embedder"):
        found = inspect_field(field, str(tmp_path / name))
        assert (found.level, found.value) == ("error", None)


def test_a_plug_in_and_a_recipe_are_found_from_anywhere(fresh_study, parts, monkeypatch):
    monkeypatch.chdir(parts)
    found = inspect_field("generator", "ldm/recipe.json")
    assert found.value.path == str(parts / "ldm")
    assert inspect_field("generator", "own.py:make").code.startswith(str(parts / "own.py"))
    assert inspect_field("generator", str(parts / "made" / "made0.nii.gz")).level == "error"
    assert get_study_models(fresh_study)["generator"] == found.value


def test_where_volumes_come_from_and_how_large_a_voxel_is(ldm_study, fresh_study):
    study = Study.open(ldm_study)
    assert has_source(study)
    assert find_display_spacing(study) == pytest.approx((0.6, 0.6, 0.6))
    assert find_display_spacing(fresh_study) == pytest.approx((0.6, 0.6, 0.6))
    fresh_study.update(generator=None)
    assert not has_source(fresh_study)
