"""Membership inference over a study: progress, stopping, what is written, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_memscan import jobs
from napari_memscan.checkpoints.native_format import read_recipe
from napari_memscan.cli import app
from napari_memscan.config import GeneratorConfig
from napari_memscan.errors import BadInput
from napari_memscan.jobs import Progress
from napari_memscan.volumes.cohort import Cohort, CohortRow


@pytest.fixture
def study(make_study, tmp_path):
    return make_study(tmp_path / "study")


def written(study):
    return (study.scan_dir / "membership.json").read_bytes()


def test_progress_a_volume_at_a_time_and_a_file_at_the_end(study):
    job = jobs.evaluate_membership(study, "pia")
    news = [next(job) for _ in range(13)]
    assert not (study.scan_dir / "membership.json").exists()
    news.append(next(job))
    with pytest.raises(StopIteration) as end:
        next(job)
    rows = [*study.cohort.rows("training"), *study.cohort.rows("validation")]
    assert news == [
        Progress(i, 14, f"scored {Path(row.path).name} ({row.split})")
        for i, row in enumerate(rows, 1)
    ]
    result = end.value.value
    assert json.loads(written(study)) == result.to_dict()
    assert [a.attack for a in result.attacks] == ["pia", "pian"]
    assert (result.n_training, result.n_validation) == (8, 6)
    assert result.checkpoint_hash == study.generator().checkpoint_hash
    assert result.seed == study.config.seed
    # What the model was trained on, not what the study compares in.
    own = read_recipe(study.config.generator.path).preprocessing
    assert result.preprocessing == own.model_dump(mode="json")


def test_stopped_and_started_again_gives_the_same_bytes(study, make_study, tmp_path):
    job = jobs.evaluate_membership(study, "pia")
    for _ in range(5):
        next(job)
    job.close()
    other = make_study(tmp_path / "other")
    jobs.run_job(jobs.evaluate_membership(other, "pia"))
    jobs.run_job(jobs.evaluate_membership(study, "pia"))
    assert written(study) == written(other)
    # And once more, from what is kept alone.
    jobs.run_job(jobs.evaluate_membership(study, "pia"))
    assert written(study) == written(other)


def test_each_volume_is_told_what_the_cohort_says_of_it(
    make_study, tmp_path, phantoms, conditional_ldm
):
    model = GeneratorConfig(kind="ldm", path=str(conditional_ldm))

    def result(folder, names):
        rows = [*phantoms.rows("training"), *phantoms.rows("validation")]
        told = [replace(row, condition=name) for row, name in zip(rows, names, strict=True)]
        study = make_study(tmp_path / folder, cohort=Cohort.from_rows(told), generator=model)
        return jobs.run_job(jobs.evaluate_membership(study, "pia"))

    sides = result("all", ["left", "right"] * 7)
    assert not any("no condition in cohort.csv" in w for w in sides.warnings)
    some = result("some", ["left", "right"] * 6 + ["", "up"])
    warned = [w for w in some.warnings if "no condition in cohort.csv" in w]
    assert len(warned) == 1
    assert warned[0].startswith("2 of 14 volumes have")
    assert "(left, right)" in warned[0]
    a, b = sides.attacks[0], some.attacks[0]
    assert a.training == b.training
    assert [x == y for x, y in zip(a.validation, b.validation, strict=True)] == [True] * 4 + [
        False
    ] * 2


def test_a_folder_has_no_denoiser(make_study, tmp_path, phantoms):
    folder = str(Path(phantoms.rows("unseen")[0].path).parent)
    study = make_study(tmp_path / "s", generator=GeneratorConfig(kind="folder", path=folder))
    with pytest.raises(BadInput, match=r"made elsewhere.*choose an LDM checkpoint"):
        next(jobs.evaluate_membership(study))
    with pytest.raises(BadInput, match="generator"):
        next(jobs.evaluate_membership(make_study(tmp_path / "none", generator=None)))


def test_bad_input_names_the_volume(make_study, tmp_path, phantoms):
    with pytest.raises(BadInput, match="attack 'lira'"):
        next(jobs.evaluate_membership(make_study(tmp_path / "a"), "lira"))
    rows = [*phantoms.rows("training"), phantoms.rows("validation")[0]]
    study = make_study(tmp_path / "b", cohort=Cohort.from_rows(rows))
    with pytest.raises(BadInput, match="validation: 1 volumes; at least 2"):
        next(jobs.evaluate_membership(study))
    broken = tmp_path / "broken.npy"
    array = np.random.default_rng(0).random((16, 16, 16), np.float32)
    array[2, 2, 2] = np.nan
    np.save(broken, array)
    row = CohortRow(str(broken), "validation", "x", axes="XYZ", spacing="1 1 1")
    cohort = Cohort.from_rows([*phantoms.rows("training"), *phantoms.rows("validation"), row])
    job = jobs.evaluate_membership(make_study(tmp_path / "c", cohort=cohort), "pia")
    with pytest.raises(BadInput, match=r"broken\.npy.*NaN"):
        jobs.run_job(job)


def memscan(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_command_prints_a_table_or_json(study):
    shown = memscan("membership", study.folder, "--attack", "pia")
    assert shown.exit_code == 0, shown.stderr
    assert "no power at n = 6 validation subjects; at least 100 are needed" in shown.stdout
    assert "does not mean that nothing is copied" in shown.stdout
    assert "membership.json" in shown.stderr
    as_json = memscan("membership", study.folder, "--attack", "pia", "--json")
    assert json.loads(as_json.stdout) == json.loads(written(study))


def test_command_refuses(make_study, tmp_path, phantoms):
    folder = str(Path(phantoms.rows("unseen")[0].path).parent)
    study = make_study(tmp_path / "s", generator=GeneratorConfig(kind="folder", path=folder))
    refused = memscan("membership", study.folder)
    assert refused.exit_code == 2
    assert refused.stdout == ""
    assert "Traceback" not in refused.stderr
    assert "memscan membership audit --attack pia" in memscan("membership", "--help").stdout
