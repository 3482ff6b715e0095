"""The scale factor is measured on latents of training volumes, and doubted when far from it."""

import numpy as np
import pytest
import torch

from napari_memscan.checkpoints.latent_model import LatentModel
from napari_memscan.checkpoints.loading import load_checkpoint
from napari_memscan.generators.latent_scale import LatentScale, measure_latent_scale

CPU = torch.device("cpu")


def run(job):
    while True:
        try:
            next(job)
        except StopIteration as stop:
            return stop.value


@pytest.fixture
def volumes():
    random = np.random.default_rng(0)
    return [random.random((16, 16, 16)).astype(np.float32) for _ in range(3)]


def test_it_is_one_over_the_std_of_what_the_encoder_draws(tiny_ldm, volumes):
    checkpoint = load_checkpoint(tiny_ldm)
    scale = run(measure_latent_scale(checkpoint, [lambda v=v: v for v in volumes], CPU))
    assert scale.n == 3
    network = LatentModel.build(checkpoint, CPU).codec.network
    torch.manual_seed(0)
    with torch.inference_mode():
        x = torch.from_numpy(np.stack(volumes))[:, None]
        drawn = torch.stack([network.encode_stage_2_inputs(x) for _ in range(30)])
        error = float((network.decode(network.encode(x)[0]) - x).abs().mean())
    assert scale.std == pytest.approx(float(drawn.std()), rel=0.02)
    assert scale.error == pytest.approx(error, rel=1e-4)
    assert scale.origin == "estimated: 1/std of the latents of 3 training volumes"


@pytest.mark.parametrize(
    ("factor", "doubted"), [(1.0, False), (0.85, False), (0.7, True), (1.3, True)]
)
def test_further_off_than_a_fifth_is_a_warning_with_both_numbers(tiny_ldm, factor, doubted):
    recipe = load_checkpoint(tiny_ldm).recipe.model_copy(update={"scale_factor": factor})
    text = LatentScale(1.0, 8, 0.1).warning(recipe)
    assert bool(text) is doubted
    if doubted:
        assert f"{factor:.4g}" in text
        assert "training volumes is 1." in text
        assert "state scale_factor=1" in text


def test_progress_counts_volumes_and_each_is_read_when_it_is_its_turn(tiny_ldm, volumes):
    read = []
    reads = [lambda i=i: read.append(i) or volumes[i] for i in range(3)]
    job = measure_latent_scale(load_checkpoint(tiny_ldm), reads, CPU)
    assert (next(job), read) == (1, [0])
    assert (next(job), read) == (2, [0, 1])
