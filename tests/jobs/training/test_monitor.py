"""A watched training ends with the weights of one that is not, says what it sees, and can end."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_memscan.checkpoints.loading import load_weights
from napari_memscan.checkpoints.native_format import read_recipe
from napari_memscan.errors import BadInput, JobFailed
from napari_memscan.jobs.training.monitor import (
    BEST_FOLDER,
    LOG_FILE,
    MonitorSettings,
    TrainingMonitor,
    read_log,
)
from napari_memscan.training.run import train
from napari_memscan.training.settings import AutoencoderSettings, DenoiserSettings
from napari_memscan.training.trainer import ModelTrainer
from napari_memscan.volumes.preprocessing import MinMax, Preprocessing

PREPROCESSING = Preprocessing(shape=(16, 16, 16), intensity=MinMax())
SETTINGS = DenoiserSettings(steps=6, channels=(8, 16), batch=2, sample_steps=2, save_every=3)


@pytest.fixture(scope="module")
def arrays():
    random = np.random.default_rng(0)
    cells = random.random((9, 4, 4, 4))
    volumes = cells.repeat(4, 1).repeat(4, 2).repeat(4, 3).astype(np.float32)
    return {"training": volumes[:6], "validation": volumes[6:]}


@pytest.fixture(scope="module")
def fit(arrays, tmp_path_factory):
    """Return a function that trains a denoiser, watched or not."""
    autoencoder = tmp_path_factory.mktemp("ae")
    settings = AutoencoderSettings(steps=4, channels=(8, 8), batch=2)
    for _ in train("autoencoder", arrays, autoencoder, settings, preprocessing=PREPROCESSING):
        pass

    def fit(out, monitor=None):
        watch = None
        if monitor is not None:
            real = arrays["training"], arrays["validation"]
            watch = TrainingMonitor(monitor, out, *real, PREPROCESSING, "cpu")
        return train(
            "denoiser",
            arrays,
            out,
            SETTINGS,
            device="cpu",
            preprocessing=PREPROCESSING,
            autoencoder=autoencoder,
            watch=watch,
        )

    return fit


def finish(job):
    """Run a training to its end; return what it returned and what it said."""
    said = []
    while True:
        try:
            said.append(next(job))
        except StopIteration as end:
            return end.value, said


@pytest.fixture(scope="module")
def watched(fit, tmp_path_factory):
    out = tmp_path_factory.mktemp("watched")
    whole, said = finish(fit(out, MonitorSettings(every=2, samples=2)))
    assert whole
    return out, said


def same(one, other):
    a, b = load_weights(one, "denoiser"), load_weights(other, "denoiser")
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_weights_do_not_depend_on_being_watched(fit, watched, tmp_path):
    assert finish(fit(tmp_path))[0]
    assert same(tmp_path, watched[0])


def test_the_log_has_a_row_a_look(watched):
    out, said = watched
    rows = read_log(out / LOG_FILE)
    assert [row.step for row in rows] == [2, 4, 6]
    for row in rows:
        assert row.n == 2
        assert row.low <= row.share <= row.high
        assert row.gap == pytest.approx(row.validation_loss - row.training_loss, abs=2e-6)
    assert len({row.training_loss for row in rows}) == 3
    assert [p.what for p in said if "sampled 2 of 2" in getattr(p, "what", "")]
    assert not (out / BEST_FOLDER).exists()
    assert not list(out.glob(".best*"))


@pytest.mark.parametrize("where", ["between steps", "within a look", "killed"])
def test_a_stopped_training_goes_on_with_the_same_weights_and_log(where, fit, watched, tmp_path):
    monitor = MonitorSettings(every=2, samples=2)
    job = fit(tmp_path, monitor)
    for news in job:
        looked = "sampled 1 of 2" in getattr(news, "what", "")
        if where == "within a look" and looked and news.done == 4:
            break
        if where != "within a look" and hasattr(news, "loss") and news.step == 5:
            break
    if where == "killed":
        # The state of step 3 is what is left; step 4 has been looked at all the same.
        kept = (tmp_path / "training.pt").read_bytes()
        job.close()
        (tmp_path / "training.pt").write_bytes(kept)
    else:
        job.close()
    assert finish(fit(tmp_path, monitor))[0]
    assert same(tmp_path, watched[0])
    assert (tmp_path / LOG_FILE).read_bytes() == (watched[0] / LOG_FILE).read_bytes()


def test_a_training_that_copies_is_ended_and_the_last_good_checkpoint_kept(
    fit, arrays, watched, tmp_path, monkeypatch
):
    # From the fourth step on the "model" gives training volumes back.
    apply = Preprocessing.apply
    looks = iter([False, False, True, True])
    monkeypatch.setattr(
        Preprocessing,
        "apply",
        lambda self, volume: arrays["training"][1] if next(looks) else apply(self, volume),
    )
    monitor = MonitorSettings(every=2, samples=2, stop_above=0.5)
    whole, said = finish(fit(tmp_path, monitor))
    assert not whole
    assert [row.n_copies for row in read_log(tmp_path / LOG_FILE)][-1] == 2
    assert not (tmp_path / "recipe.json").exists()
    assert read_recipe(tmp_path / BEST_FOLDER).provenance["denoiser"]["step"] == 2
    assert "2 of 2 volumes copied" in said[-1].what
    # The same command ends at once, without sampling again.
    whole, said = finish(fit(tmp_path, monitor))
    assert not whole
    assert len(said) == 1


def test_keeping_does_not_end_the_training(fit, arrays, tmp_path, monkeypatch):
    apply = Preprocessing.apply
    looks = iter([False, False, True, True, True, True])
    monkeypatch.setattr(
        Preprocessing,
        "apply",
        lambda self, volume: arrays["training"][1] if next(looks) else apply(self, volume),
    )
    whole, _ = finish(fit(tmp_path, MonitorSettings(every=2, samples=2, keep_below=0.5)))
    assert whole
    assert [row.share for row in read_log(tmp_path / LOG_FILE)] == [0, 1, 1]
    assert read_recipe(tmp_path / BEST_FOLDER).provenance["denoiser"]["step"] == 2
    assert read_recipe(tmp_path).provenance["denoiser"]["settings"]["steps"] == 6


def test_the_limits_of_keeping_and_of_stopping_are_two():
    both = MonitorSettings(every=1, stop_above=0.5, keep_below=0.1)
    assert (both.stop_above, both.kept) == (0.5, 0.1)
    assert MonitorSettings(every=1, stop_above=0.5).kept == 0.5
    assert MonitorSettings(every=1).kept is None


def test_tensorboard_gets_the_looks(watched):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    board = events.EventAccumulator(str(watched[0] / "tensorboard"))
    board.Reload()
    shown = {e.step: e.value for e in board.Scalars("memorisation/gap")}
    assert shown == pytest.approx(
        {r.step: r.gap for r in read_log(watched[0] / LOG_FILE)}, abs=1e-6
    )
    assert {e.step for e in board.Scalars("memorisation/n_copies")} == {2, 4, 6}


def test_no_memory_in_a_look_says_how_to_go_on(fit, tmp_path, monkeypatch):
    real = ModelTrainer.mean_loss

    def full(self, split):
        if split == "training":  # Only looks measure it.
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return real(self, split)

    monkeypatch.setattr(ModelTrainer, "mean_loss", full)
    with pytest.raises(JobFailed, match="ran out of memory in a look at step 4") as caught:
        finish(fit(tmp_path, MonitorSettings(every=4, samples=1)))
    assert "without --monitor goes on from step 3" in str(caught.value)


def test_bad_settings_and_logs_are_named(arrays, tmp_path):
    with pytest.raises(BadInput, match="at least 1"):
        MonitorSettings(every=0)
    with pytest.raises(BadInput, match="from 0 to below 1"):
        MonitorSettings(every=1, stop_above=1.5)
    with pytest.raises(BadInput, match="keep below 1"):
        MonitorSettings(every=1, keep_below=1)
    (tmp_path / LOG_FILE).write_text("a,b\n1,2\n")
    with pytest.raises(BadInput, match="not a log"):
        read_log(tmp_path / LOG_FILE)
