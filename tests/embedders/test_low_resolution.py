"""The training-free embedder: averages, normalised, the same bits whatever lies beside."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_memscan.embedders.interface import Embedder
from napari_memscan.embedders.low_resolution import LowResolutionEmbedder
from napari_memscan.errors import BadInput


def batch(n=3, shape=(13, 12, 17), seed=0):
    return np.random.default_rng(seed).random((n, 1, *shape)).astype(np.float32)


def test_it_is_an_embedder_and_says_that_it_needs_no_training():
    embedder = LowResolutionEmbedder((4, 5, 6))
    assert isinstance(embedder, Embedder)
    assert embedder.dim == 120
    assert embedder.input_shape is None
    assert "training-free" in embedder.name
    assert embedder.hash == LowResolutionEmbedder((4, 5, 6)).hash
    assert embedder.hash != LowResolutionEmbedder((6, 5, 4)).hash


def test_vectors_have_zero_mean_and_unit_variance():
    vectors = LowResolutionEmbedder().embed(batch())
    assert vectors.shape == (3, 1728)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors.mean(axis=1, dtype=float), 0, atol=1e-6)
    np.testing.assert_allclose(vectors.std(axis=1, dtype=float), 1, atol=1e-5)


def test_whole_cells_are_plain_averages():
    data = batch(2, (8, 12, 4))
    cells = data[:, 0].reshape(2, 4, 2, 4, 3, 2, 2).mean(axis=(2, 4, 6), dtype=float)
    expected = cells.reshape(2, -1)
    expected = (expected - expected.mean(1, keepdims=True)) / expected.std(1, keepdims=True)
    np.testing.assert_allclose(LowResolutionEmbedder((4, 4, 2)).embed(data), expected, atol=1e-5)


def test_cut_voxels_count_by_their_share():
    # Five voxels on two cells: the third belongs half to each.
    line = np.array([1.0, 2.0, 3.0, 5.0, 9.0], np.float32)
    data = np.broadcast_to(line, (1, 1, 1, 1, 5))
    first, second = (1 + 2 + 1.5) / 2.5, (1.5 + 5 + 9) / 2.5
    from napari_memscan.embedders.low_resolution import _average_axis

    cells = _average_axis(data[0, 0].astype(np.float64), 2, 2)
    np.testing.assert_allclose(cells[0, 0], [first, second])


@given(
    n=st.integers(1, 4),
    shape=st.tuples(*[st.integers(1, 20)] * 3),
    seed=st.integers(0, 99),
    share=st.tuples(*[st.floats(0, 1)] * 3),
)
@settings(max_examples=40, deadline=None)
def test_a_vector_does_not_depend_on_its_neighbours_to_the_bit(n, shape, seed, share):
    size = tuple(max(1, round(a * b)) for a, b in zip(shape, share, strict=True))
    embedder = LowResolutionEmbedder(size)
    data = batch(n, shape, seed)
    together = embedder.embed(data)
    for i in range(n):
        assert embedder.embed(data[i : i + 1])[0].tobytes() == together[i].tobytes()


def test_brightness_and_contrast_do_not_count():
    data = batch(1)
    changed = 0.3 * data + 0.5
    first, second = LowResolutionEmbedder().embed(np.concatenate([data, changed]))
    np.testing.assert_allclose(first, second, atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 1e6])
def test_a_constant_volume_is_zeros_and_no_noise(value):
    data = np.full((1, 1, 13, 17, 15), value, np.float32)
    assert not LowResolutionEmbedder().embed(data).any()


def test_faint_structure_is_kept():
    data = np.full((1, 1, 12, 12, 12), 0.5, np.float32)
    data[0, 0, 3, 4, 5] += np.float32(1e-6)
    assert LowResolutionEmbedder().embed(data)[0].argmax() == 3 * 144 + 4 * 12 + 5


def test_no_volumes_give_no_vectors():
    assert LowResolutionEmbedder().embed(batch(0)).shape == (0, 1728)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value):
    data = batch()
    data[1, 0, 2, 3, 4] = value
    with pytest.raises(BadInput, match="holds NaN or infinity"):
        LowResolutionEmbedder().embed(data)


def test_a_volume_smaller_than_the_grid_is_refused():
    with pytest.raises(BadInput, match=r"smaller than the embedder's grid"):
        LowResolutionEmbedder().embed(batch(shape=(12, 11, 12)))


@pytest.mark.parametrize("shape", [(12, 12, 12), (2, 12, 12, 12), (1, 2, 12, 12, 12)])
def test_what_is_no_batch_of_one_channel_is_refused(shape):
    with pytest.raises(BadInput, match=r"takes \(N, 1, X, Y, Z\)"):
        LowResolutionEmbedder().embed(np.zeros(shape, np.float32))
