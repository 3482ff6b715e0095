"""An experiment's runs differ in what is varied and nothing else, go on, and do not collide."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from napari_memscan import jobs
from napari_memscan.checkpoints.native_format import read_recipe, save_checkpoint
from napari_memscan.checkpoints.recipe import AutoencoderRecipe
from napari_memscan.cli import app
from napari_memscan.errors import BadInput, JobFailed
from napari_memscan.jobs.experiment import (
    collect_outcome,
    estimate_runs,
    plan_experiment,
    read_plan,
    run_experiment,
)
from napari_memscan.jobs.experiment.cohorts import derive_cohort
from napari_memscan.jobs.experiment.duration import compute_latent_shape
from napari_memscan.jobs.experiment.factors import DEFAULT_VIEWS
from napari_memscan.jobs.experiment.outcome import RESULT_FILE
from napari_memscan.study import Study
from napari_memscan.training.settings import AutoencoderSettings
from napari_memscan.volumes.preprocessing import Preprocessing, Window

TINY = {
    "steps": 3,
    "batch": 2,
    "channels": [8, 16],
    "sample_steps": 2,
    "save_every": 1,
    "autoencoder": {"steps": 2, "channels": [8, 8]},
}
FACTORS = ("augmentation=off,on", "size=all,4", "duplication=1,3")


@pytest.fixture
def study(make_study, tmp_path):
    return make_study(tmp_path / "study", verification={"enabled": False})


@pytest.fixture(scope="module")
def made(phantoms, tmp_path_factory):
    """A finished experiment: its study, folder, plan and outcome."""
    from napari_memscan.config import StudyConfig, VerificationConfig

    folder = tmp_path_factory.mktemp("made")
    config = StudyConfig(
        name="tiny",
        preprocessing=Preprocessing(shape=(16, 16, 16), intensity=Window(low=-300, high=900)),
        verification=VerificationConfig(enabled=False),
    )
    study = Study.create(folder / "study", config, phantoms)
    plan = plan_experiment(study, FACTORS, settings=TINY, n=3)
    with pytest.MonkeyPatch.context() as patch:
        # What is fastest is timed, and bytes depend on it; a busy machine may choose otherwise.
        fixed = partial(jobs.generate_volumes, precision="float32", memory="contiguous")
        patch.setattr("napari_memscan.jobs.experiment.run.generate_volumes", fixed)
        found = jobs.run_job(run_experiment(study, folder / "out", plan))
    return study, folder / "out", plan, found


def test_one_factor_is_varied_at_a_time_or_all_are(study):
    plan = plan_experiment(study, ("steps=3,2,1", "width=1,0.5"), settings=TINY)
    assert [run.name for run in plan.runs] == ["base", "steps-2", "steps-1", "width-0.5"]
    assert [run.number for run in plan.runs] == [1, 2, 3, 4]
    assert plan.settings(plan.runs[3], 8, 8).channels == (8, 8)
    assert plan.settings(plan.runs[1], 8, 8).steps == 2
    full = plan_experiment(study, ("steps=3,2,1", "width=1,0.5"), settings=TINY, full=True)
    assert len(full.runs) == 6
    assert full.runs[0].name == "base"
    assert full.runs[-1].name == "steps-1_width-0.5"
    assert full.settings(full.runs[-1], 8, 8).channels == (8, 8)


def test_epochs_are_steps_that_follow_the_size(study):
    plan = plan_experiment(study, ("epochs=3,1", "size=all,4"), settings=TINY)
    sizes = zip(plan.runs, (8, 8, 4), strict=True)
    assert [plan.settings(run, n, 8).steps for run, n in sizes] == [12, 4, 6]


def test_everything_is_varied_where_nothing_is_said(study):
    plan = plan_experiment(study, settings=TINY)
    names = [run.name for run in plan.runs]
    assert names == [
        "base",
        "augmentation-on",
        "steps-1",
        "size-4",
        "duplication-8",
        "width-0.5",
        "seed-2",
    ]


@pytest.mark.parametrize(
    ("factors", "settings", "message"),
    [
        (["weather"], {}, "no such factor. There are augmentation, steps"),
        (["augmentation=maybe"], {}, "off, on expected"),
        (["steps=many"], {}, "optimiser steps expected, a number"),
        (["size=9"], {}, "from 2 to 8"),
        (["seed=1,1"], {}, "a value is there twice"),
        (["seed=1", "seed=2"], {}, "named twice"),
        (["steps=1", "epochs=1"], {}, "one of the two"),
        (["seed"], {"steppes": 1}, "steppes"),
        (["seed"], {"autoencoder": 3}, "one by one"),
    ],
)
def test_what_makes_no_sense_is_refused(study, factors, settings, message):
    with pytest.raises(BadInput, match=message):
        plan_experiment(study, factors, settings=settings)


def test_runs_are_trained_on_what_their_factors_say(made):
    _, out, _, found = made
    assert not found.missing
    by_name = {row["run"]: row for row in found.rows}
    assert list(by_name) == ["base", "augmentation-on", "size-4", "duplication-3"]
    assert [row["n_training"] for row in found.rows] == [8, 8, 4, 8]
    assert all(row["n"] == 3 and row["steps"] == 3 for row in found.rows)
    trained = {
        name: read_recipe(out / "runs" / name / "models" / "denoiser").provenance["denoiser"]
        for name in by_name
    }
    assert trained["augmentation-on"]["settings"]["views"] == DEFAULT_VIEWS
    assert trained["base"]["settings"]["views"] == 0
    assert trained["duplication-3"]["settings"]["times"] == 3
    assert trained["duplication-3"]["settings"]["duplicated"] == 1
    assert trained["base"]["settings"]["duplicated"] == 0
    coders = {
        json.dumps(read_recipe(out / "runs" / n / "models" / "denoiser").provenance["autoencoder"])
        for n in by_name
    }
    assert len(coders) == 1
    # Same noise, other weights: nothing but the training differs.
    seeds = {tuple(r.seed for r in Study.open(out / "runs" / n).samples()) for n in by_name}
    assert seeds == {("1", "2", "3")}


def test_a_smaller_set_is_part_of_the_larger_and_the_rest_takes_part_in_nothing(made):
    study, _, plan, _ = made
    base, small = (derive_cohort(study, plan, plan.runs[i])[0] for i in (0, 2))
    paths = [row.path for row in base.rows("training")]
    assert [row.path for row in small.rows("training")] == paths[:4]
    left_out = {row.path for row in small.rows("unseen")}
    assert set(paths[4:]) <= left_out
    assert small.rows("validation") == base.rows("validation")


def test_whole_subjects_are_left_out(make_study, phantoms, tmp_path):
    from dataclasses import replace

    from napari_memscan.volumes.cohort import Cohort

    rows = [
        replace(row, subject_id=f"P{i // 2}") if row.split == "training" else row
        for i, row in enumerate(phantoms.rows())
    ]
    study = make_study(tmp_path / "study", Cohort.from_rows(rows))
    plan = plan_experiment(study, ("size=all,5",), settings=TINY)
    kept = derive_cohort(study, plan, plan.runs[1])[0].rows("training")
    assert len(kept) == 4
    assert len({row.subject_id for row in kept}) == 2
    # Where the size is not varied, nobody is left out.
    every = plan_experiment(study, ("seed",), settings=TINY)
    assert len(derive_cohort(study, every, every.runs[0])[0].rows("training")) == 8


def test_table_figures_and_answers_say_what_the_runs_say(made):
    _, out, plan, found = made
    with (out / "table.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["run"] for row in table] == [row["run"] for row in found.rows]
    assert [row["size"] for row in table] == ["8", "8", "4", "8"]
    for row, result in zip(table, found.rows, strict=True):
        assert float(row["copies_low"]) <= int(row["copies"]) / 3 <= float(row["copies_high"])
        calls = {rule["name"]: rule["n"] for rule in result["rules"]}
        assert {name: int(row[f"{name}_calls"]) for name in calls} == calls
    for name in plan.factors:
        assert (out / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    answers = json.loads((out / "answers.json").read_text())["answers"]
    assert {a["factor"] for a in answers} == set(plan.factors)
    size = next(a for a in answers if a["factor"] == "size" and a["measure"] == "N_mem")
    assert (size["low"], size["high"]) == (4, 8)
    assert "falls by itself" in size["note"]
    said = str(found)
    assert "size 4 -> 8 lowers copying (Dar et al. (arXiv 2402.01054)): CANNOT BE TOLD" in said


def test_what_is_finished_is_not_made_again_and_factors_may_follow(made, tiny_ldm, monkeypatch):
    study, out, plan, found = made
    monkeypatch.setattr("napari_memscan.jobs.experiment.run.train_model", None)
    assert jobs.run_job(run_experiment(study, out, plan)) == found
    more = plan_experiment(study, (*FACTORS, "seed=1,2"), settings=TINY, n=3)
    assert collect_outcome(study, out, more).missing == ["seed-2"]
    other = plan_experiment(study, FACTORS, settings=TINY, n=4)
    with pytest.raises(BadInput, match="this run was made with other n"):
        jobs.run_job(run_experiment(study, out, other))
    assert read_plan(out) == plan
    # As good as another autoencoder: the weights of a whole LDM are others.
    with pytest.raises(BadInput, match="made with other weights of the autoencoder"):
        jobs.run_job(run_experiment(study, out, plan, autoencoder=tiny_ldm))


def test_a_run_that_goes_on_keeps_nothing_beside_the_cache_of_all(made):
    study, out, plan, _ = made
    name = plan.runs[0].name
    (out / "runs" / name / RESULT_FILE).unlink()
    # Whoever opens a run as a study of its own gives it one.
    for own in (out / "runs").glob("*/cache"):
        shutil.rmtree(own)
    kept = {p: p.stat().st_mtime_ns for p in (out / "cache").rglob("[!.]*.npy")}
    jobs.run_job(run_experiment(study, out, plan))
    assert (out / "runs" / name / RESULT_FILE).exists()
    assert not list((out / "runs").glob("*/cache"))
    now = {p: p.stat().st_mtime_ns for p in (out / "cache").rglob("[!.]*.npy")}
    assert kept.items() <= now.items()
    # To open a study takes the hashes of all its files, those of unseen volumes, too.
    assert {np.load(path).size for path in now.keys() - kept.keys()} <= {64}


def written(out):
    kept = ("table.csv", "answers.json", "result.json", "samples.csv")
    return {
        path.relative_to(out): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.name in kept or path.name.endswith((".nii.gz", ".safetensors"))
    }


def same_as_in(before, same):
    """Check the autoencoder and the runs of ``size=all,4``."""
    runs = [
        p for p in before if p.parts[0] == "autoencoder" or p.parts[1:2] in (("base",), ("size-4",))
    ]
    assert len(runs) > 8
    for path in runs:
        if path.name != "result.json":  # Names the factors there are.
            assert same[path] == before[path], path


def test_an_experiment_stopped_anywhere_goes_on_with_the_same_bytes(made, tmp_path):
    study, whole, _, _ = made
    plan = plan_experiment(study, ("size=all,4",), settings=TINY, n=3)
    rounds, finished = 0, False
    while not finished:
        rounds += 1
        job = run_experiment(study, tmp_path / "out", plan)
        finished = True
        for n, _ in enumerate(job):
            if n == 23:
                finished = False
                break
        job.close()
    assert rounds > 3
    same_as_in(written(whole), written(tmp_path / "out"))


def test_a_run_is_made_by_one_process_at_a_time(made, tmp_path):
    study, _, _, _ = made
    plan = plan_experiment(study, ("size=all,4",), settings=TINY, n=1)
    out = tmp_path / "out"
    job = run_experiment(study, out, plan)
    assert next(job).what.startswith("autoencoder: ")
    with pytest.raises(JobFailed, match="another memscan is working on this study"):
        jobs.run_job(run_experiment(study, out, plan))
    while not next(job).what.startswith("base: step 1 of 3"):
        pass
    with pytest.raises(JobFailed, match="runs/base: another memscan"):
        jobs.run_job(run_experiment(study, out, plan, only=[1]))
    other = jobs.run_job(run_experiment(study, out, plan, only=[2]))
    assert ([row["run"] for row in other.rows], other.missing) == (["size-4"], ["base"])
    assert not jobs.run_job(job).missing
    with pytest.raises(BadInput, match="the runs are 1 to 2"):
        jobs.run_job(run_experiment(study, out, plan, only=[3]))


def test_torchrun_spreads_the_runs_and_gives_the_bytes_of_one_process(made, tmp_path):
    study, whole, _, _ = made
    out, script = tmp_path / "out", tmp_path / "memscan.py"
    plan_experiment(study, ("size=all,4",), settings=TINY, n=3).save(out)
    # Each process leaves its number beside what it trains.
    script.write_text(
        "import os\n"
        "from pathlib import Path\n"
        "from napari_memscan.jobs.experiment import run\n"
        "number, train = os.environ['RANK'], run.train_model\n"
        "def noted(own, part, out, *rest, **settings):\n"
        "    out.mkdir(parents=True, exist_ok=True)\n"
        "    (out / f'by-{number}').touch()\n"
        "    return train(own, part, out, *rest, **settings)\n"
        "run.train_model = noted\n"
        "from functools import partial\n"
        "fixed = {'precision': 'float32', 'memory': 'contiguous'}\n"
        "run.generate_volumes = partial(run.generate_volumes, **fixed)\n"
        "from napari_memscan.cli import main\nmain()\n"
    )
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *torchrun, str(script), "experiment", str(study.folder)]
    run = subprocess.run(
        [*command, "--out", str(out)], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    assert {path.parent.parent.parent.name: path.name for path in out.glob("runs/*/*/*/by-*")} == {
        "base": "by-0",
        "size-4": "by-1",
    }
    assert [path.name for path in out.glob("autoencoder/by-*")] == ["by-0"]
    same_as_in(written(whole), written(out))
    # One of them speaks, when all are done.
    assert run.stdout.count("size 4 -> 8 lowers copying") == 1
    assert "not finished" not in run.stdout


def test_latents_that_the_denoiser_cannot_halve_are_refused_before_anything_is_trained(
    make_study, tmp_path
):
    from typer.testing import CliRunner

    recipe = Preprocessing(shape=(16, 24, 16), intensity=Window(low=-300, high=900))
    study = make_study(tmp_path / "study", preprocessing=recipe)
    plan = plan_experiment(study, ("seed",), settings={"channels": [8, 8, 8]})
    with pytest.raises(BadInput, match=r"3 levels halve the latents' axes \(4, 6, 4\)"):
        next(run_experiment(study, tmp_path / "out", plan))
    named = ["--factor", "seed", "--set", "channels=[8,8,8]"]
    result = CliRunner().invoke(app, ["experiment", str(study.folder), *named, "--list"])
    assert result.exit_code == 2
    assert "must be a multiple of 4. Take fewer levels" in result.stderr
    # Of an autoencoder that is there, its own latents count.
    (own := study.folder / "models" / "autoencoder").mkdir(parents=True)
    coder = AutoencoderSettings(channels=(8, 8))
    recipe = AutoencoderRecipe(
        autoencoder=coder.arguments(),
        preprocessing=study.config.preprocessing,
        provenance={"settings": coder.model_dump(mode="json")},
    )
    save_checkpoint(own, recipe, {"autoencoder": {}})
    assert compute_latent_shape(study, plan) == (3, 8, 12, 8)


def test_the_command_lists_runs_makes_one_and_remembers_the_plan(study):
    from typer.testing import CliRunner

    runner, folder = CliRunner(), str(study.folder)
    named = ["--factor", "seed=1,2", "-n", "1"]
    for key, value in TINY.items():
        if key != "autoencoder":
            named += ["--set", f"{key}={json.dumps(value)}"]
    named += ["--set", "autoencoder.steps=2", "--set", "autoencoder.channels=[8,8]"]
    result = runner.invoke(app, ["experiment", folder, *named, "--list"])
    assert result.exit_code == 0, result.output
    assert "   2  seed-2" in result.stdout
    assert "without the scans" in result.stdout
    assert not (study.folder / "experiment").exists()
    result = runner.invoke(app, ["experiment", folder, *named, "--run", "2"])
    assert result.exit_code == 0, result.output
    assert "not finished: base" in result.stdout
    result = runner.invoke(app, ["experiment", folder, "--json"])
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert [row["run"] for row in value["runs"]] == ["base", "seed-2"]
    result = runner.invoke(app, ["experiment", folder, "--list"])
    assert "the scans included" in result.stdout
    assert result.stdout.count("done") == 2
    result = runner.invoke(app, ["experiment", folder, "--factor", "luck"])
    assert result.exit_code == 2
    assert "no such factor" in result.stderr


def test_an_estimate_grows_with_steps_and_volumes(made, tmp_path):
    study, out, _, _ = made
    plan = plan_experiment(study, ("steps=400,100",), settings=TINY, n=3)
    long, short = estimate_runs(study, tmp_path / "none", plan)
    assert long.training == pytest.approx(4 * short.training)
    assert long.scan is None
    assert not (tmp_path / "none").exists()
    again = plan_experiment(study, FACTORS, settings=TINY, n=3)
    assert all(one.finished and one.seconds == 0 for one in estimate_runs(study, out, again))
