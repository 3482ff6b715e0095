"""Collisions and MS-SSIM: by hand, direction, bad input."""

import numpy as np
import pytest

from napari_memscan.detection.evidence.diversity import (
    CollisionCounts,
    choose_scales,
    compute_ms_ssim,
    count_collisions,
    draw_pairs,
)
from napari_memscan.errors import BadInput


def test_collisions_by_hand():
    # The first three are a, 2a + 1, and at correlation 0.866 to both; the last two are opposite.
    vectors = np.array([[1, 0, -1], [3, 1, -1], [2, -1, -1], [1, -2, 1], [-1, 2, -1]])
    assert count_collisions(vectors, 0.9) == CollisionCounts(colliding=2, groups=1, largest=2)
    assert count_collisions(vectors, 0.8) == CollisionCounts(colliding=3, groups=1, largest=3)
    # (2, -1, -1) and (1, -2, 1): 0.5, which links the fourth, through the third.
    assert count_collisions(vectors, 0.4) == CollisionCounts(colliding=4, groups=1, largest=4)
    assert count_collisions(vectors, 1.0) == CollisionCounts(0, 0, 0)


def test_repeated_volumes_collide_whatever_the_order():
    random = np.random.default_rng(0)
    vectors = random.normal(size=(300, 16))
    vectors[290:] = vectors[:10] + 0.01 * random.normal(size=(10, 16))
    found = count_collisions(vectors, 0.95)
    assert found == CollisionCounts(colliding=20, groups=10, largest=2)
    assert count_collisions(vectors[random.permutation(300)], 0.95) == found


def test_pairs_are_different_and_seeded():
    assert draw_pairs(3, 100, 0) == [(0, 1), (0, 2), (1, 2)]
    assert draw_pairs(1, 100, 0) == []
    pairs = draw_pairs(50, 40, 7)
    assert len(set(pairs)) == 40
    assert all(i < j for i, j in pairs)
    assert pairs == draw_pairs(50, 40, 7) != draw_pairs(50, 40, 8)


@pytest.mark.parametrize(
    ("shape", "expected"),
    # 16 / 2 < 11: one scale. 24 / 2 = 12: two. 64: 4 * 10 < 64 and 64 / 4 = 16: three.
    [((16, 16, 16), (11, 1)), ((24, 40, 40), (11, 2)), ((64,) * 3, (11, 3)), ((6, 9, 9), (5, 1))],
)
def test_as_many_scales_as_fit(shape, expected):
    assert choose_scales(shape) == expected


def test_one_scale_of_flat_volumes_by_hand():
    # Without any contrast SSIM is luminance alone: (2ab + c1) / (a^2 + b^2 + c1), c1 = 1e-4.
    flat = np.stack([np.full((12, 12, 12), v, np.float32) for v in (0.2, 0.6)])
    # Single precision leaves some contrast.
    expected = (2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4)
    assert compute_ms_ssim(flat, [(0, 1), (1, 1)]) == pytest.approx([expected, 1], abs=5e-3)


def test_alike_volumes_are_less_diverse():
    random = np.random.default_rng(0)
    base = random.random((24, 24, 24))
    alike = [np.clip(base + 0.02 * random.normal(size=base.shape), 0, 1) for _ in range(3)]
    varied = [random.random((24, 24, 24)) for _ in range(3)]
    pairs = draw_pairs(3, 10, 0)
    assert compute_ms_ssim(alike, pairs).min() > 0.9 > 0.3 > compute_ms_ssim(varied, pairs).max()


def test_bad_input_is_named():
    volumes = np.random.default_rng(0).random((3, 12, 12, 12)).astype(np.float32)
    with pytest.raises(BadInput, match="1 synthetic volumes; at least 2"):
        compute_ms_ssim(volumes[:1], [])
    with pytest.raises(BadInput, match=r"training volume 1 has shape \(11, 12, 12\)"):
        compute_ms_ssim([volumes[0], volumes[1][1:]], [(0, 1)], "training")
    volumes[1, 0, 0, 0] = np.nan
    with pytest.raises(BadInput, match="synthetic volume 1 holds NaN"):
        compute_ms_ssim(volumes, [(0, 1)])
    with pytest.raises(BadInput, match="at least 3 voxels"):
        choose_scales((2, 9, 9))
    with pytest.raises(BadInput, match="1 training vectors"):
        count_collisions(np.eye(3)[:1], 0.5, "training")
    with pytest.raises(BadInput, match="synthetic vector 0 holds NaN"):
        count_collisions(np.full((2, 3), np.nan), 0.5)
    with pytest.raises(BadInput, match="same value everywhere"):
        count_collisions(np.ones((2, 3)), 0.5)
