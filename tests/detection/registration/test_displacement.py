"""Displacements: what has moved is told from what only looks different."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from napari_memscan.detection.registration.displacement import compute_mean_displacement
from napari_memscan.detection.registration.local_statistics import LocalStatistics

SHAPE = (24, 26, 22)
INSIDE = np.zeros(SHAPE, bool)
INSIDE[4:-4, 4:-4, 4:-4] = True


def texture(seed=0):
    noise = np.random.default_rng(seed).normal(size=SHAPE)
    smooth = gaussian_filter(noise, 1.5)
    return (0.5 + 0.1 * smooth / smooth.std()).clip(0, 1).astype(np.float32)


def moved(one, other, spacing=(1.0, 1.0, 1.0)):
    everywhere = np.ones(SHAPE, bool)
    sigma = [2.0] * 3
    near = LocalStatistics(one, other, everywhere, sigma)
    return compute_mean_displacement(one, other, near, INSIDE, spacing, 0.001)


@pytest.mark.parametrize("voxels", [0.25, 0.5])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_shift_is_measured_in_mm(voxels, axis):
    one, spacing = texture(), (1.0, 2.0, 0.5)
    by = [0.0, 0.0, 0.0]
    by[axis] = voxels
    found = moved(one, shift(one, by, order=3, mode="nearest"), spacing)
    assert found == pytest.approx(voxels * spacing[axis], rel=0.15)


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v**1.4,
        lambda v: 0.6 * v + 0.1,
        lambda v: v * np.linspace(0.8, 1.2, SHAPE[0], dtype=np.float32)[:, None, None],
        lambda v: gaussian_filter(v, 0.6),
    ],
)
def test_intensities_move_nothing(change):
    one = texture()
    assert moved(one, change(one).astype(np.float32)) < 0.06


def test_strangers_lie_farther_apart_than_deformed_copies():
    one, random = texture(), np.random.default_rng(1)
    from scipy.ndimage import map_coordinates

    field = gaussian_filter(random.normal(size=(3, *SHAPE)), [0, 4, 4, 4])
    field *= 0.6 / np.sqrt((field**2).sum(axis=0).mean())
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"))
    deformed = map_coordinates(one, grid + field, order=3, mode="nearest").astype(np.float32)
    assert 0.3 < moved(one, deformed) < 0.8
    assert moved(one, texture(5)) > moved(one, deformed) > 5 * moved(one, one + 0.1)


def test_what_is_flat_has_not_moved():
    assert moved(np.full(SHAPE, 0.5, np.float32), texture()) == 0.0
    one = texture()
    thin = np.repeat(one[:, :, :1], 1, axis=2)
    near = LocalStatistics(thin, thin, np.ones(thin.shape, bool), [2.0] * 3)
    assert (
        compute_mean_displacement(thin, thin, near, np.ones(thin.shape, bool), (1, 1, 1), 0.001)
        < 1e-6
    )
