"""Planted copies: known changes, the same each time, and undone by the pose they state."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from napari_memscan.detection.planting.perturbations import (
    COPY_KINDS,
    KINDS,
    RANGES,
    Perturbation,
    describe_largest,
    draw_perturbation,
)
from napari_memscan.errors import BadInput

SHAPE = (20, 24, 28)


@pytest.fixture
def volume() -> np.ndarray:
    blobs = gaussian_filter(np.random.default_rng(0).normal(size=SHAPE), 2.5)
    low, high = np.percentile(blobs, [1, 99])
    return np.clip((blobs - low) / (high - low), 0, 1).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_keeps_shape_and_range_and_repeats(kind, volume):
    perturbation = draw_perturbation(kind, SHAPE, np.random.default_rng(1))
    result = perturbation.apply(volume)
    assert result.shape == SHAPE
    assert result.dtype == np.float32
    assert 0 <= result.min() <= result.max() <= 1
    assert np.array_equal(result, perturbation.apply(volume))
    assert draw_perturbation(kind, SHAPE, np.random.default_rng(1)) == perturbation
    assert np.array_equal(result, volume) == (kind == "unchanged")


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 0.7, 1.0)])
def test_its_pose_leads_from_the_result_to_the_volume(volume, spacing):
    change = Perturbation(SHAPE, (True, False, True), (8, -6, 9), (1.5, -1, 2), zoom=1.04)
    result = change.apply(volume, spacing)
    inner = np.stack(np.meshgrid(*[np.arange(6, n - 6) for n in SHAPE], indexing="ij"))
    points = inner.reshape(3, -1)
    centre, mm = (np.array(SHAPE) - 1) / 2, np.array(spacing)
    there = change.pose(spacing) @ np.vstack(
        [(points - centre[:, None]) * mm[:, None], np.ones(points.shape[1])]
    )
    found = map_coordinates(volume, there[:3] / mm[:, None] + centre[:, None], order=1)
    assert np.allclose(found, result[tuple(points)], atol=1e-5)


def test_a_flip_alone_turns_at_least_one_axis(volume):
    for seed in range(20):
        assert any(draw_perturbation("flip", SHAPE, np.random.default_rng(seed)).flips)


def test_numbers_of_one_part_do_not_depend_on_the_others():
    alone = draw_perturbation("rotation", SHAPE, np.random.default_rng(3))
    together = draw_perturbation("all at once", SHAPE, np.random.default_rng(3))
    assert alone.rotation == together.rotation


def test_partial_loses_what_it_says_and_nothing_else(volume):
    result = Perturbation(SHAPE, partial=(1, -0.25)).apply(volume + np.float32(0))
    assert (result[:, :6] == 0).all()
    assert np.array_equal(result[:, 6:], volume[:, 6:])


def test_the_elastic_field_is_as_large_as_stated_and_moves_nothing_as_a_whole():
    field = Perturbation(SHAPE, elastic=2.5)._field(np.random.default_rng(0))
    assert np.linalg.norm(field, axis=0).max() == pytest.approx(2.5)
    # Removing the mean came first, so it stays zero.
    assert np.abs(field.mean(axis=(1, 2, 3))).max() < 1e-9


def test_near_duplicates_are_further_away_than_copies(volume):
    def nearness(kind: str) -> float:
        changed = draw_perturbation(kind, SHAPE, np.random.default_rng(5)).apply(volume)
        return np.corrcoef(changed.ravel(), volume.ravel())[0, 1]

    assert nearness("registered near-duplicate") < nearness("registered copy")


def test_what_does_not_fit_is_refused(volume):
    with pytest.raises(BadInput, match="one of unchanged"):
        draw_perturbation("melted", SHAPE, np.random.default_rng(0))
    with pytest.raises(BadInput, match="one shape"):
        Perturbation((4, 4, 4)).apply(volume)
    assert "all at once" in COPY_KINDS


def test_a_strength_multiplies_what_is_done():
    for kind in RANGES:
        usual = draw_perturbation(kind, SHAPE, np.random.default_rng(3))
        twice = draw_perturbation(kind, SHAPE, np.random.default_rng(3), 2)
        assert usual == draw_perturbation(kind, SHAPE, np.random.default_rng(3), 1)
        assert usual != twice, kind
    turned = [
        draw_perturbation("rotation", SHAPE, np.random.default_rng(3), s).rotation for s in (1, 2)
    ]
    assert turned[1] == pytest.approx(np.multiply(turned[0], 2))
    zoomed = [draw_perturbation("zoom", SHAPE, np.random.default_rng(3), s).zoom for s in (1, 2)]
    assert zoomed[1] - 1 == pytest.approx(2 * (zoomed[0] - 1))
    assert describe_largest("rotation", 2) == "up to 20 degrees an axis"
    assert describe_largest("gamma", 2) == "up to 2.0"
    with pytest.raises(BadInput, match="strength 5"):
        draw_perturbation("zoom", SHAPE, np.random.default_rng(3), 5)
