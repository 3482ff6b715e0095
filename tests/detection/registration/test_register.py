import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_memscan.detection.planting.perturbations import Perturbation
from napari_memscan.detection.registration import register as registration
from napari_memscan.detection.registration.register import (
    build_motion_matrix,
    build_pyramid,
    coarsen_volume,
    register_pair,
)

SHAPE = (28, 32, 30)
MM = (1.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def volume():
    smooth = gaussian_filter(np.random.default_rng(3).normal(size=SHAPE), 3)
    return (0.5 + smooth / np.ptp(smooth)).astype(np.float32)


def test_motion_turns_shifts_and_zooms():
    turn = build_motion_matrix(np.array([0, 0, np.pi / 2, 1, 2, 3, np.log(2)]))
    assert np.allclose(turn @ [1, 0, 0, 1], [1, 4, 3, 1])
    assert np.allclose(build_motion_matrix(np.zeros(6)), np.eye(4))


def test_a_coarser_grid_keeps_the_centre_and_the_extent():
    x, y, z = np.ogrid[:21, :80, :64]
    ramp = (2.5 * (x - 10) + 1.0 * (y - 39.5) + 1.25 * (z - 31.5)).astype(np.float32)
    small, spacing = coarsen_volume(ramp, (2.5, 1.0, 1.25), 40)
    assert small.shape == (21, 40, 40)
    assert spacing == (2.5, 2.0, 2.0)
    middle = small[5:-5, 5:-5, 5:-5]
    x, y, z = (
        ((np.arange(n) - (n - 1) / 2) * s)[5:-5] for n, s in zip(small.shape, spacing, strict=True)
    )
    expected = x[:, None, None] + y[:, None] + z
    assert np.allclose(middle, expected, atol=1e-3)
    same, spacing = coarsen_volume(ramp[:, :40, :40], (2.5, 1.0, 1.25), 64)
    assert same.shape == (21, 40, 40)


def test_the_best_of_several_starts_wins(volume):
    changed = Perturbation(SHAPE, flips=(False, True, False), rotation=(0, 6, 0))
    query = changed.apply(volume)
    starts = [np.eye(4), np.diag([1.0, -1, 1, 1]), np.diag([-1.0, 1, 1, 1])]
    pose, model = register_pair(build_pyramid(query, MM), build_pyramid(volume, MM), starts)
    assert model == "similarity"
    assert np.abs(pose - changed.pose()).max() < 0.4
    assert np.linalg.det(pose[:3, :3]) < 0


def test_a_pose_that_cannot_be_improved_stays(volume, monkeypatch):
    start = np.eye(4)
    start[0, 3] = 1.5
    monkeypatch.setattr(registration, "FARTHEST", 0.0)
    pose, model = register_pair(build_pyramid(volume, MM), build_pyramid(volume, MM), [start])
    assert model == "start"
    assert np.array_equal(pose, start)


@pytest.mark.parametrize(
    "other", [np.eye(28)[:, :, None] * np.ones(30), np.ones((28, 32, 30)), np.ones((3, 32, 30))]
)
def test_what_cannot_be_registered_keeps_a_finite_pose(volume, other):
    other = other.astype(np.float32)
    for pair in ((volume, other), (other, volume)):
        pose, model = register_pair(*(build_pyramid(v, MM) for v in pair), [np.eye(4)])
        assert model in ("start", "rigid", "similarity")
        assert np.isfinite(pose).all()
        assert np.abs(pose - np.eye(4)).max() < 10


def test_a_start_outside_stays_where_it_is(volume):
    start = np.eye(4)
    start[:3, 3] = 500
    pose, model = register_pair(build_pyramid(volume, MM), build_pyramid(volume, MM), [start])
    assert model == "start"
    assert np.array_equal(pose, start)
