"""What can go wrong in a training: a message that helps, and a state to go on from."""

import builtins
import errno
import io

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from torch.optim import Adam

from napari_memscan.checkpoints.latent_model import LatentCodec
from napari_memscan.checkpoints.loading import load_weights
from napari_memscan.checkpoints.native_format import read_recipe
from napari_memscan.errors import BadInput, JobFailed
from napari_memscan.training import resources as planning
from napari_memscan.training.autoencoder_task import AutoencoderTask
from napari_memscan.training.logs import read_log
from napari_memscan.training.run import STATE, train
from napari_memscan.training.settings import AutoencoderSettings, DenoiserSettings, EmbedderSettings
from napari_memscan.volumes.preprocessing import MinMax, Preprocessing

RECIPE = Preprocessing(shape=(16, 16, 16), intensity=MinMax())
SMALL = AutoencoderSettings(
    steps=8, channels=(8, 8), batch=2, save_every=2, validate_every=4, log_every=1
)


def start(cells, out, settings=SMALL):
    return train("autoencoder", cells, out, settings, preprocessing=RECIPE, device="cpu")


def changed(**changes):
    return SMALL.model_copy(update=changes)


@pytest.fixture
def broken_at(monkeypatch):
    """Return a function: the loss of a step becomes what another function makes of it."""

    def breaks(step, change):
        real = AutoencoderTask.loss

        def loss(task, network, batch, random):
            value = real(task, network, batch, random)
            return change(value) if task.step == step and network.training else value

        monkeypatch.setattr(AutoencoderTask, "loss", loss)
        return lambda: monkeypatch.setattr(AutoencoderTask, "loss", real)

    return breaks


def infinite_slope(value):
    # The loss is finite; the slope of its root at 0 is not.
    return value + (value - value.detach()).abs().sqrt() * 1e-3


@pytest.mark.parametrize("change", [lambda v: v * float("nan"), infinite_slope])
def test_divergence_names_the_step_and_goes_on_with_a_smaller_rate(
    change, cells, tmp_path, broken_at
):
    mend = broken_at(5, change)
    with pytest.raises(JobFailed, match="diverged") as caught:
        list(start(cells, tmp_path))
    text = str(caught.value)
    assert "at step 6" in text
    assert "(learning_rate=0.00033) it goes on from step 4" in text
    state = torch.load(tmp_path / STATE, weights_only=True)
    assert state["step"] == 4
    assert all(torch.isfinite(v).all() for v in state["network"].values())
    assert not (tmp_path / "recipe.json").exists()

    mend()
    rest = list(start(cells, tmp_path, changed(learning_rate=1e-4)))
    assert rest[0].step == 5
    recipe = read_recipe(tmp_path)
    assert recipe.provenance["learning_rates"] == [[0, 1e-3], [4, 1e-4]]
    rows = read_log(tmp_path / "training.csv")
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert rows[4]["learning_rate"] < 1.1e-4 < rows[2]["learning_rate"]


def test_a_validation_loss_that_is_not_finite_is_never_the_best(cells, tmp_path, monkeypatch):
    real = AutoencoderTask.loss

    def loss(task, network, batch, random):
        value = real(task, network, batch, random)
        return value if network.training else value * float("nan")

    monkeypatch.setattr(AutoencoderTask, "loss", loss)
    with pytest.raises(JobFailed, match="loss over validation volumes is nan") as caught:
        list(start(cells, tmp_path, changed(patience=2)))
    # Step 4 was not saved yet when it was measured.
    assert "goes on from step 2, with weights from before" in str(caught.value)
    state = torch.load(tmp_path / STATE, weights_only=True)
    assert (state["step"], state["best"], state["validation"]) == (2, None, [])


def test_only_what_mends_a_training_may_change(cells, tmp_path):
    job = start(cells, tmp_path)
    next(job)
    job.close()
    with pytest.raises(BadInput, match="other data or settings"):
        next(start(cells, tmp_path, changed(seed=5)))
    list(start(cells, tmp_path, changed(batch=1, accumulate=2)))
    (tmp_path / "recipe.json").unlink()
    with pytest.raises(BadInput, match="other data or settings"):  # It is finished.
        next(start(cells, tmp_path, changed(learning_rate=1e-5)))


def test_no_memory_says_how_to_go_on_with_less(cells, tmp_path, broken_at):
    def full(value):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    mend = broken_at(3, full)
    with pytest.raises(JobFailed, match="ran out of memory at step 4 with batch 2") as caught:
        list(start(cells, tmp_path))
    assert "batch=1 and accumulate=2 it goes on from step 2" in str(caught.value)
    mend()
    rest = list(start(cells, tmp_path, changed(batch=1, accumulate=2)))
    assert rest[0].step == 3
    assert (tmp_path / "recipe.json").exists()


@pytest.mark.parametrize(
    "place", [(LatentCodec, "encode_mean"), (Fabric, "setup"), (Adam, "__init__")]
)
def test_no_memory_before_the_first_step_is_a_message(
    place, cells, fitted_autoencoder, tmp_path, monkeypatch
):
    def full(*arguments, **more):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(*place, full)
    settings = DenoiserSettings(steps=2, channels=(8, 16), batch=2)
    with pytest.raises(JobFailed, match="cpu ran out of memory before the first step") as caught:
        next(
            train(
                "denoiser",
                cells,
                tmp_path,
                settings,
                preprocessing=RECIPE,
                device="cpu",
                autoencoder=fitted_autoencoder,
            )
        )
    assert "The batch plays no part" in str(caught.value)


def test_a_training_that_cannot_fit_is_refused_before_it_starts(cells, tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "get_free_bytes", lambda device: 100_000)
    with pytest.raises(BadInput, match=r"needs 0\.\d GB of memory") as caught:
        next(start(cells, tmp_path))
    assert "batch=1 and accumulate=2" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_memory_that_is_planned_grows_with_batch_and_width(cells):
    def need(**changes):
        settings = changed(**changes)
        return planning.estimate_needed_bytes(
            AutoencoderTask(cells, settings, RECIPE, None), settings
        )

    one = need(batch=1)
    # Activations of 8 channels at 16^3 alone are 131 kB each.
    assert 1e6 < one < 1e8
    assert 1.7 * one < need(batch=2) < 2.1 * one
    assert need(batch=1, channels=(16, 16)) > 1.5 * one
    critic = {"adversarial_weight": 1.0, "critic_layers": 1}
    assert need(batch=1, **critic) > one
    assert need(batch=1, network="VQVAE") > 0


def test_half_precision_is_not_refused_for_what_float32_would_need(cells):
    """What is planned lies below what a forward run under bfloat16 keeps."""
    settings = changed(batch=2, channels=(8, 16))
    task = AutoencoderTask(cells, settings, RECIPE, None)
    full, half = (planning.estimate_needed_bytes(task, settings, half=h) for h in (False, True))
    weights = {p.data_ptr() for p in task.network.parameters()}
    fixed = 16 * sum(p.numel() for p in task.network.parameters())
    kept = {}

    def pack(value):
        if value.data_ptr() not in weights:
            kept[value.untyped_storage().data_ptr()] = value.untyped_storage()
        return value

    batch = task.data["training"][:2]
    with (
        torch.autocast("cpu", torch.bfloat16),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value),
    ):
        task.loss(task.network, batch, torch.Generator().manual_seed(0))
    real = fixed + sum(storage.nbytes() for storage in kept.values())
    assert 0.5 * real < half < 1.02 * real < full


@pytest.mark.parametrize("fails", [STATE, "training.csv"])
def test_a_full_disk_leaves_the_state_from_before(fails, cells, tmp_path, monkeypatch):
    whole = tmp_path / "whole"
    list(start(cells, whole))
    out = tmp_path / "out"
    job = start(cells, out)
    while next(job).step < 3:
        pass
    before = (out / STATE).read_bytes()
    real = io.open

    def opened(file, mode="r", *args, **kwargs):
        if str(file).endswith(fails) and mode in ("wb", "ab"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, mode, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(io, "open", opened)
        patch.setattr(builtins, "open", opened)
        with pytest.raises(JobFailed, match="the disk is full"):
            list(job)
    assert (out / STATE).read_bytes() == before
    assert not [p for p in out.iterdir() if p.name.startswith(".")]
    rest = list(start(cells, out))
    assert rest[0].step == 3
    a, b = load_weights(whole, "autoencoder"), load_weights(out, "autoencoder")
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_state_of_another_memscan_is_no_riddle(cells, tmp_path):
    job = start(cells, tmp_path)
    next(job)
    job.close()
    state = torch.load(tmp_path / STATE, weights_only=True)
    del state["network"]["encoder.blocks.0.conv.weight"]
    torch.save(state, tmp_path / STATE)
    with pytest.raises(BadInput, match="does not fit these networks"):
        next(start(cells, tmp_path))
    torch.save([1, 2], tmp_path / STATE)
    with pytest.raises(BadInput, match="other data or settings"):
        next(start(cells, tmp_path))


def test_a_state_without_what_came_later_goes_on_to_the_same_weights(cells, tmp_path):
    list(start(cells, tmp_path / "whole"))
    out = tmp_path / "old"
    job = start(cells, out)
    while next(job).step < 3:
        pass
    job.close()
    state = torch.load(out / STATE, weights_only=True)
    for key in ("relaxed", "total", "rates", "best", "ended"):
        del state[key]
    torch.save(state, out / STATE)
    (out / "training.csv").unlink()
    rest = list(start(cells, out))
    assert rest[0].step == 4
    a, b = load_weights(tmp_path / "whole", "autoencoder"), load_weights(out, "autoencoder")
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_too_small_a_cohort_says_what_to_do(cells, tmp_path):
    few = cells | {"validation": cells["validation"][:0]}
    with pytest.raises(BadInput, match=r"too few validation volumes.*Add volumes to cohort\.csv"):
        next(start(few, tmp_path))
    with pytest.raises(BadInput, match="too few training volumes, 6, for accumulate 8"):
        next(start(cells, tmp_path, changed(batch=1, accumulate=8)))


def test_several_devices_are_asked_for_in_vain(cells, tmp_path):
    def refused(words, part="autoencoder", settings=SMALL, **more):
        with pytest.raises(BadInput, match=words):
            next(train(part, cells, tmp_path, settings, preprocessing=RECIPE, device="cpu", **more))

    refused("multiple of 2", settings=changed(batch=3), devices=2)
    refused("trained on one device", "embedder", EmbedderSettings(batch=4), devices=2)
    refused("is for GPUs", settings=changed(precision="float16"))
    refused("strategy pigeon", strategy="pigeon")
    assert np.isfinite(list(start(cells, tmp_path))[-1].loss)
