"""The command line: what it prints where, and with which exit code it ends."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import napari_memscan
from napari_memscan import jobs
from napari_memscan.checkpoints.native_format import read_recipe
from napari_memscan.cli import app, console
from napari_memscan.config import GeneratorConfig, VerificationConfig
from napari_memscan.detection.pipeline import DetectionChain
from napari_memscan.errors import JobFailed
from napari_memscan.generators.sample import DenoisingStep
from napari_memscan.jobs import Progress
from napari_memscan.study import Study
from napari_memscan.training.run import TrainingProgress
from napari_memscan.volumes.cohort import Cohort

COMMANDS = (
    "demo",
    "new",
    "check",
    "convert",
    "train",
    "generate",
    "scan",
    "selftest",
    "membership",
    "evidence",
    "review",
    "blind",
    "report",
    "release",
    "verify",
    "readers",
    "audit",
    "dedup",
)
PROCESS = [sys.executable, "-c", "from napari_memscan.cli import main; main()"]
# Ctrl+C in the midst of the sixth write. A shell that starts tests in the background makes them,
# and what they start, deaf to it.
INTERRUPTED = """
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
calls, fsync = 0, os.fsync
def interrupted(file):
    global calls
    calls += 1
    if calls == 6:
        signal.raise_signal(signal.SIGINT)
    fsync(file)
os.fsync = interrupted
from napari_memscan.cli import main
main()
"""
HEAVY = ("torch", "monai", "lightning", "napari", "qtpy", "pandas", "SimpleITK", "matplotlib")


@pytest.fixture
def study(make_study, tmp_path):
    return make_study(tmp_path / "study")


@pytest.fixture
def folders(phantoms):
    """Folders of training, validation and unseen phantoms."""
    return {
        s: str(Path(phantoms.rows(s)[0].path).parent) for s in ("training", "validation", "unseen")
    }


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Folders of three small phantoms each: what a scan says is the same, and said sooner."""
    from napari_memscan.demo.phantoms import write_phantom_cohort

    cohort = write_phantom_cohort(tmp_path_factory.mktemp("few"), 3, 3, 3, shape=(12, 12, 12))
    return {
        s: str(Path(cohort.rows(s)[0].path).parent) for s in ("training", "validation", "unseen")
    }


@pytest.fixture
def asked_plants(monkeypatch):
    """Plant one copy of each kind, and return how many each scan would have planted.

    Nor are further processes started: they would take longer than the pairs they register.
    """
    asked, draw = [], DetectionChain.draw

    def draw_one(self, kinds, n, *more):
        asked.append(n)
        return draw(self, kinds, 1, *more)

    monkeypatch.setattr(DetectionChain, "draw", draw_one)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    return asked


def memscan(*arguments, code=0):
    """Run a command in this process and return what it printed."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    crash = result.exception if not isinstance(result.exception, SystemExit) else None
    assert result.exit_code == code, f"{result.stdout}\n{result.stderr}\n{crash!r}"
    assert "Traceback" not in result.stderr
    return result


def refused(*arguments, code=2):
    """Run a command that must fail and return its message as one line of text."""
    result = memscan(*arguments, code=code)
    assert result.stdout == ""
    return " ".join(result.stderr.split())


# Help


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom napari_memscan.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert not end.code\n"
        f"print(*[name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    for arguments in (["--help"], ["scan", "--help"], ["--version"]):
        run = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
        )
        assert run.stderr.split() == []
        assert "memscan" in run.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_examples(command):
    text = memscan(command, "--help").stdout
    example = text[text.index("Example") :]
    assert re.search(rf"^ +memscan {command}\b", example, re.MULTILINE)
    assert command in memscan("--help").stdout


def test_version_and_wrong_usage():
    assert memscan("--version").stdout == f"memscan {napari_memscan.__version__}\n"
    assert "No such command" in refused("publish")
    assert "Missing argument" in refused("generate")
    assert "--sampler" in refused("generate", "x", "--sampler", "euler")


# Studies


def test_new_takes_shape_and_intensity_from_the_model(phantoms, tiny_ldm, tmp_path):
    csv = tmp_path / "cohort.csv"
    phantoms.save(csv)
    out = memscan("new", tmp_path / "s", "--cohort", csv, "--ldm", tiny_ldm).stdout
    assert "8 training, 6 validation, 5 unseen" in out
    assert "3D LDM: latent 3 x 8 x 8 x 8" in out
    assert f"Next: memscan generate {tmp_path / 's'} -n 64" in out
    config = Study.open(tmp_path / "s").config
    assert config.preprocessing == read_recipe(tiny_ldm).preprocessing
    assert config.generator == GeneratorConfig(kind="ldm", path=str(tiny_ldm))
    assert config.name == "s"
    assert "holds a study already" in refused("new", tmp_path / "s", "--cohort", csv)


def test_new_takes_what_is_said(folders, phantoms, tmp_path):
    parent = Path(folders["training"]).parent
    csv = tmp_path / "cohort.csv"
    phantoms.save(csv)
    options = ["--shape", "12,13,14", "--spacing", "1,1,2.5", "--intensity", "window:-100:300"]
    result = memscan("new", tmp_path / "a", "--cohort", csv, "--name", "Ward 3", *options)
    assert "Next: memscan train autoencoder" in result.stdout
    config = Study.open(tmp_path / "a").config
    assert config.name == "Ward 3"
    assert config.preprocessing.shape == (12, 13, 14)
    assert config.preprocessing.spacing == (1, 1, 2.5)
    assert config.preprocessing.intensity.model_dump() == {
        "rule": "window",
        "low": -100,
        "high": 300,
    }
    for i, (text, rule) in enumerate({"percentile:2:98": "percentile", "minmax": "minmax"}.items()):
        memscan("new", tmp_path / f"i{i}", "--cohort", csv, "--intensity", text)
        assert Study.open(tmp_path / f"i{i}").config.preprocessing.intensity.rule == rule
    memscan("new", tmp_path / "b", "--cohort", csv, "--rename", "unseen=synthetic")
    assert Study.open(tmp_path / "b").cohort.counts()["synthetic"] == 5
    result = memscan("new", tmp_path / "c", "--cohort", csv, "--synthetic", folders["unseen"])
    assert "Next: memscan scan" in result.stdout
    for name in ("training", "validation"):
        shutil.copytree(parent / name, tmp_path / "plain" / name)
    result = memscan("new", tmp_path / "d", "--cohort", tmp_path / "plain")
    assert "14 volumes have no subject_id" in result.stderr
    pattern = ["--subject", "([A-Z][0-9]+)"]
    result = memscan("new", tmp_path / "e", "--cohort", tmp_path / "plain", *pattern)
    assert result.stderr == ""
    assert Study.open(tmp_path / "e").cohort.rows("training")[3].subject_id == "T003"


def test_new_says_what_is_wrong_and_makes_nothing(folders, phantoms, tiny_ldm, tmp_path):
    csv = tmp_path / "cohort.csv"
    phantoms.save(csv)
    parent = Path(folders["training"]).parent
    new = ("new", tmp_path / "s", "--cohort")
    for options, message in (
        ([tmp_path / "none"], "no such f"),
        ([csv, "--shape", "12,13"], "--shape 12,13: three whole numbers"),
        ([csv, "--shape", "2,2,2"], "shape.0: Input should be greater"),
        ([csv, "--spacing", "1,1,thin"], "three numbers in mm"),
        ([csv, "--intensity", "window:300:-100"], "must be below its high"),
        ([csv, "--intensity", "window:3"], "window:LOW:HIGH"),
        ([csv, "--intensity", "auto"], "window:LOW:HIGH"),
        ([csv, "--subject", "(x)"], "a column 'subject_id'"),
        ([csv, "--rename", "unseen"], "OLD=NEW is expected"),
        ([csv, "--rename", "unseen=later"], "split"),
        ([csv, "--ldm", tiny_ldm, "--synthetic", folders["unseen"]], "one of the two"),
        ([csv, "--ldm", tmp_path], "neither weight files nor recipe.json"),
        ([csv, "--embedder", tmp_path / "e"], "no such f"),
        ([csv, "--embedder", tiny_ldm, "--shape", "24,24,24"], "the study makes (24, 24, 24)"),
        ([csv, "--synthetic", tmp_path / "none"], "no such f"),
        ([parent / "training"], "no cohort.csv"),
    ):
        assert message in refused(*new, *options), options
        assert not (tmp_path / "s").exists()
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "dataset.json").write_text("{}")
    assert "is for tables" in refused(*new, tmp_path / "json", "--rename", "a=b")


def test_check_says_what_a_path_is(study, phantoms, tiny_ldm, folders, tmp_path):
    row = phantoms.rows("training")[0]
    assert "volume of 16 x 16 x 16 voxels, 0.6 x 0.6 x 0.6 mm" in memscan("check", row.path).stdout
    np.save(tmp_path / "a.npy", np.arange(4096.0).reshape(16, 16, 16))
    assert "voxel size unknown, values 0 to 4095" in memscan("check", tmp_path / "a.npy").stdout
    out = memscan("check", tiny_ldm, "--study", study.folder).stdout
    assert "3D LDM" in out
    assert "recipe and weights fit" in out
    assert "fits the study" in out
    assert "fits the study" in memscan("check", row.path, "--study", study.folder).stdout
    out = memscan("check", folders["training"], "--study", study.folder).stdout
    assert "8 volumes, all can be read" in out
    assert "fit the study" in out
    phantoms.save(tmp_path / "cohort.csv")
    for path in (tmp_path / "cohort.csv", Path(folders["training"]).parent):
        out = memscan("check", path).stdout
        assert "cohort of 19 volumes: 8 training, 6 validation, 5 unseen" in out
        assert "19 known" in out
    out = memscan("check", study.folder).stdout
    assert "study 'tiny'" in out
    assert "samples     0" in out
    assert "scan        none yet" in out
    study.update(generator={"kind": "folder", "path": folders["unseen"]})
    jobs.run_job(jobs.scan_study(study))
    out = memscan("check", study.folder / "study.toml").stdout
    assert "volumes made elsewhere" in out
    assert "samples     5" in out
    assert "of 5 called copies" in out
    study.update(generator=None)
    assert "none yet" in memscan("check", study.folder).stdout


def test_synthetic_volumes_can_be_a_table_with_axes(phantoms, asked_plants, tmp_path):
    table = ["path,split,axes,spacing"]
    for i, row in enumerate(phantoms.rows("unseen")[:3]):
        np.save(tmp_path / f"{i}.npy", row.read().data.transpose(2, 1, 0))
        table.append(f"{i}.npy,synthetic,ZYX,0.6 0.6 0.6")
    (tmp_path / "made.csv").write_text("\n".join(table))
    few = [row for name in ("training", "validation") for row in phantoms.rows(name)[:3]]
    Cohort.from_rows(few).save(tmp_path / "cohort.csv")
    made = memscan(
        "new",
        tmp_path / "study",
        "--cohort",
        tmp_path / "cohort.csv",
        "--synthetic",
        tmp_path / "made.csv",
        "--shape",
        "16,16,16",
    )
    assert "Next: memscan scan" in made.stdout
    memscan("scan", tmp_path / "study")
    study = Study.open(tmp_path / "study")
    (first, *others) = study.samples()
    assert len(others) == 2
    found = study.volume(study.sample_path(first))
    assert np.array_equal(found.data, phantoms.rows("unseen")[0].read().data)
    assert found.spacing == (0.6, 0.6, 0.6)
    (tmp_path / "made.csv").write_text("path,split\n0.npy,training\n")
    assert "must have the split 'synthetic'" in refused(
        "new",
        tmp_path / "s2",
        "--cohort",
        tmp_path / "cohort.csv",
        "--synthetic",
        tmp_path / "made.csv",
    )


def test_check_and_convert_tell_scripts_everything(tiny_ldm, tmp_path):
    value = json.loads(memscan("check", tiny_ldm, "--json").stdout)
    assert value["usable"]
    assert value["what"] == "checkpoint"
    assert value["candidates"][0]["family"] == "native"
    assert {check["name"] for check in value["self_test"]} >= {"finite", "repeats"}
    assert value["recipe_hash"] == read_recipe(tiny_ldm).hash
    (tmp_path / "bad.pt").write_bytes(b"PK\x03\x04 nothing")
    value = json.loads(memscan("check", tmp_path / "bad.pt", "--json", code=2).stdout)
    assert not value["usable"]
    assert "bad.pt: a damaged or incomplete archive" in value["error"]
    memscan("convert", tiny_ldm, tmp_path / "half", "--half")
    assert "3D LDM" in memscan("check", tmp_path / "half").stdout
    assert "holds a checkpoint already" in refused("convert", tiny_ldm, tmp_path / "half")
    assert "Known names" in refused("check", tiny_ldm, "--set", "nothing=1")


def test_check_says_what_does_not_fit(study, make_study, tiny_ldm, folders, tmp_path):
    assert "no such f" in refused("check", tmp_path / "none")
    (tmp_path / "empty.nii").write_bytes(b"")
    assert "the file is empty" in refused("check", tmp_path / "empty.nii")
    np.save(tmp_path / "flat.npy", np.zeros((4, 4, 4)))
    assert "every voxel is 0" in refused("check", tmp_path / "flat.npy")
    np.save(tmp_path / "rgb.npy", np.random.default_rng(0).random((4, 4, 4, 3)))
    assert "single channel" in refused("check", tmp_path / "rgb.npy")
    (tmp_path / "notes.txt").write_text("hello")
    assert "not a weight file" in refused("check", tmp_path / "notes.txt")
    result = memscan("check", tmp_path, code=2)
    for name in ("empty.nii", "flat.npy", "rgb.npy"):
        assert name in result.stdout
    assert "3 of 3 volumes cannot be used" in result.stderr
    (tmp_path / "nothing").mkdir()
    assert "holds no volumes" in refused("check", tmp_path / "nothing")
    broken = shutil.copytree(tiny_ldm, tmp_path / "ldm")
    weights = broken / "denoiser.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    result = memscan("check", broken, code=2)
    assert "denoiser.safetensors: not a whole safetensors file" in result.stderr
    other = make_study(
        tmp_path / "other",
        generator=None,
        preprocessing={"shape": (24, 24, 24), "intensity": {"rule": "minmax"}},
    )
    result = memscan("check", tiny_ldm, "--study", other.folder, code=2)
    assert "(16, 16, 16), the study's are (24, 24, 24)" in result.stderr
    other.update(preprocessing={"shape": (16, 16, 16), "intensity": {"rule": "minmax"}})
    result = memscan("check", tiny_ldm, "--study", other.folder)
    assert "intensities may not" in result.stderr
    jobs.run_job(jobs.generate_volumes(study, 1))
    study.sample_path(study.samples()[0]).unlink()
    result = memscan("check", study.folder, code=2)
    assert "files of 1 samples are missing, the first is s000000" in result.stderr


# Jobs


def test_generate_scan_report(study):
    result = memscan(
        "generate", study.folder, "-n", 2, "--seed", 5, "--steps", 2, "--sampler", "ddpm"
    )
    assert "2 new volumes, 2 in all" in result.stdout
    assert "generate: 2 of 2" in result.stderr
    assert [(r.seed, r.steps, r.sampler) for r in study.samples()] == [
        ("5", "2", "ddpm"),
        ("6", "2", "ddpm"),
    ]
    result = memscan("scan", study.folder)
    assert result.stdout == f"{study.result()}\n"
    assert "scan: 16 of 16" in result.stderr
    assert f"memscan review {study.folder}" in result.stderr
    result = memscan("scan", study.folder, "--json")
    assert json.loads(result.stdout) == study.result().to_dict()
    page = memscan("report", study.folder).stdout.strip()
    assert Path(page).read_text(encoding="utf-8").startswith("<!")
    assert not Path(page).with_name("report.pdf").exists()
    printed = memscan("report", study.folder, "--pdf").stdout.split()
    assert printed == [page, str(Path(page).with_name("report.pdf"))]
    assert Path(printed[1]).read_bytes().startswith(b"%PDF")


def test_scan_of_three_folders_gives_one_json_and_the_numbers_of_python(
    few, asked_plants, tmp_path
):
    options = ["--training", few["training"], "--validation", few["validation"]]
    options += ["--synthetic", few["unseen"]]
    result = memscan("scan", *options, "--json")
    found = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1
    keys = "threshold rule n_training n_validation n_synthetic n_copies n_mem null_floor_copies"
    assert {*keys.split(), "null_floor_mem", "samples"} <= found.keys()
    assert {"name", "neighbour", "similarity", "verdict"} <= found["samples"][0].keys()
    python = napari_memscan.scan(few["training"], few["validation"], few["unseen"])
    assert found == python.to_dict()
    assert asked_plants == [VerificationConfig().planted] * 2
    assert any("no subject_id" in text for text in found["warnings"])
    assert "training-free" in found["embedder"]
    kept = memscan("scan", *options, "--out", tmp_path / "kept")
    assert f"memscan review {tmp_path / 'kept'}" in kept.stderr
    assert Study.open(tmp_path / "kept").result().to_dict() == found
    # The same command again goes on with that study; another one is refused.
    assert memscan("scan", *options, "--out", tmp_path / "kept").stdout == kept.stdout
    options[1] = few["unseen"]
    assert "over other volumes or settings" in refused("scan", *options, "--out", tmp_path / "kept")


def test_scan_takes_what_is_stated_of_an_embedder(few, tiny_ldm, asked_plants, tmp_path):
    # Of an LDM the autoencoder embeds.
    three = (
        "--training",
        few["training"],
        "--validation",
        few["validation"],
        "--synthetic",
        few["unseen"],
        "--embedder",
        tiny_ldm,
    )
    memscan("scan", *three, "--set", "steps=2", "--out", tmp_path / "s")
    assert Study.open(tmp_path / "s").config.embedder_declared == {"steps": 2}
    assert "scale_factor" in refused("scan", *three, "--set", "scale_factor=0")


def test_scan_says_what_is_missing(study, folders, tmp_path):
    assert "--training and --validation and --synthetic: missing" in refused("scan")
    assert "--synthetic: missing" in refused(
        "scan", "--training", folders["training"], "--validation", folders["validation"]
    )
    assert "Leave the options out" in refused("scan", study.folder, "--training", tmp_path)
    assert "no synthetic volumes yet" in refused("scan", study.folder, "--json")
    assert "no study.toml there" in refused("scan", tmp_path)
    three = ["--training", folders["training"], "--synthetic", folders["unseen"], "--validation"]
    (tmp_path / "empty").mkdir()
    assert "holds no volumes" in refused("scan", *three, tmp_path / "empty")
    assert "are the same file" in refused("scan", *three, folders["training"])
    assert "not scanned yet" in refused("report", study.folder)


def test_train_all_parts_and_the_study_uses_them(make_study, tmp_path):
    study = make_study(tmp_path / "study", generator=None)
    assert "memscan train autoencoder" in refused("train", "denoiser", study.folder)
    small = ["--set", "channels=[8,8]", "--device", "cpu"]
    result = memscan("train", "autoencoder", study.folder, "--steps", 2, *small)
    models = study.folder / "models"
    assert f"{models / 'autoencoder'}: autoencoder alone" in result.stdout
    assert "autoencoder: 14 of 14" in result.stderr
    assert "autoencoder: 2 of 2" in result.stderr
    assert "loss" in result.stderr
    small = ["--set", "channels=[8,16]", "--set", "scheduler.prediction_type=epsilon"]
    small += ["--set", "sample_steps=2", "--set", "batch=4"]
    memscan("train", "denoiser", study.folder, "--epochs", 1, *small)
    recipe = read_recipe(models / "denoiser")
    assert recipe.scheduler.prediction_type == "epsilon"
    assert recipe.provenance["denoiser"]["settings"]["steps"] == 2  # 8 volumes in batches of 4
    small = ["--set", "n_hiddens=4", "--set", "downsample=[4,4,4]", "--set", "batch=4"]
    memscan("train", "embedder", study.folder, "--steps", 2, *small)
    used = Study.open(study.folder)
    assert used.config.generator == GeneratorConfig(kind="ldm", path="models/denoiser")
    assert used.config.embedder == "models/embedder"
    memscan("generate", study.folder, "-n", 1)
    assert memscan("scan", study.folder).exit_code == 0
    memscan("train", "embedder", study.folder, "--steps", 1, *small, "--out", tmp_path / "e")
    assert Study.open(study.folder).config.embedder == "models/embedder"
    assert "holds a finished checkpoint" in refused(
        "train", "embedder", study.folder, "--out", tmp_path / "e"
    )


def test_train_names_wrong_settings(study):
    train = ("train", "embedder", study.folder)
    message = refused(*train, "--set", "colour=red")
    assert "colour: Extra inputs" in message
    assert "temperature" in message
    assert "KEY=VALUE is expected" in refused(*train, "--set", "batch")
    assert "batch: Input should be" in refused(*train, "--set", "batch=many")
    assert "one of the two" in refused(*train, "--steps", 1, "--epochs", 1)
    assert "Invalid value for" in refused("train", "gan", study.folder)


def test_review_needs_a_study_a_screen_and_opens_the_window_on_it(study, tmp_path, monkeypatch):
    assert "no study.toml there" in refused("review", tmp_path)
    if sys.platform == "linux":
        for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
            monkeypatch.delenv(name, raising=False)
        assert "there is no screen here" in refused("review", study.folder, code=1)
    from napari_memscan.widgets import launch

    opened = []
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    monkeypatch.setattr(launch, "open_study", opened.append)
    memscan("review", study.folder)
    assert opened == [study.folder]


def test_demo_does_the_whole_job_and_goes_on(study, tmp_path, monkeypatch):
    """On a study that is there already: the phantoms and the model of the demo have own tests."""
    monkeypatch.setattr(
        "napari_memscan.widgets.screenshots.screenshots.save_screenshots",
        lambda folder, out: [Path(out) / "review.png"],
    )
    out = memscan("demo", study.folder, "-n", 2).stdout
    assert str(study.report_dir / "index.html") in out
    assert str(study.folder / "screenshots" / "review.png") in out
    assert f"memscan review {study.folder}" in out
    assert "N_copies" in out
    before = study.samples()

    def fails(folder, out):
        raise JobFailed("screenshots: there is no screen.")

    monkeypatch.setattr("napari_memscan.widgets.screenshots.screenshots.save_screenshots", fails)
    result = memscan("demo", study.folder, "-n", 2)
    assert "No screenshots: screenshots: there is no screen." in result.stderr
    assert study.samples() == before
    result = memscan("demo", study.folder, "-n", 2, "--no-screenshots")
    assert "creenshots" not in result.stdout + result.stderr


# How commands end


def test_a_failed_job_ends_with_1_and_its_message(study):
    with study.lock("scan"):
        message = refused("generate", study.folder, code=1)
    assert message.startswith("memscan: ")
    assert "another memscan is working on this study" in message


def test_an_unforeseen_error_of_the_system_is_a_message(study, monkeypatch):
    def fails(*_args, **_kwargs):
        raise OSError(5, "Input/output error", "disk")
        yield

    monkeypatch.setattr(jobs, "generate_volumes", fails)
    assert "Input/output error: 'disk'" in refused("generate", study.folder, code=1)


def test_a_newer_study_is_refused_in_every_command(study):
    path = study.folder / "study.toml"
    path.write_text(path.read_text().replace("format = 1", "format = 9"))
    for command in ("generate", "scan", "review", "report", "check", "demo"):
        assert "made by a newer memscan" in refused(command, study.folder)


def test_ctrl_c_says_that_the_command_goes_on(study, folders):
    study.update(generator={"kind": "folder", "path": folders["unseen"]})
    Study.open(study.folder)  # Keeps the hashes of all real volumes.
    command = [sys.executable, "-c", INTERRUPTED, "scan", str(study.folder)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 130, run.stderr
    assert "the same command goes on where this one stopped" in run.stderr
    assert "Traceback" not in run.stderr
    assert run.stdout == ""
    assert len(study.samples()) == 5
    assert study.result() is None
    assert "scan: 19 of 19" in memscan("scan", study.folder).stderr


def test_a_process_ends_with_2_on_bad_input_and_prints_no_traceback(tmp_path):
    run = subprocess.run([*PROCESS, "scan", str(tmp_path)], capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.startswith("memscan: ")
    assert "Traceback" not in run.stderr


# Progress


def test_without_a_terminal_progress_is_rare_and_its_end_is_always_said(monkeypatch, capsys):
    def job(n):
        for i in range(1, n + 1):
            yield Progress(i, n, f"did {i}")
        return "made"

    assert console.run_with_progress(job(50), "work") == "made"
    assert capsys.readouterr().err == "work: 50 of 50, 0 s, did 50\n"
    monkeypatch.setattr(console, "QUIET_SECONDS", 0.0)
    console.run_with_progress(job(3), "work")
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_on_a_terminal_progress_is_a_bar(monkeypatch, capsys):
    def job():
        yield DenoisingStep(0, 1, 2)
        yield DenoisingStep(1, 1, 2)
        yield Progress(2, 2, "generated [s000001]")
        yield TrainingProgress(1, 4, 0.5, 0.25)
        yield TrainingProgress(4, 4, 0.125)

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    console.run_with_progress(job(), "work", 2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "4/4" in captured.err
    assert "loss 0.1250, validation 0.2500" in captured.err


def test_what_a_step_measures():
    assert console._measure_progress(DenoisingStep(2, 5, 10), 8) == (
        2.5,
        8,
        "volume 3, step 5 of 10",
        "",
    )
    assert console._measure_progress(DenoisingStep(2, 5, 10), None)[1] == 3


def test_a_job_is_closed_when_its_progress_cannot_be_shown(monkeypatch):
    closed = []

    def job():
        try:
            yield object()
        finally:
            closed.append(True)

    with pytest.raises(AttributeError):
        console.run_with_progress(job(), "work")
    assert closed == [True]
