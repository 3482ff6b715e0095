"""Neighbours are those of SciPy's correlation distance, in a fixed order, or a message."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from napari_memscan.detection.retrieval.neighbours import NeighbourIndex
from napari_memscan.errors import BadInput


@pytest.fixture
def vectors():
    random = np.random.default_rng(3)
    return (
        random.normal(size=(70, 8)).astype(np.float32) + 5,
        random.normal(size=(33, 8)).astype(np.float32) * 100,
    )


@pytest.mark.parametrize("k", [1, 5, 70])
@pytest.mark.parametrize("block", [7, 256])
def test_equals_the_authors_way(vectors, k, block):
    training, queries = vectors
    similarities, indices = NeighbourIndex(block).fit(training).kneighbors(queries, k)
    distances = cdist(queries, training, "correlation")
    order = np.argsort(distances, axis=1)[:, :k]
    np.testing.assert_array_equal(indices, order)
    expected = 1 - np.take_along_axis(distances, order, axis=1)
    np.testing.assert_allclose(similarities, expected, atol=1e-5)
    assert (np.diff(similarities, axis=1) <= 0).all()


def test_brightness_and_contrast_of_a_vector_do_not_count(vectors):
    training, _ = vectors
    similarities, indices = NeighbourIndex().fit(training).kneighbors(3 * training[4:5] - 7, 1)
    assert indices[0, 0] == 4
    assert similarities[0, 0] == pytest.approx(1, abs=1e-6)


def test_ties_take_the_lower_row_whatever_k(vectors):
    training = np.repeat(vectors[0][:3], 4, axis=0)
    for k in (1, 2, 3, 12):
        _, indices = NeighbourIndex().fit(training).kneighbors(vectors[0][1:2], k)
        assert indices[0, : min(k, 4)].tolist() == [4, 5, 6, 7][: min(k, 4)]


def test_two_runs_agree_to_the_bit(vectors):
    training, queries = vectors
    first = NeighbourIndex().fit(training).kneighbors(queries, 5)
    second = NeighbourIndex().fit(training).kneighbors(queries, 5)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))


def test_k_larger_than_the_cohort_gives_all(vectors):
    similarities, _ = NeighbourIndex().fit(vectors[0][:3]).kneighbors(vectors[1], 10)
    assert similarities.shape == (33, 3)


def test_what_has_no_correlation_is_named(vectors):
    training, queries = vectors
    broken = training.copy()
    broken[12, 3] = np.nan
    with pytest.raises(BadInput, match="training vector 12 holds NaN"):
        NeighbourIndex().fit(broken)
    flat = queries.copy()
    flat[7] = 2.5
    with pytest.raises(BadInput, match="query vector 7 has the same value"):
        NeighbourIndex().fit(training).kneighbors(flat)
    with pytest.raises(BadInput, match="length 5"):
        NeighbourIndex().fit(training).kneighbors(queries[:, :5])
    with pytest.raises(BadInput, match="shape"):
        NeighbourIndex().fit(training[0])


def test_a_similarity_depends_on_its_two_vectors_alone(vectors):
    training, queries = vectors
    wide = np.random.default_rng(0).normal(size=(517, 129)).astype(np.float32)
    for fitted, asked in ((training, queries), (wide, wide[:300] + wide[200:500])):
        whole, rows = NeighbourIndex().fit(fitted).kneighbors(asked, 3)
        for i in (0, 7, 31):
            one, row = NeighbourIndex(block=5).fit(fitted).kneighbors(asked[i : i + 1], 3)
            assert (one.tobytes(), row.tobytes()) == (whole[i].tobytes(), rows[i].tobytes())
            back, _ = NeighbourIndex().fit(asked[i : i + 1]).kneighbors(fitted[rows[i]], 1)
            assert back[:, 0].tobytes() == whole[i].tobytes()


def test_equal_rows_far_apart_in_the_matrix_tie():
    random = np.random.default_rng(9)
    training = random.normal(size=(1003, 33)).astype(np.float32)
    training[[400, 1002]] = training[11]
    near = training[11] + 0.3 * random.normal(size=(50, 33)).astype(np.float32)
    _, rows = NeighbourIndex().fit(training).kneighbors(near, 3)
    assert (rows == [11, 400, 1002]).all()


def test_messages_name_the_volume_where_they_can():
    from napari_memscan.detection.retrieval.neighbours import standardise_vectors

    with pytest.raises(BadInput, match=r"validation vector 1 \(b.nii\) has the same value"):
        standardise_vectors(
            np.array([[1, 2], [3, 3]], np.float32), "validation", ["a.nii", "b.nii"]
        )


def test_neighbours_in_a_tight_crowd_are_exact():
    random = np.random.default_rng(2)
    base = random.normal(size=700)
    crowd = (base + 1e-3 * random.normal(size=(400, 700))).astype(np.float32)
    index = NeighbourIndex().fit(crowd[:380])
    similarities, rows = index.kneighbors(crowd[380:], 4)
    unit = NeighbourIndex().fit(crowd[380:]).vectors_
    for query, found, row in zip(unit, similarities, rows, strict=True):
        exact = (index.vectors_.astype(np.float64) * query).sum(axis=1).astype(np.float32)
        order = np.argsort(-exact, kind="stable")[:4]
        np.testing.assert_array_equal(row, order)
        np.testing.assert_array_equal(found, np.minimum(exact[order], 1))


@pytest.mark.parametrize("spread", [1, 1e-2, 1e-4, 0])
@pytest.mark.parametrize("k", [1, 5, 40])
def test_neighbours_are_those_of_all_pairs_in_double_precision(spread, k):
    random = np.random.default_rng(6)
    base = random.normal(size=600)
    training = (base + spread * random.normal(size=(1500, 600))).astype(np.float32)
    training[[3, 700, 1499]] = training[900]
    queries = np.concatenate(
        [(base + spread * random.normal(size=(9, 600))).astype(np.float32), training[898:902]]
    )
    index = NeighbourIndex(block=8).fit(training)
    similarities, rows = index.kneighbors(queries, k)
    unit = NeighbourIndex().fit(queries).vectors_
    for query, found, row in zip(unit, similarities, rows, strict=True):
        exact = (index.vectors_.astype(np.float64) * query).sum(axis=1)
        exact = np.clip(exact, -1, 1).astype(np.float32)
        order = np.argsort(-exact, kind="stable")[:k]
        np.testing.assert_array_equal(row, order)
        np.testing.assert_array_equal(found, exact[order])


def test_training_vectors_in_order_of_similarity_are_found():
    random = np.random.default_rng(8)
    training = random.normal(size=(2000, 16)).astype(np.float32)
    query = training[:1] + random.normal(size=(1, 16)).astype(np.float32)
    distances = cdist(query, training, "correlation")[0]
    for order in (np.argsort(distances), np.argsort(-distances)):
        _, rows = NeighbourIndex().fit(training[order]).kneighbors(query, 12)
        assert order[rows[0]].tolist() == np.argsort(distances)[:12].tolist()


def test_a_vector_is_standardised_alike_in_any_row():
    from napari_memscan.detection.retrieval.neighbours import standardise_vectors

    vectors = np.random.default_rng(1).normal(size=(3000, 131)).astype(np.float32)
    whole = standardise_vectors(vectors)
    assert all(
        standardise_vectors(vectors[i : i + 1]).tobytes() == whole[i].tobytes() for i in range(3000)
    )
    vectors[2500] = 4
    with pytest.raises(BadInput, match="vector 2500 has the same value"):
        standardise_vectors(vectors)
