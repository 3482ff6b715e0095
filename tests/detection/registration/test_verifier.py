import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_memscan.demo.phantoms import draw_phantom
from napari_memscan.detection.planting.perturbations import (
    COPY_KINDS,
    NEAR_KINDS,
    Perturbation,
    draw_perturbation,
)
from napari_memscan.detection.registration import verifier as verification
from napari_memscan.detection.registration.verifier import PairEvidence, Verifier
from napari_memscan.errors import BadInput

SHAPE = (32, 36, 32)
START = [np.eye(4)]


def unit(seed, shape=SHAPE):
    return np.clip((draw_phantom((11, seed), shape).data + 300) / 1200, 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def volumes():
    return [unit(i) for i in range(4)]


def near(pose):
    """A start as retrieval finds it: a little off, and without the zoom."""
    start = pose.copy()
    start[:3, :3] /= np.cbrt(abs(np.linalg.det(pose[:3, :3])))
    start[:3, 3] += [1.0, -1.0, 0.7]
    return start


def distance(one, other, shape=SHAPE):
    """Largest distance in mm between where two poses bring the corners."""
    corners = np.array([[(a, b, c)] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)])[:, 0]
    points = np.c_[corners * np.array(shape) / 2, np.ones(8)]
    return np.linalg.norm(points @ (one - other).T, axis=1).max()


def test_a_volume_is_its_own_copy(volumes):
    found = Verifier().verify(volumes[0], volumes[0], START)
    assert min(found.score, found.correlation, found.ssim, found.worst) > 0.99
    assert found.overlap == 1
    assert distance(found.transform, np.eye(4)) < 0.1


def test_a_known_pose_is_recovered(volumes):
    changed = Perturbation(
        SHAPE, flips=(True, False, True), rotation=(7, -5, 6), shift=(1.5, -2, 1), zoom=1.04
    )
    query = changed.apply(volumes[0])
    found = Verifier().verify(query, volumes[0], [np.eye(4), near(changed.pose())])
    assert found.model == "similarity"
    assert distance(found.transform, changed.pose()) < 1.0
    assert distance(found.transform, near(changed.pose())) > 1.5
    assert found.score > 0.98


@pytest.mark.parametrize("kind", [*COPY_KINDS, *NEAR_KINDS])
def test_a_perturbed_volume_is_nearer_to_its_source_than_to_any_other(volumes, kind):
    changed = draw_perturbation(kind, SHAPE, np.random.default_rng(5))
    query = changed.apply(volumes[0])
    verifier, starts = Verifier(), [near(changed.pose())]
    own, *others = [verifier.verify(query, v, starts).score for v in volumes]
    assert own > 0.85
    assert own > max(others) + 0.1


def test_a_near_duplicate_scores_between_a_copy_and_another_volume(volumes):
    verifier, start = Verifier(), [np.eye(4)]
    copied, deformed = (
        draw_perturbation(kind, SHAPE, np.random.default_rng(8)).apply(volumes[1])
        for kind in ("registered copy", "registered near-duplicate")
    )
    scores = [
        verifier.verify(copied, volumes[1], start).score,
        verifier.verify(deformed, volumes[1], start).score,
        max(verifier.verify(deformed, v, start).score for v in volumes[2:]),
    ]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] - scores[1] > 0.01


def test_a_bias_field_lowers_the_correlation_and_hardly_the_score(volumes):
    query = Perturbation(SHAPE, bias=(0.3, -0.3, 0.3)).apply(0.4 * volumes[0])
    found = Verifier().verify(query, volumes[0], START)
    assert found.correlation < 0.9
    assert found.score > 0.97


def test_a_part_that_is_missing_is_left_out(volumes):
    query = Perturbation(SHAPE, partial=(1, 0.3)).apply(volumes[0])
    found = Verifier().verify(query, volumes[0], START)
    assert found.score > 0.98
    assert found.overlap == pytest.approx(25 / 36, abs=0.02)
    padded = [np.pad(v[:, :, 8:], ((0, 0), (0, 0), (8, 0))) for v in (volumes[0], query)]
    found = Verifier().verify(padded[1], padded[0], START)
    assert found.score > 0.98
    assert found.overlap == pytest.approx(25 / 36, abs=0.02)


def test_a_small_overlap_cannot_score_high(volumes):
    query = Perturbation(SHAPE, partial=(1, 0.75)).apply(volumes[0])
    found = Verifier().verify(query, volumes[0], START)
    assert found.overlap == pytest.approx(0.25, abs=0.02)
    assert found.score < 0.52
    assert Verifier(least_overlap=0.2).verify(query, volumes[0], START).score > 0.98
    away = np.eye(4)
    away[0, 3] = 22.0
    assert Verifier().verify(volumes[0], volumes[0], [away]).score < 0.7


def test_volumes_may_have_long_voxels():
    smooth = gaussian_filter(np.random.default_rng(0).normal(size=(14, 120, 100)), (1, 6, 6))
    volume = (0.5 + smooth / np.ptp(smooth)).astype(np.float32)
    spacing = (4.0, 0.6, 0.7)
    changed = Perturbation(volume.shape, rotation=(4, 0, 0), shift=(0, 3, -2))
    query = changed.apply(volume, spacing)
    verifier = Verifier(spacing)
    found = verifier.verify(query, volume, [np.eye(4)])
    extent = np.multiply(volume.shape, spacing)
    assert distance(found.transform, changed.pose(spacing), extent) < 1.0
    assert found.score > 0.97
    seen = verifier.similarity_map(query, volume, found.transform)
    assert seen.shape == volume.shape
    assert np.nanmedian(seen) > 0.95


def test_aligned_difference_and_map_show_where_they_overlap(volumes):
    changed = Perturbation(SHAPE, flips=(True, False, False), shift=(5, 0, 0), gamma=1.0)
    query = (0.2 + 0.5 * changed.apply(volumes[0])).astype(np.float32)
    verifier = Verifier()
    seen = [
        part(query, volumes[0], changed.pose())
        for part in (verifier.align, verifier.difference, verifier.similarity_map)
    ]
    for one in seen:
        assert one.shape == SHAPE
        assert one.dtype == np.float32
        # Under a flip the query at index i is the training volume at 31 - i + 5.
        assert np.isnan(one[:5]).all()
        assert np.isfinite(one[5:]).all()
    aligned, difference, similarity = (one[5:] for one in seen)
    assert np.allclose(aligned, query[5:], atol=1e-3)
    assert np.abs(difference).max() < 1e-3
    assert -1 <= similarity.min() <= similarity.max() <= 1


def test_the_map_shows_where_something_was_changed(volumes):
    query = volumes[0].copy()
    query[8:16, 8:16, 8:16] = volumes[1][8:16, 8:16, 8:16]
    seen = Verifier().similarity_map(query, volumes[0], np.eye(4))
    assert seen[8:16, 8:16, 8:16].mean() < 0.7
    assert np.median(seen[24:]) > 0.98


def test_evidence_is_kept_as_an_array(volumes):
    found = Verifier().verify(volumes[0], volumes[1], START)
    again = PairEvidence.from_array(found.to_array())
    assert again.to_array().tobytes() == found.to_array().tobytes()
    assert again.model == found.model
    assert np.array_equal(again.transform, found.transform)


def test_every_setting_is_part_of_the_hash(monkeypatch):
    settings = [
        {},
        {"spacing": (1, 1, 2)},
        {"window": 1.5},
        {"smooth": 0.0},
        {"floor": 0.01},
        {"least_overlap": 0.3},
    ]
    hashes = [Verifier(**one).hash for one in settings]
    monkeypatch.setattr(verification, "VERSION", -1)
    assert len({*hashes, Verifier().hash}) == len(settings) + 1
    assert Verifier(spacing=(1.0, 1.0, 1.0)).hash == Verifier(spacing=(1, 1, 1)).hash


def test_bad_input_is_named(volumes):
    good, nan = volumes[0], volumes[0].copy()
    nan[3, 3, 3] = np.nan
    far, flat = np.eye(4), np.diag([1.0, 1.0, 0.0, 1.0])
    far[0, 3] = 1000
    for query, training, poses, words in (
        (nan, good, START, "the query holds NaN"),
        (good, nan, START, "the training volume holds NaN"),
        (np.full(SHAPE, 0.5), good, START, "the query has the same value everywhere"),
        (good, good[:-1], START, "shapes"),
        (good[0], good[0], START, "shapes"),
        (good, good, [], "without a pose"),
        (good, good, [np.eye(3)], r"matrix \(4, 4\)"),
        (good, good, [np.eye(4) * np.nan], "finite"),
        (good, good, [flat], "plane"),
        (good, good, [far], "overlap in fewer than"),
    ):
        with pytest.raises(BadInput, match=words):
            Verifier().verify(query, training, poses)
