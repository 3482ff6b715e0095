"""Training a denoiser that is watched, from the command line."""

from __future__ import annotations

from typer.testing import CliRunner

from napari_memscan.cli import app
from napari_memscan.jobs.training.monitor import LOG_FILE, MonitorRecord, read_log, write_log
from napari_memscan.study import Study


def memscan(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, f"{result.stdout}\n{result.stderr}"
    return result


def refused(*arguments, code=2):
    return " ".join(memscan(*arguments, code=code).stderr.split())


def test_a_watched_training_says_what_it_saw_and_ends_above_the_limit(make_study, tmp_path):
    study = make_study(tmp_path / "study", generator=None)
    folder = study.folder
    memscan("train", "autoencoder", folder, "--steps", 2, "--set", "channels=[8,8]")
    small = ["--set", "channels=[8,16]", "--set", "sample_steps=2", "--set", "batch=2"]
    watched = ["--steps", 3, *small, "--monitor", 2, "--monitor-samples", 2]
    out = folder / "models" / "denoiser"
    said = memscan("train", "denoiser", folder, *watched, "--stop-above", 0.999).stderr
    assert [row.step for row in read_log(out / LOG_FILE)] == [2, 3]
    assert "of 2 volumes copied" in said
    assert (out / "best" / "recipe.json").exists()
    assert Study.open(folder).config.generator.path == "models/denoiser"

    # A look of an earlier run is taken as it is; here it says that all were copied.
    again = tmp_path / "again"
    row = read_log(out / LOG_FILE)[0]
    values = {**vars(row), "n_copies": 2, "share": 1.0}
    again.mkdir()
    write_log(again / LOG_FILE, [MonitorRecord(**values)])
    message = refused(
        "train", "denoiser", folder, "--out", again, *watched, "--stop-above", 0.5, code=1
    )
    assert "stopped at step 2: 2 of 2 volumes copied" in message
    assert "raise the limit (--stop-above, --keep-below)" in message
    assert not (again / "recipe.json").exists()


def test_wrong_use_is_named(make_study, tmp_path):
    study = make_study(tmp_path / "study", generator=None)
    assert "needs --monitor" in refused("train", "autoencoder", study.folder, "--stop-above", 0.2)
    assert "samples no volumes" in refused("train", "embedder", study.folder, "--monitor", 5)
