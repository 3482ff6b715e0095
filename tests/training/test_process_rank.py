"""A training shared by two processes, and how it is known which one speaks."""

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
    import os
    import sys
    import numpy as np
    from napari_memscan.training.run import train
    from napari_memscan.training.settings import AutoencoderSettings
    from napari_memscan.volumes.preprocessing import MinMax, Preprocessing
    if __name__ == "__main__":
        arrays = dict(np.load(sys.argv[1]))
        settings = AutoencoderSettings.model_validate_json(sys.argv[3])
        job = train(
            "autoencoder", arrays, sys.argv[2], settings, device="cpu", devices=2, strategy="ddp",
            preprocessing=Preprocessing(shape=(16, 16, 16), intensity=MinMax()),
        )
        for progress in job:
            os.write(1, f"{progress.step} {progress.loss}\\n".encode())  # Whole lines: two write.
            if progress.step == int(sys.argv[4]):
                os._exit(9)
"""


def run_two(folder, cells, settings, out, die_at=0):
    return launched(CODE, folder, cells, out, settings.model_dump_json(), die_at)


def launched(code, folder, cells, *arguments, timeout=280):
    script = folder / "script.py"
    script.write_text(textwrap.dedent(code))
    np.savez(folder / "arrays.npz", **cells)
    return subprocess.run(
        [sys.executable, str(script), str(folder / "arrays.npz"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )


@pytest.mark.parametrize("kind", ["without noise", "KL", "VQ with a critic"])
def test_two_processes_do_the_steps_of_one(kind, cells, fit, tmp_path):
    """Without noise or codes in the loss, halves of a batch are the batch, and weights agree."""
    more = {
        "without noise": {"network": "VQVAE", "num_embeddings": 8},
        "KL": {},
        "VQ with a critic": {
            "network": "VQVAE",
            "num_embeddings": 8,
            "quantise_after": 1,
            "adversarial_weight": 0.1,
            "adversarial_start": 1,
            "critic_channels": 4,
            "critic_layers": 1,
        },
    }[kind]
    settings = AutoencoderSettings(steps=3, channels=(8, 8), batch=4, save_every=2, **more)
    out = tmp_path / "two"
    done = run_two(tmp_path, cells, settings, out)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.split() for line in done.stdout.splitlines() if line[:1].isdigit()]
    # Both processes print here, and report the loss of the whole batch.
    assert sorted(line[0] for line in lines) == ["1", "1", "2", "2", "3", "3"]
    assert len({tuple(line) for line in lines}) == 3
    two = load_weights(out, "autoencoder")
    assert all(torch.isfinite(v).all() for v in two.values())
    assert (out / "training.csv").read_text().count("\n") == 2
    if kind == "without noise":
        fit("autoencoder", cells, tmp_path / "one", settings)
        one = load_weights(tmp_path / "one", "autoencoder")
        for key in one:
            if "quantizer" not in key:
                torch.testing.assert_close(one[key], two[key], atol=2e-4, rtol=1e-3)


def test_two_that_are_killed_go_on_to_the_same_weights(cells, tmp_path):
    settings = AutoencoderSettings(steps=4, channels=(8, 8), batch=4, save_every=2)
    assert run_two(tmp_path, cells, settings, tmp_path / "whole").returncode == 0
    assert run_two(tmp_path, cells, settings, tmp_path / "killed", die_at=3).returncode != 0
    assert not (tmp_path / "killed" / "recipe.json").exists()
    rest = run_two(tmp_path, cells, settings, tmp_path / "killed")
    assert rest.returncode == 0, rest.stderr[-3000:]
    assert sorted(line[0] for line in rest.stdout.splitlines() if line[:1].isdigit()) == list(
        "3344"
    )
    a, b = (load_weights(tmp_path / name, "autoencoder") for name in ("whole", "killed"))
    assert all(torch.equal(a[k], b[k]) for k in a)


WATCHED = """
    import os
    import sys
    import numpy as np
    from napari_memscan.jobs.training.monitor import MonitorSettings, TrainingMonitor
    from napari_memscan.training.trainer import ModelTrainer
    from napari_memscan.training.run import train
    from napari_memscan.training.settings import DenoiserSettings
    from napari_memscan.volumes.preprocessing import MinMax, Preprocessing
    rank = int(os.environ.get("LOCAL_RANK", 0))
    # Only the first process sees the validation loss rise.
    ModelTrainer.mean_loss = lambda self, split: 0.5 + self.task.step * (-0.01 if rank else 0.01)

    class Strict(TrainingMonitor):
        def __call__(self, moment):
            yield from super().__call__(moment)
            return moment.step == 4

    def fit(arrays, autoencoder, out):
        settings = DenoiserSettings(
            steps=12, channels=(8, 16), batch=2, accumulate=2, validate_every=2, patience=1,
            sample_steps=2,
        )
        recipe = Preprocessing(shape=(16, 16, 16), intensity=MinMax())
        watch = Strict(
            MonitorSettings(2, 1), out, arrays["training"], arrays["validation"], recipe, "cpu"
        )
        job = train(
            "denoiser", arrays, out, settings, device="cpu", devices=2, strategy="ddp",
            preprocessing=recipe, autoencoder=autoencoder, watch=watch,
        )
        whole = yield from job
        os.write(1, f"{rank} {whole}\\n".encode())

    if __name__ == "__main__":
        for news in fit(dict(np.load(sys.argv[1])), sys.argv[2], sys.argv[3]):
            if hasattr(news, "loss"):
                os.write(1, f"{news.step} {news.loss}\\n".encode())
"""


def test_two_processes_are_watched_and_end_together(cells, fitted_autoencoder, tmp_path):
    """An early end and a stop are what the first process says, or one waits for ever."""
    out = tmp_path / "out"
    done = launched(WATCHED, tmp_path, cells, fitted_autoencoder, out, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert sorted(line[0] for line in lines if "." in line) == list("11223344")
    assert len({line for line in lines if "." in line}) == 4
    assert sorted(line for line in lines if "." not in line) == ["0 False", "1 False"]
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
