"""The map is learnt from training volumes alone, repeats, and says what it holds."""

import numpy as np
import pytest

from napari_memscan.detection.exploration.embedding_map import fit_embedding_map, list_map_methods
from napari_memscan.errors import BadInput


def vectors(n, seed, d=12):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def test_a_volume_lies_where_its_training_volume_lies_whatever_its_scale():
    training, validation = vectors(20, 0), vectors(6, 1)
    made = np.vstack([training[3] * 2 + 5, vectors(1, 2)])
    found = fit_embedding_map(training, validation, made)
    assert [len(p) for p in (found.training, found.validation, found.synthetic)] == [20, 6, 2]
    np.testing.assert_allclose(found.synthetic[0], found.training[3], atol=1e-5)
    assert found.axes[0].startswith("component 1 (")
    assert "PCA of 20 training vectors; the two components hold " in found.provenance


def test_other_volumes_do_not_move_the_map_and_it_repeats():
    training = vectors(20, 0)
    one, other = (
        fit_embedding_map(training, vectors(6, 1), vectors(9, 2)),
        fit_embedding_map(training, [], []),
    )
    np.testing.assert_array_equal(one.training, other.training)
    assert other.synthetic.shape == other.validation.shape == (0, 2)


def test_two_components_hold_all_that_is_there():
    plane = vectors(2, 0)
    plane = np.linalg.qr((plane - plane.mean(1, keepdims=True)).T)[0].T
    angles = np.linspace(0, 5, 9)
    training = np.column_stack([np.cos(angles), np.sin(angles)]) @ plane
    found = fit_embedding_map(training, [], [])
    apart = np.linalg.norm(found.training[0] - found.training[4])
    correlation = np.corrcoef(training[0], training[4])[0, 1]
    assert apart**2 == pytest.approx(2 - 2 * correlation, abs=1e-4)
    assert "hold 100% of" in found.provenance


def test_what_cannot_be_mapped_is_refused():
    with pytest.raises(BadInput, match="map 'tSNE': choose PCA"):
        fit_embedding_map(vectors(5, 0), [], [], "tSNE")
    with pytest.raises(BadInput, match="at least three training volumes; there are 2"):
        fit_embedding_map(vectors(2, 0), [], [])
    if "UMAP" not in list_map_methods():
        with pytest.raises(BadInput, match="Install umap-learn"):
            fit_embedding_map(vectors(5, 0), [], [], "UMAP")


@pytest.mark.skipif("UMAP" not in list_map_methods(), reason="umap-learn is not installed")
def test_umap_repeats_with_its_seed_and_keeps_groups():
    centre = 10 * vectors(2, 5)
    training = np.vstack([centre[0] + vectors(20, 0), centre[1] + vectors(20, 1)])
    found = fit_embedding_map(training, [], centre, "UMAP", seed=3)
    again = fit_embedding_map(training, [], centre, "UMAP", seed=3)
    np.testing.assert_array_equal(found.training, again.training)
    middles = found.training[:20].mean(0), found.training[20:].mean(0)
    for point, own, other in zip(found.synthetic, middles, middles[::-1], strict=True):
        assert np.linalg.norm(point - own) < np.linalg.norm(point - other)
