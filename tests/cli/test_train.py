"""Training from the command line: presets, pictures, several processes, what is said."""

from __future__ import annotations

import os
import subprocess
import sys

from typer.testing import CliRunner

from napari_memscan.checkpoints.native_format import read_recipe
from napari_memscan.cli import app
from napari_memscan.training.logs import read_log

SMALL = ["--set", "channels=[8,8]", "--device", "cpu"]


def memscan(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, f"{result.stdout}\n{result.stderr}"
    return result


def refused(*arguments):
    return " ".join(memscan(*arguments, code=2).stderr.split())


def test_time_is_said_and_pictures_are_drawn(make_study, tmp_path):
    study = make_study(tmp_path / "study", generator=None)
    said = memscan(
        "train", "autoencoder", study.folder, "--steps", 6, "--pictures", 3, *SMALL
    ).stderr
    assert "autoencoder: about " in said
    assert "GB of memory" in said
    out = study.folder / "models" / "autoencoder"
    assert len(list((out / "pictures").iterdir())) == 2
    assert read_log(out / "training.csv")[-1]["step"] == 6


def test_a_preset_gives_way_to_what_is_set(make_study, tmp_path):
    study = make_study(tmp_path / "study", generator=None)
    narrow = ["--set", "num_embeddings=16", "--set", "batch=2", "--set", "adversarial_weight=0"]
    said = memscan(
        "train", "autoencoder", study.folder, "--preset", "paper-ct", "--steps", 2, *SMALL, *narrow
    ).stderr
    assert "is for volumes of (64, 64, 64); this study's are (16, 16, 16)" in said
    recipe = read_recipe(study.folder / "models" / "autoencoder")
    settings = recipe.provenance["settings"]
    assert (settings["network"], settings["perceptual_weight"]) == ("VQVAE", 4)
    assert (settings["channels"], settings["steps"], settings["num_embeddings"]) == ([8, 8], 2, 16)
    memscan(
        "train",
        "denoiser",
        study.folder,
        "--preset",
        "paper-ct",
        "--steps",
        1,
        "--set",
        "channels=[8,16]",
        "--set",
        "scheduler.num_train_timesteps=9",
        "--set",
        "sample_steps=9",
        "--device",
        "cpu",
    )
    recipe = read_recipe(study.folder / "models" / "denoiser")
    assert (recipe.scheduler.num_train_timesteps, recipe.scheduler.schedule) == (9, "cosine")
    assert "sample_steps 9" in refused(
        "train",
        "denoiser",
        study.folder,
        "--out",
        tmp_path / "d",
        "--set",
        "scheduler.num_train_timesteps=5",
        "--set",
        "sample_steps=9",
    )
    assert "paper's own embedder" in refused(
        "train", "embedder", study.folder, "--kind", "structural", "--preset", "paper-ct"
    )


def test_two_processes_speak_with_one_voice(make_study, tmp_path):
    study = make_study(tmp_path / "study", generator=None)
    script = tmp_path / "memscan.py"
    script.write_text("from napari_memscan.cli import main\nmain()\n")
    done = subprocess.run(
        [
            sys.executable,
            str(script),
            "train",
            "autoencoder",
            str(study.folder),
            "--steps",
            "3",
            "--devices",
            "2",
            "--strategy",
            "ddp",
            *SMALL,
        ],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("models/autoencoder: ") == 1
    assert done.stderr.count("autoencoder: 3 of 3") == 1
    assert read_recipe(study.folder / "models" / "autoencoder").kind == "autoencoder"
    assert "multiple of 2" in refused(
        "train",
        "autoencoder",
        study.folder,
        "--out",
        tmp_path / "o",
        "--devices",
        2,
        "--set",
        "batch=3",
        *SMALL,
    )


def test_an_estimate_trains_nothing(make_study, tmp_path):
    study = make_study(tmp_path / "study", generator=None)
    said = memscan("train", "autoencoder", study.folder, "--steps", 250, "--estimate", *SMALL)
    assert "autoencoder: needs at least 0." in said.stderr
    assert said.stdout.startswith("autoencoder: about ")
    assert "250 steps of" in said.stdout
    assert "3 validations" in said.stdout
    assert not (study.folder / "models").exists()


def test_a_kept_checkpoint_is_named_and_the_last_one_used(make_study, tiny_ldm, tmp_path):
    study = make_study(tmp_path / "study", generator=None)
    small = ["--set", "channels=[8,16]", "--set", "sample_steps=2", "--set", "batch=2"]
    said = memscan(
        "train",
        "denoiser",
        study.folder,
        "--autoencoder",
        tiny_ldm,
        "--steps",
        2,
        *small,
        "--monitor",
        1,
        "--monitor-samples",
        1,
        "--keep-below",
        0.9,
        "--device",
        "cpu",
    )
    out = study.folder / "models" / "denoiser"
    assert f"kept: {out / 'best'}" in said.stderr
    assert read_recipe(out / "best").latent_shape == read_recipe(out).latent_shape
    assert type(study).open(study.folder).config.generator.path == "models/denoiser"


def test_limits_need_looks(make_study, tmp_path):
    study = make_study(tmp_path / "study", generator=None)
    for name in ("--stop-above", "--keep-below"):
        message = refused("train", "embedder", study.folder, name, 0.2)
        assert f"{name}: needs --monitor STEPS" in message
