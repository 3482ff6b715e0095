import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_memscan.detection.registration.local_statistics import (
    CroppedVolume,
    LocalStatistics,
    fit_intensity_match,
    resample_volume,
)

SHAPE = (16, 18, 20)
WINDOW = (2.0, 2.0, 2.0)


@pytest.fixture(scope="module")
def volume():
    smooth = gaussian_filter(np.random.default_rng(3).normal(size=SHAPE), 1.5)
    return (0.5 + smooth / np.ptp(smooth)).astype(np.float32)


def test_a_flip_and_whole_shift_are_exact(volume):
    pose = np.diag([1.0, -1.0, 1.0, 1.0])
    pose[2, 3] = 2 * 3.0
    moved, covered = resample_volume(volume, pose, (1.0, 2.0, 3.0))
    assert covered[:, :, :-2].all()
    assert not covered[:, :, -2:].any()
    assert np.allclose(moved[:, :, :-2], volume[:, ::-1, 2:], atol=1e-6)


def test_a_margin_and_another_voxel_size(volume):
    _, covered = resample_volume(volume, np.eye(4), (1, 1, 1), margin=2)
    assert covered[2:-2, 2:-2, 2:-2].all()
    assert covered.sum() == 12 * 14 * 16
    moved, covered = resample_volume(volume, np.eye(4), (1, 1, 1), (32, 36, 40), own=(2, 2, 2))
    assert covered[1:-1, 1:-1, 1:-1].all()
    assert moved[::2, ::2, ::2][1:].mean() == pytest.approx(volume[1:].mean(), abs=0.01)


def test_local_correlation_follows_each_place_alone(volume):
    other = volume.copy()
    other[:, :, 10:] = 0.5 - 0.3 * other[:, :, 10:]
    near = LocalStatistics(volume, other, np.ones(SHAPE, bool), (1.0, 1.0, 1.0)).correlation(1e-8)
    assert near[:, :, :6].min() > 0.98
    assert near[:, :, 14:].max() < -0.98


def test_what_is_outside_the_mask_has_no_part_in_it(volume):
    mask = np.ones(SHAPE, bool)
    mask[8:] = False
    other = np.where(mask, 0.1 + 0.4 * volume, 77).astype(np.float32)
    near = LocalStatistics(volume, other, mask, WINDOW)
    assert near.correlation(1e-8)[:8].min() > 0.999
    flat = LocalStatistics(volume, np.full(SHAPE, 0.7, np.float32), mask, WINDOW)
    assert flat.contrast()[mask].max() < 1e-5
    assert np.abs(flat.correlation(1e-6)).max() < 0.01


def test_structural_similarity_is_one_after_intensities_are_matched(volume):
    one = LocalStatistics(volume, volume, np.ones(SHAPE, bool), WINDOW)
    assert np.allclose(one.structural_similarity(), 1)
    other = LocalStatistics(volume, 0.2 + 0.5 * volume, np.ones(SHAPE, bool), WINDOW)
    assert other.structural_similarity().mean() < 0.95
    assert np.allclose(other.structural_similarity(2.0, -0.4), 1, atol=1e-4)


def test_intensities_are_matched_where_most_agree(volume):
    target = 0.1 + 0.6 * volume
    target[:2] = 1.0
    gain, offset = fit_intensity_match(volume, target)
    assert gain == pytest.approx(0.6, abs=1e-3)
    assert offset == pytest.approx(0.1, abs=1e-3)
    assert fit_intensity_match(np.ones(20), np.arange(20.0)) == (1.0, 0.0)
    gain, _ = fit_intensity_match(volume, 1 - volume)
    assert gain > 0


def test_padding_is_no_part_of_a_volume(volume):
    padded = np.pad(volume, ((3, 1), (0, 0), (0, 4)), constant_values=0.25)
    part = CroppedVolume.of(padded, (2.0, 1.0, 1.0))
    assert np.array_equal(part.data, volume)
    assert part.place[:3, 3].tolist() == [2.0, 0.0, -2.0]
