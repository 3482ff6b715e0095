"""The whole chain on arrays: copies in any pose are found, called, and told from novel volumes."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from napari_memscan.demo.phantoms import HU_WINDOW, draw_phantom
from napari_memscan.detection.decision.judgement import NullDistribution, fit_class_limits
from napari_memscan.detection.detector import CopyDetector
from napari_memscan.detection.planting.perturbations import draw_perturbation
from napari_memscan.detection.planting.plants import draw_planted_volumes
from napari_memscan.detection.retrieval.search import Search, SearchQuery, SearchResult
from napari_memscan.errors import BadInput

pytestmark = pytest.mark.slow

SHAPE = (20, 20, 20)


def volumes(n, seed):
    low, high = HU_WINDOW
    made = [draw_phantom((seed, i), SHAPE).data for i in range(n)]
    return np.clip((np.stack(made) - low) / (high - low), 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def training():
    return volumes(24, 1)


@pytest.fixture(scope="module")
def detector(training):
    search = Search(retrieved=5, verified=2, beside=1)
    return CopyDetector(search, n_planted=6, q=0.2).fit(training, volumes(20, 2))


@pytest.fixture(scope="module")
def batch(training):
    """Four copies in other poses, and four volumes of nobody."""
    random = np.random.default_rng(0)
    copies = [
        draw_perturbation("all at once", SHAPE, random).apply(training[i]) for i in (3, 7, 11, 19)
    ]
    return np.stack([*copies, *volumes(4, 3)])


def test_copies_in_any_pose_are_called_and_novel_volumes_are_not(detector, batch):
    judgement = detector.predict(batch)
    said = [verdict for verdict, _ in judgement.verdicts]
    assert set(said[:4]) <= {"copy", "near-duplicate"}
    assert set(said[4:]) <= {"novel", "undecided"}
    assert [found.index for found in judgement.found[:4]] == [3, 7, 11, 19]
    assert judgement.scores[:4].min() > judgement.scores[4:].max()


def test_a_judgement_repeats_and_does_not_depend_on_the_number_of_processes(
    detector, batch, training
):
    one = detector.predict(batch[:3])
    again = detector.predict(batch[:3])
    assert np.array_equal(one.scores, again.scores)
    queries = [SearchQuery(partial(np.array, v)) for v in batch[:3]]
    search = detector.search_
    apart = list(search.find_all(queries, workers=2))
    assert [f.to_array().tobytes() for f in apart] == [f.to_array().tobytes() for f in one.found]


def test_what_was_found_is_kept_and_read_again(detector, batch):
    found = detector.search_.find(SearchQuery(partial(np.array, batch[0])))
    again = SearchResult.from_array(found.to_array())
    assert again.retrieved == found.retrieved
    assert again.to_array().tobytes() == found.to_array().tobytes()
    assert again.score == found.score


def test_volumes_of_the_same_subject_are_never_held_against_each_other(detector, batch):
    found = detector.search_.find(
        SearchQuery(partial(np.array, batch[0]), proposed=(3, 5), excluded=(3,))
    )
    assert 3 not in found.retrieved
    assert all(hit.index != 3 for hit in found.hits)
    with pytest.raises(BadInput, match="no training volume is left"):
        detector.search_.find(SearchQuery(partial(np.array, batch[0]), excluded=tuple(range(24))))


def test_same_subject_pairs_stay_out_of_the_null(training):
    validation = np.concatenate([training[:2], volumes(2, 4)])
    subjects = [f"s{i}" for i in range(24)], ["s0", "s1", "v0", "v1"]
    search = Search(retrieved=3, verified=1, beside=0)
    kept = CopyDetector(search, n_planted=1).fit(training, validation, subjects=subjects)
    pooled = CopyDetector(search, n_planted=1).fit(training, validation)
    # Without subjects the training volumes find themselves.
    assert pooled.null_.scores[:2].min() > 0.99
    assert kept.null_.scores[:2].max() < 0.95


def blurred(volume):
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(volume, 1.5)


def test_null_and_planted_volumes_are_as_soft_as_what_the_decoder_makes(training):
    search = Search(retrieved=3, verified=1, beside=0)
    validation = volumes(6, 5)
    crisp = CopyDetector(search, n_planted=1).fit(training, validation)
    soft = CopyDetector(search, n_planted=1, decode=blurred).fit(training, validation)
    by_hand = CopyDetector(search, n_planted=1).fit(
        training, np.stack([blurred(v) for v in validation])
    )
    assert np.array_equal(soft.null_.scores, by_hand.null_.scores)
    assert np.array_equal(soft.null_.sharpness, by_hand.null_.sharpness)
    assert np.median(soft.null_.scores) > np.median(crisp.null_.scores)
    scores = [np.array([f.score for f in one.planted_]) for one in (crisp, soft)]
    assert not np.array_equal(*scores)
    judgement = soft.predict(validation[:2])
    assert soft.calibration(judgement).decoded
    assert not crisp.calibration(judgement).decoded


def test_two_volumes_of_a_subject_are_one_in_the_null():
    null = NullDistribution(
        np.array([0.2, 0.9, 0.5, 0.4]), ["a", "b", "a", ""], np.array([1.0, 2, 3, 4])
    )
    each = null.nearest_per_subject()
    assert sorted(each.scores) == [0.4, 0.5, 0.9]
    assert dict(zip(each.scores, each.sharpness, strict=True)) == {0.5: 3, 0.9: 2, 0.4: 4}


def test_planting_is_the_same_for_the_same_seed_and_kind_whatever_else_is_planted():
    alone = draw_planted_volumes(["rotation"], 5, range(3), SHAPE, (1, 2))
    beside = draw_planted_volumes(["blur", "rotation"], 5, range(3), SHAPE, (1, 2))
    assert beside[5:] == alone
    assert {one.label for one in alone} == {"copy"}
    # Nobody is taken twice before all were taken once.
    assert {one.source for one in alone[:3]} == {0, 1, 2}
    assert draw_planted_volumes(["rotation"], 5, range(3), SHAPE, (2, 2)) != alone


def test_what_does_not_fit_is_refused(detector, training):
    with pytest.raises(BadInput, match="at least one"):
        CopyDetector().fit(training[:0], training)
    with pytest.raises(BadInput, match="no synthetic volumes"):
        detector.predict(training[:0])
    with pytest.raises(BadInput, match="shape"):
        detector.predict(np.zeros((1, 8, 8, 8), np.float32) + np.arange(8, dtype=np.float32))
    broken = training[:1].copy()
    broken[0, 0, 0, 0] = np.nan
    with pytest.raises(BadInput, match="NaN"):
        detector.predict(broken)
    with pytest.raises(BadInput, match="same value"):
        detector.predict(np.full((1, *SHAPE), 0.5, np.float32))


def test_copies_are_told_from_near_duplicates_by_how_far_anatomy_has_moved(detector, training):
    limits = detector.limits_
    assert limits.by_displacement_
    assert limits.separability_["copy/near-duplicate"].auc > 0.95
    random = np.random.default_rng(8)
    changed = {
        kind: np.stack(
            [draw_perturbation(kind, SHAPE, random).apply(training[i]) for i in range(5, 9)]
        )
        for kind in ("gamma", "bias field", "registered near-duplicate")
    }
    judgement = detector.predict(np.concatenate(list(changed.values())))
    said = [verdict for verdict, _ in judgement.verdicts]
    assert said[:8] == ["copy"] * 8
    # Twenty voxels an axis are few: a weak deformation moves them little.
    assert said[8:].count("near-duplicate") >= 3
    moved = [found.displacement for found in judgement.found]
    assert max(moved[:8]) < 0.1 < 0.25 < min(moved[8:])


def test_a_plant_that_was_not_found_says_nothing_about_displacements(detector):
    plants, found = detector.plants_, list(detector.planted_)
    whole = fit_class_limits(detector.null_, plants, found)
    first = next(i for i, one in enumerate(plants) if one.label == "copy")
    other = detector.search_.find(
        SearchQuery(partial(np.array, volumes(1, 9)[0]), excluded=(plants[first].source,))
    )
    missed = fit_class_limits(detector.null_, plants, [*found[:first], other, *found[first + 1 :]])
    assert missed.displacement_limit_ == pytest.approx(whole.displacement_limit_, rel=0.2)
    assert missed.copy_[0] == other.score != whole.copy_[0]
