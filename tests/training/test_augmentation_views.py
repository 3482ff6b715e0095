"""Augmentation of a denoiser's data: versions of a volume are drawn as often as it is."""

from __future__ import annotations

import numpy as np
import torch

from napari_memscan.training.augmentation_views import add_views
from napari_memscan.training.denoiser_task import DenoiserTask
from napari_memscan.training.settings import DenoiserSettings

SIDES = {"training": ["left", "right"] * 3, "validation": ["right", "left", ""]}


def test_versions_of_a_volume_stand_beside_it():
    volumes = torch.rand((3, 1, 8, 8, 8), generator=torch.Generator().manual_seed(0))
    made = torch.stack(list(add_views(volumes, 4, seed=1)))
    assert made.shape == (15, 1, 8, 8, 8)
    assert torch.equal(made[::5], volumes)
    assert torch.equal(torch.stack(list(add_views(volumes[:2], 4, seed=1))), made[:10])
    for volume, own in zip(volumes, made.split(5), strict=True):
        for view in own[1:]:
            straight = np.corrcoef(view.ravel(), volume.ravel())[0, 1]
            mirrored = np.corrcoef(view.ravel(), volume.flip(1).ravel())[0, 1]
            assert max(straight, mirrored) > 0.5
            assert not torch.equal(view, volume)


def test_a_denoiser_learns_versions_with_the_weight_and_condition_of_their_volume(
    cells, fitted_autoencoder
):
    small = {"channels": (8, 16), "duplicated": 2, "times": 3, "conditional": True}
    cpu = torch.device("cpu")

    def task(**more):
        settings = DenoiserSettings.model_validate(small | more)
        return DenoiserTask(cells, settings, fitted_autoencoder, cpu, SIDES)

    plain, augmented = task(), task(views=3)
    assert augmented.weights.tolist() == [3] * 8 + [1] * 16
    latents, labels = augmented.data["training"][:]
    assert labels.reshape(6, 4).tolist() == [[label] * 4 for label in [1, 2] * 3]
    assert torch.equal(augmented.data["validation"][:][1], plain.data["validation"][:][1])
    # Scaled by all that is learnt; the volumes themselves are first of each four.
    own = latents[::4] / augmented.scale_factor
    assert torch.allclose(own, plain.data["training"][:][0] / plain.scale_factor, atol=1e-6)
    assert not torch.allclose(latents[1::4], latents[::4])


def test_a_training_from_before_there_were_views_is_still_that_training():
    settings = DenoiserSettings()
    assert "views" not in settings.identity()
    assert DenoiserSettings(views=1).identity() == settings.identity() | {"views": 1}
