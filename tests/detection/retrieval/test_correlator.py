"""The source of a changed volume is found among phantoms, with the pose it was changed by."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from napari_memscan.demo.phantoms import HU_WINDOW, draw_phantom
from napari_memscan.detection.planting.perturbations import KINDS, Perturbation, draw_perturbation
from napari_memscan.detection.retrieval.correlator import Correlator
from napari_memscan.errors import BadInput

SHAPE = (32, 40, 28)
N = 12


@pytest.fixture(scope="module")
def training():
    low, high = HU_WINDOW
    volumes = [(draw_phantom((41, i), SHAPE).data - low) / (high - low) for i in range(N)]
    return np.clip(np.stack(volumes), 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def correlator(training):
    return Correlator().fit(training)


def mapped(volume, pose, spacing=(1.0, 1.0, 1.0)):
    """Return a training volume at the points a pose gives to those of the query."""
    mm, centre = np.array(spacing)[:, None], (np.array(volume.shape) - 1)[:, None] / 2
    grid = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij")).reshape(3, -1)
    index = (pose[:3, :3] @ ((grid - centre) * mm) + pose[:3, 3:]) / mm + centre
    return map_coordinates(volume, index, order=1, mode="constant").reshape(volume.shape)


def degrees_apart(a, b):
    """Return the angle between two poses, 180 where one mirrors and the other does not."""
    turn = a[:3, :3].T @ b[:3, :3]
    if np.linalg.det(turn) <= 0:
        return 180.0
    return np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))


def as_rows(found):
    return [(c.index, c.similarity, [p.tobytes() for p in c.poses]) for c in found]


@pytest.mark.parametrize("kind", KINDS)
def test_the_source_comes_first(training, correlator, kind):
    random = np.random.default_rng(5)
    for source in (2, 9):
        query = draw_perturbation(kind, SHAPE, random).apply(training[source])
        found = correlator.search(query, k=3)
        assert found[0].index == source
        assert len(found) == 3
        assert found[0].similarity > found[1].similarity


def test_candidates_are_best_first_each_once_within_bounds(training, correlator):
    found = correlator.search(training[4], k=N)
    similarities = [c.similarity for c in found]
    assert similarities == sorted(similarities, reverse=True)
    assert sorted(c.index for c in found) == list(range(N))
    assert all(-1 <= s <= 1 for s in similarities)
    assert similarities[0] == pytest.approx(1, abs=0.02)
    for candidate in found:
        assert [p.shape for p in candidate.poses] == [(4, 4)] * 2
        signs = [tuple(np.sign(np.diag(p)[:3])) for p in candidate.poses]
        assert signs[0] != signs[1]


@pytest.mark.parametrize(
    ("flips", "rotation", "shift"),
    [
        ((False, False, False), (0, 0, 0), (0, 0, 0)),
        ((True, False, True), (0, 0, 0), (1.5, -2.0, 1.0)),
        ((False, True, False), (8, -8, 8), (-1.5, 2.0, 0.0)),
        ((True, True, True), (-7, 6, -8), (1.0, 1.0, -1.5)),
    ],
)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 0.8, 1.6)])
def test_the_pose_maps_the_query_onto_the_training_volume(
    training, flips, rotation, shift, spacing
):
    change = Perturbation(SHAPE, flips=flips, rotation=rotation, shift=shift)
    query = change.apply(training[6], spacing)
    found = Correlator(spacing=spacing).fit(training).search(query, k=1)[0]
    pose, true = found.poses[0], change.pose(spacing)
    assert found.index == 6
    assert pose.dtype == np.float64
    assert degrees_apart(pose, true) < 6
    assert np.linalg.norm(pose[:3, 3] - true[:3, 3]) < 0.06 * max(np.multiply(SHAPE, spacing))
    inner = (slice(5, -5),) * 3
    aligned = np.corrcoef(mapped(training[6], pose, spacing)[inner].ravel(), query[inner].ravel())
    assert aligned[0, 1] > 0.85


def test_included_are_there_with_poses_and_change_nothing_else(training, correlator):
    plain = correlator.search(training[0], k=2)
    far = [i for i in range(N) if i not in {c.index for c in plain}][:2]
    found = correlator.search(training[0], k=2, include=[far[1], far[0], far[0]])
    assert as_rows(found[:2]) == as_rows(plain)
    assert {c.index for c in found[2:]} == set(far)
    assert len(found) == 4
    assert all(len(c.poses) == 2 for c in found)


def test_included_need_not_survive_the_first_comparison(training):
    narrow = Correlator(survivors=1).fit(training)
    last = Correlator().fit(training).search(training[0], k=N)[-1].index
    found = narrow.search(training[0], k=1, include=[last])
    assert [c.index for c in found] == [0, last]


def test_excluded_are_never_proposed_even_if_included(training, correlator):
    found = correlator.search(training[3], k=N, include=[3], exclude=[3, 5])
    assert {c.index for c in found} == set(range(N)) - {3, 5}
    assert correlator.search(training[3], exclude=range(N)) == []


def test_same_answer_whatever_was_asked_before_or_beside(training, correlator):
    query = draw_perturbation("all at once", SHAPE, np.random.default_rng(1)).apply(training[7])
    first = as_rows(correlator.search(query, k=5))
    correlator.search(training[1], k=1, exclude=[7])
    assert as_rows(correlator.search(query, k=5)) == first
    assert as_rows(Correlator().fit(list(training)).search(query, k=5)) == first
    assert as_rows(correlator.search(query, k=2)) == first[:2]


def test_equal_training_volumes_come_in_order(training):
    twice = np.concatenate([training[:3], training[:3]])
    found = Correlator().fit(twice).search(training[1], k=2)
    assert [c.index for c in found] == [1, 4]
    assert found[0].similarity == found[1].similarity


def test_brightness_and_contrast_do_not_count(training, correlator):
    found = correlator.search(0.5 * training[8] + 0.2, k=1)[0]
    assert found.index == 8
    assert found.similarity == pytest.approx(1, abs=0.02)


def test_volumes_are_read_one_at_a_time(training):
    class Lazy:
        read: tuple[int, ...] = ()

        def __len__(self):
            return N

        def __getitem__(self, i):
            self.read = (*self.read, i)
            return training[i]

    lazy = Lazy()
    found = Correlator().fit(lazy).search(training[2], k=3)
    assert set(lazy.read) == set(range(N))
    assert len(lazy.read) <= N + 1
    assert as_rows(found) == as_rows(Correlator().fit(training).search(training[2], k=3))


def nan(volume):
    volume[3, 4, 5] = np.nan


def infinite(volume):
    volume[3, 4, 5] = np.inf


def constant(volume):
    volume[:] = 0.25


@pytest.mark.parametrize("damage", [nan, infinite, constant])
def test_damaged_volumes_are_named(training, correlator, damage):
    volumes = training.copy()
    damage(volumes[7])
    with pytest.raises(BadInput, match="training volume 7 "):
        Correlator().fit(volumes)
    with pytest.raises(BadInput, match="the query"):
        correlator.search(volumes[7])


def test_other_shapes_are_named(training, correlator):
    with pytest.raises(BadInput, match="training volume 1 "):
        Correlator().fit([training[0], training[1][:, :-1]])
    with pytest.raises(BadInput, match="the query"):
        correlator.search(training[0][:-2])
    with pytest.raises(BadInput, match="the query"):
        correlator.search(training[0][0])


def test_no_training_volumes_and_no_such_row(training, correlator):
    with pytest.raises(BadInput, match="no training volumes"):
        Correlator().fit([])
    for rows in ({"include": [N]}, {"exclude": [-1]}):
        with pytest.raises(BadInput, match=f"training volume {next(iter(rows.values()))[0]}"):
            correlator.search(training[0], **rows)
