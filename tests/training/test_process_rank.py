"""A training shared by two processes, and how it is known which one speaks."""

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from napari_memscan.checkpoints.loading import load_weights
from napari_memscan.jobs.training.monitor import read_log
from napari_memscan.training.process_rank import is_first_process
from napari_memscan.training.run import STATE
from napari_memscan.training.settings import AutoencoderSettings

CODE = """
    import json
    import os
    import sys
    import numpy as np
    from napari_memscan.jobs.training.monitor import MonitorSettings, TrainingMonitor
    from napari_memscan.training.trainer import ModelTrainer
    from napari_memscan.training.run import train
    from napari_memscan.training.settings import AutoencoderSettings, DenoiserSettings
    from napari_memscan.volumes.preprocessing import MinMax, Preprocessing

    recipe = Preprocessing(shape=(16, 16, 16), intensity=MinMax())
    how = {"device": "cpu", "devices": 2, "strategy": "ddp", "preprocessing": recipe}

    def say(*words):
        os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # Whole lines: two write.

    def fit(arrays, name, out, settings, die_at=0):
        settings = AutoencoderSettings.model_validate(settings)
        for progress in train("autoencoder", arrays, out, settings, **how):
            say(name, progress.step, progress.loss)
            if progress.step == die_at:
                os._exit(9)

    class Strict(TrainingMonitor):
        def __call__(self, moment):
            yield from super().__call__(moment)
            return moment.step == 4

    def fit_watched(arrays, autoencoder, out):
        rank = int(os.environ.get("LOCAL_RANK", 0))
        # Only the first process sees the validation loss rise.
        ModelTrainer.mean_loss = (
            lambda self, split: 0.5 + self.task.step * (-0.01 if rank else 0.01)
        )
        settings = DenoiserSettings(
            steps=12, channels=(8, 16), batch=2, accumulate=2, validate_every=2, patience=1,
            sample_steps=2,
        )
        watch = Strict(
            MonitorSettings(2, 1), out, arrays["training"], arrays["validation"], recipe, "cpu"
        )
        whole = yield from train(
            "denoiser", arrays, out, settings, autoencoder=autoencoder, watch=watch, **how
        )
        say("ended", rank, whole)

    if __name__ == "__main__":
        arrays = dict(np.load(sys.argv[1]))
        for training in json.loads(sys.argv[2]):
            fit(arrays, **training)
        if sys.argv[3:]:
            for news in fit_watched(arrays, *sys.argv[3:]):
                if hasattr(news, "loss"):
                    say("watched", news.step, news.loss)
"""


def launch_two(folder, cells, trainings, *watched):
    """Run trainings in turn in two processes: starting them takes longer than all of them."""
    script = folder / "script.py"
    script.write_text(textwrap.dedent(CODE))
    np.savez(folder / "arrays.npz", **cells)
    arguments = [folder / "arrays.npz", json.dumps(trainings), *watched]
    return subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )


def told(done, name):
    """What both processes said of a training, step and loss of each line."""
    lines = [line.split() for line in done.stdout.splitlines()]
    return [tuple(line[1:]) for line in lines if line[:1] == [name]]


KINDS = {
    "without-noise": {"network": "VQVAE", "num_embeddings": 8},
    "KL": {},
    "VQ-with-a-critic": {
        "network": "VQVAE",
        "num_embeddings": 8,
        "quantise_after": 1,
        "adversarial_weight": 0.1,
        "adversarial_start": 1,
        "critic_channels": 4,
        "critic_layers": 1,
    },
}


def settings_of(steps, **more):
    return {"steps": steps, "channels": (8, 8), "batch": 4, "save_every": 2, **more}


@pytest.fixture(scope="module")
def outs(tmp_path_factory):
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def killed(cells, outs):
    """A training of four steps to its end, and the same that is killed after its third."""
    four = {"settings": settings_of(4)}
    die = {"name": "killed", "out": str(outs / "killed"), "die_at": 3}
    done = launch_two(
        outs, cells, [{"name": "whole", "out": str(outs / "whole")} | four, die | four]
    )
    # Before the other launch finishes it.
    return done, (outs / "killed" / "recipe.json").exists()


@pytest.fixture(scope="module")
def launched(cells, fitted_autoencoder, outs, killed):
    """The rest of the killed one, the kinds of autoencoders, and a denoiser that is watched."""
    trainings = [{"name": "rest", "out": str(outs / "killed"), "settings": settings_of(4)}]
    trainings += [
        {"name": kind, "out": str(outs / kind), "settings": settings_of(3, **more)}
        for kind, more in KINDS.items()
    ]
    done = launch_two(outs, cells, trainings, fitted_autoencoder, outs / "watched")
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_do_the_steps_of_one(kind, launched, cells, fit, outs, tmp_path):
    """Without noise or codes in the loss, halves of a batch are the batch, and weights agree."""
    lines = told(launched, kind)
    # Both processes print here, and report the loss of the whole batch.
    assert sorted(line[0] for line in lines) == ["1", "1", "2", "2", "3", "3"]
    assert len(set(lines)) == 3
    two = load_weights(outs / kind, "autoencoder")
    assert all(torch.isfinite(v).all() for v in two.values())
    assert (outs / kind / "training.csv").read_text().count("\n") == 2
    if kind == "without-noise":
        settings = AutoencoderSettings.model_validate(settings_of(3, **KINDS[kind]))
        fit("autoencoder", cells, tmp_path / "one", settings)
        one = load_weights(tmp_path / "one", "autoencoder")
        for key in one:
            if "quantizer" not in key:
                torch.testing.assert_close(one[key], two[key], atol=2e-4, rtol=1e-3)


def test_two_that_are_killed_go_on_to_the_same_weights(killed, launched, outs):
    died, finished = killed
    assert sorted(line[0] for line in told(died, "whole")) == list("11223344")
    assert died.returncode != 0
    assert told(died, "killed")
    assert not finished
    assert sorted(line[0] for line in told(launched, "rest")) == list("3344")
    a, b = (load_weights(outs / name, "autoencoder") for name in ("whole", "killed"))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_two_processes_are_watched_and_end_together(launched, outs):
    """An early end and a stop are what the first process says, or one waits for ever."""
    out = outs / "watched"
    lines = told(launched, "watched")
    assert sorted(line[0] for line in lines) == list("11223344")
    assert len(set(lines)) == 4
    assert sorted(told(launched, "ended")) == [("0", "False"), ("1", "False")]
    assert [row.step for row in read_log(out / "memorisation.csv")] == [2, 4]
    state = torch.load(out / STATE, weights_only=True)
    assert state["ended"]
    average, network = state["average"], state["network"]
    assert all(torch.isfinite(v).all() for v in average.values())
    assert any(not torch.equal(average[f"module.{k}"], v) for k, v in network.items())


def test_accumulated_batches_are_one_large_batch(cells, fit, tmp_path):
    """VQ has no noise; without its codebook the loss of parts is that of the whole."""
    common = {"steps": 3, "channels": (8, 8), "network": "VQVAE", "num_embeddings": 8}
    fit("autoencoder", cells, tmp_path / "one", AutoencoderSettings(batch=4, **common))
    split = AutoencoderSettings(batch=2, accumulate=2, **common)
    fit("autoencoder", cells, tmp_path / "two", split)
    one, two = (load_weights(tmp_path / name, "autoencoder") for name in ("one", "two"))
    for key in one:
        if "quantizer" not in key:
            torch.testing.assert_close(one[key], two[key], atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("set_", "first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "0"}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"RANK": "3", "LOCAL_RANK": "0"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"SLURM_PROCID": "2", "SLURM_NTASKS": "4"}, False),
        ({"SLURM_PROCID": "2", "SLURM_NTASKS": "1"}, True),
    ],
)
def test_which_process_speaks(set_, first, monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in set_.items():
        monkeypatch.setenv(name, value)
    assert is_first_process() == first
