"""Phantoms are deterministic, look like what they stand for, and differ from each other."""

from __future__ import annotations

import numpy as np
import pytest

from napari_memscan.demo.phantoms import HU_WINDOW, draw_phantom, write_phantom_cohort


@pytest.fixture(scope="module")
def volumes():
    return np.stack([draw_phantom((1, i)).data for i in range(16)])


def test_a_seed_gives_the_same_voxels(volumes):
    np.testing.assert_array_equal(draw_phantom((1, 3)).data, volumes[3])
    assert not np.array_equal(draw_phantom((2, 3)).data, volumes[3])
    assert draw_phantom((1, 3)).spacing == pytest.approx((0.6, 0.6, 0.6))


def test_tissues_are_there(volumes):
    assert (volumes > 250).mean() > 0.05  # contrast-enhanced blood
    assert ((volumes > -150) & (volumes < -30)).mean() > 0.2  # fat
    assert (volumes < -700).any(axis=(1, 2, 3)).mean() > 0.5  # lung in most
    assert (volumes > 700).any(axis=(1, 2, 3)).mean() > 0.3  # calcified plaques in many


def test_patients_differ(volumes):
    low, high = HU_WINDOW
    flat = np.clip((volumes - low) / (high - low), 0, 1).reshape(len(volumes), -1)
    correlations = np.corrcoef(flat)[np.triu_indices(len(volumes), 1)]
    assert correlations.mean() < 0.35
    assert correlations.max() < 0.9


def test_a_cohort_is_written_once_and_holds_no_phantom_twice(tmp_path):
    cohort = write_phantom_cohort(tmp_path, 4, 3, 2, shape=(16, 16, 16))
    cohort.check()
    assert cohort.counts() == {"training": 4, "validation": 3, "synthetic": 0, "unseen": 2}
    assert cohort.table["sha256"].nunique() == 9
    assert cohort.table["subject_id"].nunique() == 9
    times = [p.stat().st_mtime_ns for p in sorted(tmp_path.rglob("*.gz"))]
    write_phantom_cohort(tmp_path, 4, 3, 2, shape=(16, 16, 16))
    assert [p.stat().st_mtime_ns for p in sorted(tmp_path.rglob("*.gz"))] == times
