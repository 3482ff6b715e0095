"""Training learns, goes on after a stop with the same result, and says what is wrong."""

from __future__ import annotations

import math
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from napari_memscan.checkpoints.loading import load_weights
from napari_memscan.checkpoints.native_format import read_recipe
from napari_memscan.errors import BadInput, JobFailed
from napari_memscan.training.augmentation_views import blur_and_add_noise, flip_and_rotate, nt_xent
from napari_memscan.training.run import STATE, train
from napari_memscan.training.settings import AutoencoderSettings, DenoiserSettings, EmbedderSettings
from napari_memscan.volumes.preprocessing import MinMax, Preprocessing

PREPROCESSING = Preprocessing(shape=(16, 16, 16), intensity=MinMax())
SMALL = {
    "autoencoder": AutoencoderSettings(steps=12, channels=(8, 8), batch=2, validate_every=6),
    "denoiser": DenoiserSettings(
        steps=10, channels=(8, 16), batch=4, validate_every=5, sample_steps=3
    ),
    "embedder": EmbedderSettings(
        steps=10, n_hiddens=4, batch=4, working_shape=(8, 8, 8), downsample=(4, 4, 4)
    ),
}


@pytest.fixture(scope="module")
def arrays():
    random = np.random.default_rng(0)
    cells = random.random((9, 4, 4, 4))
    volumes = cells.repeat(4, 1).repeat(4, 2).repeat(4, 3).astype(np.float32)
    return {"training": volumes[:6], "validation": volumes[6:]}


@pytest.fixture(scope="module")
def autoencoder(arrays, tmp_path_factory):
    out = tmp_path_factory.mktemp("ae")
    run("autoencoder", arrays, out)
    return out


def run(part, arrays, out, settings=None, **kwargs):
    settings = settings or SMALL[part]
    return list(train(part, arrays, out, settings, preprocessing=PREPROCESSING, **kwargs))


def test_autoencoder_learns_and_writes_a_recipe(arrays, tmp_path):
    settings = AutoencoderSettings(steps=40, channels=(8, 8), batch=2, validate_every=20)
    steps = run("autoencoder", arrays, tmp_path, settings, spacing=(1.0, 1.0, 2.0))
    assert [s.step for s in steps] == list(range(1, 41))
    assert np.mean([s.loss for s in steps[-5:]]) < 0.7 * steps[0].loss
    assert [s.step for s in steps if s.validation_loss is not None] == [20, 40]
    recipe = read_recipe(tmp_path)
    assert recipe.spacing == (1.0, 1.0, 2.0)
    assert recipe.provenance["n_training"] == 6


def test_denoiser_stores_the_inverse_spread_of_the_latents(arrays, autoencoder, tmp_path):
    from napari_memscan.checkpoints.networks import build_autoencoder, load_strict

    run("denoiser", arrays, tmp_path, autoencoder=autoencoder)
    recipe = read_recipe(tmp_path)
    assert recipe.latent_shape == (3, 8, 8, 8)
    network = build_autoencoder(recipe.autoencoder)
    load_strict(network, load_weights(tmp_path, "autoencoder"), tmp_path)
    with torch.no_grad():
        latents = network.encode(torch.from_numpy(arrays["training"])[:, None])[0]
    assert recipe.scale_factor == pytest.approx(1 / float(latents.std()), rel=1e-4)


@pytest.mark.parametrize("part", ["autoencoder", "denoiser", "embedder"])
def test_a_stopped_training_ends_with_the_same_weights(part, arrays, autoencoder, tmp_path):
    extra = {"autoencoder": autoencoder} if part == "denoiser" else {}
    run(part, arrays, tmp_path / "whole", **extra)
    stopped = train(
        part, arrays, tmp_path / "stopped", SMALL[part], preprocessing=PREPROCESSING, **extra
    )
    for progress in stopped:
        if progress.step == 4:
            break
    stopped.close()
    assert (tmp_path / "stopped" / STATE).exists()
    rest = run(part, arrays, tmp_path / "stopped", **extra)
    assert rest[0].step == 5
    whole, again = load_weights(tmp_path / "whole", part), load_weights(tmp_path / "stopped", part)
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[k], again[k]) for k in whole)


def test_denoiser_saves_the_moving_average_not_the_last_weights(arrays, autoencoder, tmp_path):
    plain = SMALL["denoiser"].model_copy(update={"ema_decay": 0.0})
    run("denoiser", arrays, tmp_path / "a", autoencoder=autoencoder)
    run("denoiser", arrays, tmp_path / "b", plain, autoencoder=autoencoder)
    a, b = load_weights(tmp_path / "a", "denoiser"), load_weights(tmp_path / "b", "denoiser")
    assert any(not torch.equal(a[k], b[k]) for k in a)


def test_a_folder_with_another_training_is_left_alone(arrays, tmp_path):
    run("embedder", arrays, tmp_path)
    other = SMALL["embedder"].model_copy(update={"seed": 2})
    with pytest.raises(BadInput, match="other data or settings"):
        run("embedder", arrays, tmp_path, other)
    (tmp_path / STATE).unlink()
    with pytest.raises(BadInput, match="finished checkpoint"):
        run("embedder", arrays, tmp_path, other)
    (tmp_path / STATE).write_bytes(b"half")
    with pytest.raises(BadInput, match="Delete it to start"):
        run("embedder", arrays, tmp_path)


def test_a_diverging_loss_is_a_message(arrays, tmp_path):
    broken = {k: v * np.float32(1e30) for k, v in arrays.items()}
    wild = AutoencoderSettings(steps=30, channels=(8, 8), batch=2, learning_rate=1e6)
    with pytest.raises(JobFailed, match="diverged"):
        run("autoencoder", broken, tmp_path, wild)


def test_bad_requests_are_named(arrays, tmp_path):
    with pytest.raises(BadInput, match="needs a trained autoencoder"):
        run("denoiser", arrays, tmp_path)
    with pytest.raises(BadInput, match="cannot be trained"):
        run("gan", arrays, tmp_path, SMALL["embedder"])
    with pytest.raises(BadInput, match="must be AutoencoderSettings"):
        run("autoencoder", arrays, tmp_path, SMALL["embedder"])
    with pytest.raises(BadInput, match="too few training"):
        run("embedder", {**arrays, "training": arrays["training"][:1]}, tmp_path)
    with pytest.raises(BadInput, match="too few validation"):
        run("embedder", {**arrays, "validation": arrays["validation"][:0]}, tmp_path)
    odd = AutoencoderSettings(steps=1, channels=(8, 8, 8, 8, 8, 8))
    with pytest.raises(BadInput, match="multiple of 32"):
        run("autoencoder", arrays, tmp_path, odd)
    with pytest.raises(BadInput, match="powers of two"):
        run("embedder", arrays, tmp_path, EmbedderSettings(working_shape=(10, 10, 10)))


def test_denoiser_refuses_an_autoencoder_of_other_volumes(arrays, autoencoder, tmp_path):
    other = {k: v[:, :12] for k, v in arrays.items()}
    with pytest.raises(BadInput, match="Train the autoencoder on this study"):
        run("denoiser", other, tmp_path, autoencoder=autoencoder)
    run("embedder", arrays, tmp_path / "e")
    with pytest.raises(BadInput, match="needs a trained autoencoder"):
        run("denoiser", arrays, tmp_path, autoencoder=tmp_path / "e")


def test_nt_xent_equals_its_formula():
    first = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    second = torch.tensor([[3.0, 0.0], [1.0, 1.0]])
    vectors = [(1, 0), (0, 1), (1, 0), (math.sqrt(0.5), math.sqrt(0.5))]
    partner = {0: 2, 1: 3, 2: 0, 3: 1}
    total = 0.0
    for i in range(4):
        s = [math.exp((vectors[i][0] * v[0] + vectors[i][1] * v[1]) / 0.5) for v in vectors]
        total -= math.log(s[partner[i]] / (sum(s) - s[i]))
    assert float(nt_xent(first, second, 0.5)) == pytest.approx(total / 4, rel=1e-5)


def test_views_flip_and_rotate_by_at_most_what_is_asked():
    batch = torch.rand(6, 1, 9, 9, 9, generator=torch.Generator().manual_seed(1))
    still = flip_and_rotate(batch, torch.Generator().manual_seed(0), (), 0.0)
    torch.testing.assert_close(still, batch, atol=1e-5, rtol=0)
    flipped = flip_and_rotate(batch, torch.Generator().manual_seed(0), (0,), 0.0)
    kinds = set()
    for got, original in zip(flipped, batch, strict=True):
        same = torch.allclose(got, original, atol=1e-5)
        mirrored = torch.allclose(got, original.flip(1), atol=1e-5)
        assert same or mirrored
        kinds.add(mirrored)
    assert kinds == {True, False}
    turned = flip_and_rotate(batch, torch.Generator().manual_seed(0), (), 90.0)
    assert not torch.allclose(turned, batch, atol=0.05)


def test_blur_and_noise_stay_within_what_is_asked():
    batch = torch.zeros(4, 1, 9, 9, 9)
    batch[:, 0, 4, 4, 4] = 1
    still = blur_and_add_noise(batch, torch.Generator().manual_seed(0), 0.0, 0.0)
    assert torch.equal(still, batch)
    blurred = blur_and_add_noise(batch, torch.Generator().manual_seed(0), 1.0, 0.0)
    torch.testing.assert_close(blurred.sum((1, 2, 3, 4)), torch.ones(4), atol=1e-4, rtol=0)
    peaks = blurred[:, 0, 4, 4, 4]
    # A Gaussian of one voxel leaves 0.063 of a point; each volume has its own sigma.
    assert (peaks >= 0.06).all()
    assert peaks.unique().numel() > 1
    noisy = blur_and_add_noise(batch, torch.Generator().manual_seed(0), 0.0, 0.1) - batch
    assert 0 < noisy.flatten(1).std(1).max() < 0.11


def test_kill_9_in_the_middle_ends_with_the_same_weights(arrays, tmp_path):
    code = """
        import sys
        import numpy as np
        from napari_memscan.training.run import train
        from napari_memscan.training.settings import EmbedderSettings
        from napari_memscan.volumes.preprocessing import MinMax, Preprocessing
        stored = np.load(sys.argv[1])
        settings = EmbedderSettings.model_validate_json(sys.argv[3])
        recipe = Preprocessing(shape=(16, 16, 16), intensity=MinMax())
        out = sys.argv[2]
        for progress in train("embedder", dict(stored), out, settings, preprocessing=recipe):
            print(progress.step, flush=True)
    """
    settings = SMALL["embedder"].model_copy(update={"steps": 40, "save_every": 2})
    run("embedder", arrays, tmp_path / "whole", settings)
    np.savez(tmp_path / "arrays.npz", **arrays)
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(code),
            str(tmp_path / "arrays.npz"),
            str(tmp_path / "killed"),
            settings.model_dump_json(),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if int(line) == 7:
            process.kill()
            break
    process.wait()
    process.stdout.close()
    assert not (tmp_path / "killed" / "recipe.json").exists()
    rest = run("embedder", arrays, tmp_path / "killed", settings)
    assert 2 < rest[0].step <= 40
    whole = load_weights(tmp_path / "whole", "embedder")
    again = load_weights(tmp_path / "killed", "embedder")
    assert all(torch.equal(whole[k], again[k]) for k in whole)
