"""Training from the command line: presets, pictures, several processes, what is said."""

from __future__ import annotations

import os
import subprocess
import sys

from typer.testing import CliRunner

from napari_memscan.checkpoints.native import read_recipe
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
        "train", "denoiser", study.folder, "--preset", "paper-ct", "--steps", 1, "--set",
        "channels=[8,16]", "--set", "scheduler.num_train_timesteps=9", "--set", "sample_steps=9",
        "--device", "cpu",
    )  # fmt: skip
    recipe = read_recipe(study.folder / "models" / "denoiser")
    assert (recipe.scheduler.num_train_timesteps, recipe.scheduler.schedule) == (9, "cosine")
    assert "sample_steps 9" in refused(
        "train", "denoiser", study.folder, "--out", tmp_path / "d", "--set",
        "scheduler.num_train_timesteps=5", "--set", "sample_steps=9",
    )  # fmt: skip
    assert "paper's own embedder" in refused(
        "train", "embedder", study.folder, "--kind", "structural", "--preset", "paper-ct"
    )


def test_two_processes_speak_with_one_voice(make_study, tmp_path):
    study = make_study(tmp_path / "study", generator=None)
    script = tmp_path / "memscan.py"
    script.write_text("from napari_memscan.cli import main\nmain()\n")
    done = subprocess.run(
        [sys.executable, str(script), "train", "autoencoder", str(study.folder), "--steps", "3",
         "--devices", "2", "--strategy", "ddp", *SMALL],
        capture_output=True, text=True, timeout=200, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("models/autoencoder: ") == 1
    assert done.stderr.count("autoencoder: 3 of 3") == 1
    assert read_recipe(study.folder / "models" / "autoencoder").kind == "autoencoder"
    assert "multiple of 2" in refused(
        "train", "autoencoder", study.folder, "--out", tmp_path / "o", "--devices", 2, "--set",
        "batch=3", *SMALL,
    )  # fmt: skip
