"""Autoencoders of both kinds, every term of their loss, and the critic."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from napari_memscan.checkpoints.latent_model import LatentCodec
from napari_memscan.checkpoints.loading import load_weights
from napari_memscan.checkpoints.native_format import read_recipe
from napari_memscan.checkpoints.networks import build_autoencoder, load_strict
from napari_memscan.errors import BadInput
from napari_memscan.training.autoencoder_task import AutoencoderTask
from napari_memscan.training.perceptual_loss import PerceptualLoss
from napari_memscan.training.run import train
from napari_memscan.training.settings import AutoencoderSettings
from napari_memscan.volumes.preprocessing import MinMax, Preprocessing

RECIPE = Preprocessing(shape=(16, 16, 16), intensity=MinMax())
VQ = {"network": "VQVAE", "num_embeddings": 16, "latent_channels": 4, "quantise_after": 3}
CRITIC = {
    "adversarial_weight": 0.1,
    "adversarial_start": 2,
    "critic_channels": 4,
    "critic_layers": 1,
}
ALL = {"ssim_weight": 0.5, "perceptual_weight": 0.5, **CRITIC}


def settings_of(**changes):
    small = {"steps": 6, "channels": (8, 8), "batch": 2, "validate_every": 3}
    return AutoencoderSettings.model_validate(small | changes)


@pytest.mark.parametrize("kind", [{}, VQ], ids=["KL", "VQ"])
def test_learns_and_loads_as_what_it_was_trained_as(kind, cells, fit, tmp_path):
    if kind:
        kind = kind | {"quantise_after": 110, "steps": 180, "channels": (16, 16), "batch": 6}
    settings = settings_of(**{"steps": 50, "learning_rate": 5e-3, **kind})
    found = fit("autoencoder", cells, tmp_path, settings)
    assert np.mean([p.loss for p in found[-5:]]) < 0.7 * found[0].loss
    recipe = read_recipe(tmp_path)
    network = build_autoencoder(recipe.autoencoder)
    load_strict(network, load_weights(tmp_path, "autoencoder"), tmp_path)
    codec = LatentCodec(recipe, network)
    volumes = torch.from_numpy(cells["validation"])[:, None]
    with torch.no_grad():
        latent = codec.encode_mean(volumes)
        back = codec.decode(latent)
    assert latent.shape[2:] == ((4, 4, 4) if kind else (8, 8, 8))
    assert float((back - volumes).abs().mean()) <= found[-1].validation_loss + 0.01
    known = torch.from_numpy(cells["training"])[:, None]
    with torch.no_grad():
        error = float((codec.decode(codec.encode_mean(known)) - known).abs().mean())
    assert error < 0.7 * float((known - known.mean()).abs().mean())


@pytest.mark.parametrize("kind", [{}, VQ], ids=["KL", "VQ"])
def test_with_all_terms_it_goes_on_after_a_stop_with_the_same_weights(kind, cells, fit, tmp_path):
    settings = settings_of(**kind, **ALL)
    fit("autoencoder", cells, tmp_path / "whole", settings)
    job = train(
        "autoencoder", cells, tmp_path / "stopped", settings, device="cpu", preprocessing=RECIPE
    )
    for progress in job:
        if progress.step == 4:  # The critic has learnt for two steps.
            break
    job.close()
    state = torch.load(tmp_path / "stopped" / "training.pt", weights_only=True)
    assert {"critic", "critic_optimizer"} <= state.keys()
    assert fit("autoencoder", cells, tmp_path / "stopped", settings)[0].step == 5
    a, b = (load_weights(tmp_path / name, "autoencoder") for name in ("whole", "stopped"))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_the_critic_waits_and_then_changes_what_is_learnt(cells, fit, tmp_path):
    def weights(name, **changes):
        settings = settings_of(**CRITIC).model_copy(update=changes)
        fit("autoencoder", cells, tmp_path / name, settings)
        return load_weights(tmp_path / name, "autoencoder")

    plain = weights("plain", adversarial_weight=0.0)
    waiting = weights("waiting", adversarial_start=6)
    at_work = weights("at work")
    assert all(torch.equal(plain[k], waiting[k]) for k in plain)
    assert any(not torch.equal(plain[k], at_work[k]) for k in plain)
    from napari_memscan.training.logs import read_log

    rows = read_log(tmp_path / "at work" / "training.csv")
    assert [row["critic_loss"] is not None for row in rows] == [True, True]
    assert read_log(tmp_path / "waiting" / "training.csv")[-1]["critic_loss"] is None


def test_a_critic_learns_to_tell_reconstructions_from_volumes(cells):
    task = AutoencoderTask(cells, settings_of(**CRITIC), RECIPE, None)
    batch = task.data["training"][:4]
    task.loss(task.network, batch, torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(task.discriminator.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = task.discriminator_loss(task.discriminator)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    before = [p.grad for p in task.discriminator.parameters()]
    optimizer.zero_grad()
    task.generator_loss().backward()
    assert any(p.grad is not None for p in task.network.parameters())
    assert all(p.grad is None for p in task.discriminator.parameters())
    assert before[0] is not None


@pytest.mark.parametrize("term", ["ssim_weight", "perceptual_weight"])
def test_a_term_alone_is_enough_to_learn(term, cells, fit, tmp_path):
    settings = settings_of(steps=30, learning_rate=5e-3, l1_weight=0.0, **{term: 1.0})
    found = fit("autoencoder", cells, tmp_path, settings)
    assert np.mean([p.loss for p in found[-5:]]) < 0.9 * found[0].loss


def test_perceptual_loss_sees_structure_not_brightness():
    volume = torch.rand(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    loss = PerceptualLoss()
    assert float(loss(volume, volume)) == 0
    brighter = float(loss(volume, volume + 0.1))
    smooth = torch.nn.functional.avg_pool3d(volume, 3, 1, 1)
    other = torch.rand(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(1))
    assert brighter < 0.2 * float(loss(volume, smooth)) < 0.5 * float(loss(volume, other))
    assert torch.equal(PerceptualLoss().get_buffer("weight"), loss.get_buffer("weight"))


def test_codes_that_nothing_is_near_are_put_where_latents_are(cells):
    task = AutoencoderTask(cells, settings_of(**VQ), RECIPE, None)
    task.network.train()
    quantizer = task.network.quantizer.quantizer
    batch, random = task.data["training"], torch.Generator().manual_seed(0)

    def used():
        with torch.no_grad():
            return len(quantizer.quantize(task.network.encode(batch))[2].unique())

    task.loss(task.network, batch, random)
    assert used() >= 8  # Early on all codes follow the latents.
    task.step = 10
    with torch.no_grad():
        quantizer.embedding.weight[1:] = 99
        quantizer.ema_w[1:] = 99
        quantizer.ema_cluster_size[1:] = 0
    assert used() == 1
    task.loss(task.network, batch, random)
    assert used() >= 8


def test_wrong_settings_are_named(cells, fit, tmp_path):
    with pytest.raises(ValidationError, match="must not be 0"):
        settings_of(l1_weight=0.0)
    with pytest.raises(BadInput, match="at most 2 fit"):
        fit("autoencoder", cells, tmp_path, settings_of(**CRITIC | {"critic_layers": 3}))
    with pytest.raises(BadInput, match="multiple of 32"):
        fit("autoencoder", cells, tmp_path, settings_of(**VQ, channels=(8,) * 5))
