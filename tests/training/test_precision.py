"""Trainings in half precision: they run, and go on to the same weights."""

import pytest
import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins import MixedPrecision

from napari_memscan.checkpoints.loading import load_weights
from napari_memscan.errors import JobFailed
from napari_memscan.training import run
from napari_memscan.training import setup as preparing
from napari_memscan.training.run import STATE, train
from napari_memscan.training.settings import AutoencoderSettings
from napari_memscan.training.trainer import ModelTrainer
from napari_memscan.volumes.preprocessing import MinMax, Preprocessing

RECIPE = Preprocessing(shape=(8, 8, 8), intensity=MinMax())
SMALL = AutoencoderSettings(
    steps=2,
    channels=(8, 8),
    batch=2,
    precision="bfloat16",
    adversarial_weight=0.1,
    adversarial_start=0,
    critic_channels=4,
    critic_layers=1,
)


@pytest.fixture(scope="module")
def cells(cells):
    return {split: volumes[:, 4:12, 4:12, 4:12].copy() for split, volumes in cells.items()}


def start(cells, out, settings=SMALL):
    return train("autoencoder", cells, out, settings, preprocessing=RECIPE, device="cpu")


def stopped_after_one(cells, out, settings=SMALL):
    job = start(cells, out, settings)
    next(job)
    job.close()
    return torch.load(out / STATE, weights_only=True)


def same(one, other):
    a, b = (load_weights(out, "autoencoder") for out in (one, other))
    return all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture
def float16(monkeypatch):
    """Scaled float16 as on a GPU, on the processor; return what a scale begins with."""

    def scaled(first):
        def fabric(*arguments):
            scaler = torch.amp.GradScaler("cpu", init_scale=first)
            return Fabric(accelerator="cpu", plugins=MixedPrecision("16-mixed", "cpu", scaler))

        monkeypatch.setattr(run, "make_fabric", fabric)

    return scaled


def test_bfloat16_goes_on_to_the_same_weights(cells, tmp_path):
    list(start(cells, tmp_path / "whole"))
    stopped_after_one(cells, tmp_path / "halves")
    assert len(list(start(cells, tmp_path / "halves"))) == 1
    assert same(tmp_path / "whole", tmp_path / "halves")
    list(start(cells, tmp_path / "full", SMALL.model_copy(update={"precision": "float32"})))
    assert not same(tmp_path / "whole", tmp_path / "full")


def test_float16_leaves_steps_out_until_gradients_fit(cells, tmp_path, float16):
    float16(2.0**24)
    more = SMALL.model_copy(update={"steps": 12})
    list(start(cells, tmp_path / "whole", more))
    state = stopped_after_one(cells, tmp_path / "halves", more)
    assert state["scaler"]["scale"] == 2.0**23
    assert not state["optimizer"]["state"]  # No weight was changed.
    float16(1.0)  # What was saved counts.
    list(start(cells, tmp_path / "halves", more))
    assert same(tmp_path / "whole", tmp_path / "halves")
    state = torch.load(tmp_path / "halves" / STATE, weights_only=True)
    assert 1 < state["scaler"]["scale"] < 2.0**23
    assert state["optimizer"]["state"]
    assert all(torch.isfinite(v).all() for v in state["network"].values())


def test_float16_that_no_scale_helps_has_diverged(cells, tmp_path, float16, monkeypatch):
    float16(4.0)
    change = ModelTrainer._clip

    def infinite(self, module, optimizer, step):
        next(module.parameters()).grad.fill_(float("inf"))
        change(self, module, optimizer, step)

    monkeypatch.setattr(ModelTrainer, "_clip", infinite)
    job = start(cells, tmp_path, SMALL.model_copy(update={"steps": 9}))
    with pytest.raises(JobFailed, match="gradients are not finite at step 3"):
        list(job)


@pytest.mark.parametrize(
    ("native", "capability", "expected"),
    [(True, (8, 0), "bf16-mixed"), (False, (7, 5), "16-mixed"), (False, (6, 1), "32-true")],
)
def test_a_gpu_computes_in_what_it_has(native, capability, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert preparing.choose_precision(torch.device("cuda"), "auto") == expected
    assert preparing.choose_precision(torch.device("cpu"), "auto") == "32-true"
