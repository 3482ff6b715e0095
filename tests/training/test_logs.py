"""What a training writes and says while it runs: table, curves, pictures, time, early end."""

import re

import numpy as np
import pytest
import torch

from napari_memscan.checkpoints.loading import load_weights
from napari_memscan.checkpoints.native_format import read_recipe
from napari_memscan.training import loop
from napari_memscan.training.logs import LOG, PICTURES, TENSORBOARD, read_log, save_slice_figure
from napari_memscan.training.resources import StepTimer, format_duration
from napari_memscan.training.run import measure_training, train
from napari_memscan.training.settings import AutoencoderSettings, DenoiserSettings
from napari_memscan.training.trainer import ModelTrainer
from napari_memscan.volumes.preprocessing import MinMax, Preprocessing

RECIPE = Preprocessing(shape=(16, 16, 16), intensity=MinMax())
SMALL = AutoencoderSettings(
    steps=12, channels=(8, 8), batch=2, save_every=4, validate_every=4, log_every=3
)


def start(cells, out, settings=SMALL):
    return train("autoencoder", cells, out, settings, preprocessing=RECIPE, device="cpu")


def changed(**changes):
    return SMALL.model_copy(update=changes)


def test_the_table_has_means_and_validations_and_no_row_twice(cells, tmp_path):
    found = []
    job = start(cells, tmp_path)
    for progress in job:
        found.append(progress)
        if progress.step == 7:
            break
    job.close()
    with (tmp_path / LOG).open("a") as file:  # Killed while it wrote; steps that will be redone.
        file.write("8,0.1,,,0.1,9\n9,0.1")
    found += list(start(cells, tmp_path))
    rows = read_log(tmp_path / LOG)
    assert [row["step"] for row in rows] == [3, 4, 6, 8, 9, 12]
    losses = {p.step: p.loss for p in found}
    assert rows[0]["loss"] == pytest.approx(np.mean([losses[s] for s in (1, 2, 3)]), rel=1e-4)
    assert rows[3]["loss"] == pytest.approx(losses[8], rel=1e-4)
    measured = {p.step: p.validation_loss for p in found if p.validation_loss is not None}
    assert {r["step"]: r["validation_loss"] for r in rows if r["validation_loss"]} == pytest.approx(
        measured, rel=1e-4
    )
    assert rows[0]["learning_rate"] > rows[-1]["learning_rate"] == 0


def test_tensorboard_gets_the_same_numbers(cells, tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    list(start(cells, tmp_path))
    board = events.EventAccumulator(str(tmp_path / TENSORBOARD))
    board.Reload()
    assert {"loss", "validation_loss", "learning_rate"} <= set(board.Tags()["scalars"])
    shown = {e.step: e.value for e in board.Scalars("loss")}
    expected = {row["step"]: row["loss"] for row in read_log(tmp_path / LOG)}
    assert shown == pytest.approx(expected, rel=1e-4)


def test_without_tensorboard_there_is_the_table_only(cells, tmp_path, monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    hidden = lambda name, *a: None if name.startswith("tensorboard") else real(name, *a)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", hidden)
    list(start(cells, tmp_path))
    assert (tmp_path / LOG).exists()
    assert not (tmp_path / TENSORBOARD).exists()


def test_pictures_show_what_was_learnt_and_change_no_weight(
    cells, fit, fitted_autoencoder, tmp_path
):
    import matplotlib.image

    plain, shown = tmp_path / "plain", tmp_path / "shown"
    list(start(cells, plain))
    list(start(cells, shown, changed(pictures_every=6)))
    names = sorted(p.name for p in (shown / PICTURES).iterdir())
    assert names == ["step-0000006.png", "step-0000012.png"]
    assert matplotlib.image.imread(shown / PICTURES / names[0])[..., :3].std() > 0.1
    a, b = (load_weights(out, "autoencoder") for out in (plain, shown))
    assert all(torch.equal(a[k], b[k]) for k in a)

    small = {"steps": 4, "channels": (8, 16), "batch": 2, "sample_steps": 2}
    both = []
    for out, every in (("d", 0), ("e", 2)):
        settings = DenoiserSettings(pictures_every=every, **small)
        fit("denoiser", cells, tmp_path / out, settings, autoencoder=fitted_autoencoder)
        both.append(load_weights(tmp_path / out, "denoiser"))
    assert len(list((tmp_path / "e" / PICTURES).iterdir())) == 2
    assert all(torch.equal(both[0][k], both[1][k]) for k in both[0])


def test_a_picture_has_three_planes_of_each_volume(tmp_path):
    import matplotlib.image

    volume = np.zeros((2, 8, 9, 10), np.float32)
    volume[0] = 1
    save_slice_figure(tmp_path / "a.png", {"first": volume, "second": volume[:1]}, "title")
    assert matplotlib.image.imread(tmp_path / "a.png").shape[0] == 1010


def test_early_end_keeps_the_best_weights(cells, tmp_path, monkeypatch):
    """Validation losses are made up; the weights of the lowest are remembered here as well."""
    made_up = iter([0.5, 0.3, 0.4, 0.35, 0.1])
    seen = []

    def mean_loss(self, split):
        seen.append({k: v.clone() for k, v in self.weights().items()})
        return next(made_up)

    monkeypatch.setattr(ModelTrainer, "mean_loss", mean_loss)
    settings = changed(steps=40, patience=2)
    job = start(cells, tmp_path, settings)
    for progress in job:
        if progress.step == 13:  # Goes on and still knows the best.
            break
    job.close()
    rest = list(start(cells, tmp_path, settings))
    assert rest[-1].step == 16
    assert "lowest at step 8" in rest[-1].note
    saved = load_weights(tmp_path, "autoencoder")
    assert all(torch.equal(saved[k], seen[1][k]) for k in saved)
    assert read_recipe(tmp_path).provenance["step"] == 8
    # Killed between state and checkpoint: the same ending, without another step.
    (tmp_path / "recipe.json").unlink()
    assert list(start(cells, tmp_path, settings)) == []
    again = load_weights(tmp_path, "autoencoder")
    assert all(torch.equal(saved[k], again[k]) for k in saved)


def test_without_patience_the_last_weights_are_written(cells, tmp_path):
    list(start(cells, tmp_path))
    state = torch.load(tmp_path / "training.pt", weights_only=True)
    assert state["best"] is None
    saved = load_weights(tmp_path, "autoencoder")
    assert all(torch.equal(saved[k], state["network"][k]) for k in saved)


def test_soon_it_says_what_is_to_come(cells, tmp_path, monkeypatch):
    clock = iter(range(0, 10_000, 5))
    monkeypatch.setattr("napari_memscan.training.resources.time.monotonic", lambda: next(clock))
    pace = StepTimer(124, torch.device("cpu"))
    said = []
    for _ in range(8):
        pace.begin()
        said.append(pace.end())
    assert [bool(text) for text in said] == [False] * 3 + [True] + [False] * 4
    assert said[3].startswith("about 10 min to go, ")
    assert said[3].endswith(" GB of memory")
    assert (format_duration(40), format_duration(700), format_duration(8000)) == (
        "40 s",
        "12 min",
        "2 h 13 min",
    )
    monkeypatch.undo()
    notes = [p.note for p in start(cells, tmp_path) if p.note]
    assert len(notes) == 1
    assert "to go" in notes[0]
    assert loop.N_PICTURED == 4


def test_before_it_starts_it_says_what_it_needs(cells, fitted_autoencoder, tmp_path):
    settings = DenoiserSettings(steps=1, channels=(8, 16), batch=2)
    said = list(
        train(
            "denoiser",
            cells,
            tmp_path,
            settings,
            preprocessing=RECIPE,
            device="cpu",
            autoencoder=fitted_autoencoder,
            announce=str.upper,
        )
    )
    assert said[0] == "ENCODES 9 VOLUMES, ONCE"
    assert re.fullmatch(r"NEEDS AT LEAST 0\.\d GB OF MEMORY, \d+\.\d GB ARE FREE", said[1])
    assert said[2].step == 1


def test_an_estimate_counts_all_steps_and_writes_nothing(cells, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = measure_training("autoencoder", cells, SMALL, preprocessing=RECIPE, device="cpu")
    with pytest.raises(StopIteration) as end:
        next(job)
    found = end.value.value
    assert (found.steps, found.validations) == (12, 3)
    assert found.seconds == pytest.approx(12 * found.step + 3 * found.validation)
    assert 0 < found.step < 60
    assert found.taken > 1e8
    assert str(found).startswith("about ")
    assert "12 steps of" in str(found)
    assert not list(tmp_path.iterdir())
