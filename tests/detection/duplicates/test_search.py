"""Near-duplicates inside training are found across subjects, and leaks into validation told."""

from __future__ import annotations

import numpy as np
import pytest

from napari_memscan.demo.phantoms import HU_WINDOW, draw_phantom
from napari_memscan.detection.decision.class_limits import ClassLimits
from napari_memscan.detection.detector import make_array_tasks
from napari_memscan.detection.duplicates.groups import DuplicatePair, group_pairs, merge_pairs
from napari_memscan.detection.duplicates.search import (
    CohortSearches,
    classify_duplicates,
    find_duplicates,
    list_excluded_rows,
    list_non_sibling_rows,
)
from napari_memscan.detection.pipeline import DetectionChain, DetectionSettings
from napari_memscan.detection.planting.perturbations import draw_perturbation
from napari_memscan.detection.planting.plants import LIMIT_KINDS, draw_planted_volumes
from napari_memscan.detection.registration.verifier import PairEvidence
from napari_memscan.detection.retrieval.search import Search, SearchHit, SearchResult
from napari_memscan.errors import BadInput
from napari_memscan.progress import run_job
from napari_memscan.typing import Verdict
from napari_memscan.volumes.cache import MemoryStore

pytestmark = pytest.mark.slow

N, M = 12, 40


def found(*hits):
    """Return what a search found: pairs of training volume and score."""
    evidence = [PairEvidence(s, s, s, s, 1.0, 1 - s, np.eye(4), "rigid") for _, s in hits]
    made = [
        SearchHit(i, rank, e) for rank, ((i, _), e) in enumerate(zip(hits, evidence, strict=True))
    ]
    made.sort(key=lambda hit: -hit.evidence.score)
    return SearchResult(tuple(made), tuple(hit.index for hit in made))


def low(n, seed):
    """Scores of unrelated volumes."""
    return np.random.default_rng(seed).uniform(0.2, 0.5, n).tolist()


@pytest.fixture
def limits():
    random = np.random.default_rng(0)
    near, copy = random.uniform(0.65, 0.75, 20), random.uniform(0.85, 0.95, 20)
    return ClassLimits(n_draws=10).fit(low(M, 2), near, copy, (1 - near, 1 - copy))


@pytest.fixture
def unrelated():
    """Searches of a cohort in which nothing is twice."""
    return (
        [found(((i + 1) % N, s)) for i, s in enumerate(low(N, 1))],
        [found((i % N, s)) for i, s in enumerate(low(M, 2))],
        [0.1 + 0.01 * i for i in range(N)],
    )


SUBJECTS = [f"p{i}" for i in range(N)], [f"v{i}" for i in range(M)]


def test_duplicates_across_subjects_make_one_group(unrelated, limits):
    training, validation, sharp = unrelated
    # 2 = 9 by a copy, 9 = 11 by a near-duplicate; 3 lies among the unrelated.
    training[2] = found((9, 0.9), (3, 0.4))
    training[9] = found((2, 0.92), (11, 0.7))
    training[11] = found((9, 0.69))
    result = classify_duplicates(CohortSearches(training, {}, validation, sharp), limits, SUBJECTS)
    (group,) = result.groups
    assert group.members == (2, 9, 11)
    assert [(p.first, p.second, p.score, p.verdict) for p in group.pairs] == [
        (2, 9, 0.92, "copy"),
        (9, 11, 0.7, "near-duplicate"),
    ]
    assert group.keep == 11  # the sharpest
    assert result.dropped == (2, 9)
    assert (result.suspected, result.expected, result.leaks) == ((), (), ())
    assert (result.n_training, result.n_null) == (N, M)


def test_two_scans_of_a_person_are_expected_and_not_dropped(unrelated, limits):
    training, validation, sharp = unrelated
    own = {4: found((5, 0.9)), 5: found((4, 0.88))}
    result = classify_duplicates(CohortSearches(training, own, validation, sharp), limits, SUBJECTS)
    assert [group.members for group in result.expected] == [(4, 5)]
    assert result.dropped == ()


def test_a_leak_is_told_and_is_no_part_of_the_null(unrelated, limits):
    training, validation, sharp = unrelated
    validation[7] = found((0, 0.93))
    for i, j in ((4, 5), (6, 7)):
        training[i], training[j] = found((j, 0.9)), found((i, 0.9))
    result = classify_duplicates(CohortSearches(training, {}, validation, sharp), limits, SUBJECTS)
    assert [(leak.first, leak.second) for leak in result.leaks] == [(7, 0)]
    assert result.n_null == M - 1
    # With the leak in the null every p-value were at least 2/41, and four of them too few.
    assert [group.members for group in result.groups] == [(4, 5), (6, 7)]


def test_a_small_null_calls_only_what_is_the_same(unrelated, limits):
    training, validation, sharp = unrelated
    training[3], training[8] = found((8, 1.0)), found((3, 1.0))
    training[1], training[6] = found((6, 0.9)), found((1, 0.9))
    few = (SUBJECTS[0], SUBJECTS[1][:3])
    result = classify_duplicates(CohortSearches(training, {}, validation[:3], sharp), limits, few)
    assert [group.members for group in result.groups] == [(3, 8)]
    assert [group.members for group in result.suspected] == [(1, 6)]
    assert "no power" in result.suspected[0].pairs[0].reason


def test_a_cohort_that_is_all_leaks_is_refused(unrelated, limits):
    training, _, sharp = unrelated
    validation = [found((i % N, 0.95)) for i in range(M)]
    with pytest.raises(BadInput, match="Split the cohort anew"):
        classify_duplicates(CohortSearches(training, {}, validation, sharp), limits, SUBJECTS)


def test_who_is_compared_with_whom():
    subjects = ["a", "", "a", "", "b"]
    assert list_excluded_rows(subjects) == [(0, 2), (1,), (0, 2), (3,), (4,)]
    assert list_non_sibling_rows(subjects) == {0: (0, 1, 3, 4), 2: (1, 2, 3, 4)}


def test_both_directions_are_one_pair_and_chains_one_group():
    pairs = merge_pairs(
        [
            DuplicatePair(1, 0, 0.8, Verdict.UNDECIDED, "why"),
            DuplicatePair(0, 1, 0.7, Verdict.COPY),
            DuplicatePair(1, 4, 0.9, Verdict.COPY),
            DuplicatePair(2, 3, 0.6, Verdict.NEAR_DUPLICATE),
        ]
    )
    assert sorted((p.first, p.second, p.verdict) for p in pairs) == [
        (0, 1, "copy"),
        (1, 4, "copy"),
        (2, 3, "near-duplicate"),
    ]
    groups = group_pairs(pairs, [0.1, 0.2, 0.3, 0.3, 0.1])
    assert [(g.members, g.keep) for g in groups] == [((0, 1, 4), 1), ((2, 3), 2)]


# Volumes


def volumes(n, seed):
    shape = (16, 16, 16)
    low_hu, high_hu = HU_WINDOW
    made = [draw_phantom((seed, i), shape).data for i in range(n)]
    return np.clip((np.stack(made) - low_hu) / (high_hu - low_hu), 0, 1).astype(np.float32)


def test_planted_duplicates_among_phantoms_are_found():
    training = volumes(7, 1)
    training[3] = training[0]
    copied = draw_perturbation("registered copy", (16, 16, 16), np.random.default_rng(0)).apply(
        training[1]
    )
    training[4], training[6] = copied, training[5]
    subjects = ["p0", "p1", "p2", "p3", "p4", "p5", "p5"]
    settings = DetectionSettings(retrieved=2, verified=1, planted=1, seed=0)
    real = make_array_tasks(training, "training", subjects)
    unseen = make_array_tasks(volumes(4, 2), "validation", list("abcd"))
    chain = DetectionChain(real, MemoryStore(), settings.search((1.0, 1.0, 1.0)), settings)
    plants = draw_planted_volumes(
        [kind for of in LIMIT_KINDS.values() for kind in of], 1, range(7), (16, 16, 16), (0, 1)
    )
    result = run_job(find_duplicates(chain, unseen, plants))
    assert [group.members for group in result.groups] == [(0, 3)]
    assert (1, 4) in [group.members for group in result.suspected]
    assert [group.members for group in result.expected] == [(5, 6)]


def test_too_few_volumes_are_named():
    settings = DetectionSettings()
    tasks = make_array_tasks(volumes(2, 1), "training")
    chain = DetectionChain(tasks, MemoryStore(), Search(), settings)
    with pytest.raises(BadInput, match="at least 3 and 1"):
        run_job(find_duplicates(chain, tasks, []))
