"""What is this? One line for everything a person can choose."""

import json

import pytest

from napari_memscan.errors import BadInput
from napari_memscan.study import Study
from napari_memscan.volumes.importers import import_any
from napari_memscan.widgets.choices import (
    changes,
    configuration,
    differing,
    has_source,
    look_at,
    spacing_of,
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
    assert (found.level, found.value) == ("info", "low-resolution")
    assert look_at("embedder", str(parts / "made")).level == "error"
    # An LDM's own autoencoder is the paper's baseline; that it is not an embedder is said.
    found = look_at("embedder", str(parts / "ldm"))
    assert found.level == "warning"
    assert "autoencoder will be the embedder" in found.text


def test_configuration_takes_the_preprocessing_of_the_model(parts):
    cohort = import_any(parts / "cohort")
    generator = look_at("generator", str(parts / "ldm")).value
    config = configuration({"generator": generator, "embedder": "low-resolution"}, cohort, "x")
    assert config.preprocessing.shape == (16, 16, 16)
    assert config.preprocessing.intensity.rule == "window"
    other = look_at("generator", str(parts / "made")).value
    assert (
        configuration({"generator": other}, cohort, "x").preprocessing.intensity.rule
        == "percentile"
    )


def test_models_of_different_shapes_are_refused_before_anything_runs(parts, tmp_path, ldm_study):
    recipe = json.loads((parts / "ldm" / "recipe.json").read_text())
    recipe["preprocessing"]["shape"] = [32, 32, 32]
    other = tmp_path / "other"
    other.mkdir()
    (other / "recipe.json").write_text(json.dumps(recipe))
    for name in recipe["files"].values():
        (other / name).write_bytes((parts / "ldm" / name).read_bytes())
    values = {
        "generator": look_at("generator", str(parts / "ldm")).value,
        "embedder": str(other),
    }
    with pytest.raises(BadInput, match="32 x 32 x 32"):
        configuration(values, import_any(parts / "cohort"), "x")
    with pytest.raises(BadInput, match="32 x 32 x 32"):
        changes(Study.open(ldm_study), {"embedder": str(other)})


def test_changes_of_an_open_study(parts, ldm_study):
    study = Study.open(ldm_study)
    same = look_at("generator", str(parts / "ldm")).value
    assert differing(study, {"generator": same, "embedder": "low-resolution"}) == {}
    other = look_at("generator", str(parts / "made")).value
    study.update(**changes(study, {"generator": other}))
    assert Study.open(ldm_study).config.generator.kind == "folder"


def test_where_volumes_come_from_and_how_large_a_voxel_is(ldm_study, fresh_study):
    study = Study.open(ldm_study)
    assert has_source(study)
    assert spacing_of(study) == pytest.approx((0.6, 0.6, 0.6))
    assert spacing_of(fresh_study) == pytest.approx((0.6, 0.6, 0.6))
    fresh_study.update(generator=None)
    assert not has_source(fresh_study)
