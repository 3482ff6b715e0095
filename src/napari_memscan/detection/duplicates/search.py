"""Near-duplicates inside the training split: what a model copies most, found before training."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from napari_memscan.detection.decision.class_limits import ClassLimits
from napari_memscan.detection.decision.judgement import (
    BatchVerdicts,
    NullDistribution,
    decide,
    fit_class_limits,
)
from napari_memscan.detection.duplicates.groups import (
    DuplicatePair,
    DuplicateResult,
    group_pairs,
    merge_pairs,
)
from napari_memscan.detection.pipeline import DetectionChain
from napari_memscan.detection.planting.plants import PlantedVolume
from napari_memscan.detection.registration.verifier import PairEvidence
from napari_memscan.detection.retrieval.search import SearchHit, SearchResult
from napari_memscan.detection.retrieval.training_search import SearchTask
from napari_memscan.errors import BadInput
from napari_memscan.progress import Progress
from napari_memscan.typing import Verdict

SAME_VOLUME_SCORE = 0.999
"""From here on two volumes are the same voxels but for rounding; no statistics are needed."""


@dataclass(frozen=True)
class CohortSearches:
    """What was found of every real volume of a cohort.

    Attributes
    ----------
    training : sequence of SearchResult
        Each training volume among those of other subjects.
    own : dict of int to SearchResult
        Each training volume whose subject has others, among these.
    validation : sequence of SearchResult
        Each validation volume among training volumes of other subjects.
    sharpness : sequence of float
        Of the training volumes.
    """

    training: Sequence[SearchResult]
    own: dict[int, SearchResult]
    validation: Sequence[SearchResult]
    sharpness: Sequence[float]


def list_excluded_rows(subjects: Sequence[str]) -> list[tuple[int, ...]]:
    """Return, for each volume, the rows it is not compared with: itself and its subject's."""
    return [
        tuple(j for j, other in enumerate(subjects) if j == i or (own and other == own))
        for i, own in enumerate(subjects)
    ]


def list_non_sibling_rows(subjects: Sequence[str]) -> dict[int, tuple[int, ...]]:
    """Return, for volumes whose subject has others, all rows that are not of its siblings."""
    rows = range(len(subjects))
    return {
        i: tuple(j for j in rows if j == i or subjects[j] != own)
        for i, own in enumerate(subjects)
        if own and list(subjects).count(own) > 1
    }


def find_duplicates(
    chain: DetectionChain, validation: Sequence[SearchTask], plants: Sequence[PlantedVolume]
) -> Generator[Progress, None, DuplicateResult]:
    """Search every training volume among the training volumes of other subjects.

    Volumes are compared as they are, not as a generator would make them.

    Parameters
    ----------
    chain : DetectionChain
        Over the training volumes; its seed and `q` count.
    validation : sequence of SearchTask
        Volumes of other subjects, for a null.
    plants : sequence of PlantedVolume
        Of the training volumes; class limits are learnt from them.

    Yields
    ------
    Progress
        After each volume.

    Raises
    ------
    BadInput
        Fewer than 3 training volumes or no validation volume, different shapes, a constant volume.
    """
    training = chain.training
    check_split_sizes(len(training), len(validation))
    real, unseen = ([task.subject for task in tasks] for tasks in (training, validation))
    own = list_non_sibling_rows(real)
    perturbed = yield from chain.perturb(plants, training, "planted", as_generated=False)
    others = zip(training, list_excluded_rows(real), strict=True)
    batches = [
        [task.without(out) for task, out in others],
        [training[i].without(out) for i, out in own.items()],
        list(validation),
        perturbed,
    ]
    every = yield from chain.search.run([task for batch in batches for task in batch])
    hits = iter(every)
    across, within, leaking, planted = ([next(hits) for _ in batch] for batch in batches)
    searches = CohortSearches(
        across,
        dict(zip(own, within, strict=True)),
        leaking,
        [chain.measure_sharpness(task) for task in training],
    )
    null = NullDistribution(np.array([f.score for f in leaking]), unseen)
    limits = fit_class_limits(null, plants, planted, chain.settings.seed)
    return classify_duplicates(searches, limits, (real, unseen), q=chain.settings.q)


def check_split_sizes(n_training: int, n_validation: int) -> None:
    """Raise BadInput where there is nothing to compare."""
    if n_training < 3 or n_validation < 1:
        raise BadInput(
            f"{n_training} training and {n_validation} validation volumes; at least 3 and 1 are "
            "needed to look for duplicates, and at least 20 of the latter to call any."
        )


def classify_duplicates(
    searches: CohortSearches,
    limits: ClassLimits,
    subjects: tuple[Sequence[str], Sequence[str]],
    *,
    q: float = 0.1,
) -> DuplicateResult:
    """Judge what was found.

    A leak makes the null useless: one validation volume that is a training volume is nearer than
    any duplicate. So validation volumes are first judged against training volumes, which are no
    nearer to each other than new ones are to them; those that score as planted copies do are left
    out. A leak is what is called so, or scores as planted copies do. What training volumes are
    judged by is the validation without its leaks.

    Parameters
    ----------
    searches : CohortSearches
    limits : ClassLimits
        Fitted to planted volumes.
    subjects : (sequence of str, sequence of str)
        Of training and of validation volumes.
    q : float
        Largest expected share of wrong ones among the called.
    """
    real, unseen = subjects
    near = _find_called_pairs(
        searches.validation, _build_null(searches.training, real, limits), limits, q
    )
    leaks = [
        pair for pair in near if pair.verdict.called or _scores_as_planted(pair, searches, limits)
    ]
    leaking = {pair.first for pair in leaks}
    sound = [i for i in range(len(unseen)) if i not in leaking]
    if not sound:
        raise BadInput(
            "every validation volume is near a training volume of another subject. Split the "
            "cohort anew, by people."
        )
    null = NullDistribution(
        np.array([searches.validation[i].score for i in sound]), [unseen[i] for i in sound]
    )
    across = merge_pairs(_find_called_pairs(searches.training, null, limits, q))
    own = list(searches.own)
    within = _find_called_pairs([searches.own[i] for i in own], null, limits, q) if own else []
    expected = merge_pairs(
        [DuplicatePair(own[p.first], p.second, p.score, p.verdict, p.reason) for p in within]
    )
    sure = [pair for pair in across if pair.verdict.called]
    return DuplicateResult(
        group_pairs(sure, searches.sharpness),
        group_pairs([pair for pair in across if not pair.verdict.called], searches.sharpness),
        group_pairs([pair for pair in expected if pair.verdict.called], searches.sharpness),
        tuple(sorted(leaks, key=lambda pair: -pair.score)),
        len(real),
        len(null.nearest_per_subject().scores),
        q,
    )


def _scores_as_planted(pair: DuplicatePair, searches: CohortSearches, limits: ClassLimits) -> bool:
    """Return whether a validation volume scores as planted copies do.

    A single leak can hardly ever be called, with as few training volumes for a null; and it must
    not stay in the null all the same.
    """
    hits = searches.validation[pair.first].hits
    return any(
        hit.index == pair.second and _is_near_as_copies(hit.evidence, limits) for hit in hits
    )


def _is_near_as_copies(evidence: PairEvidence, limits: ClassLimits) -> bool:
    """Return whether a pair is nearer than strangers and has moved as little as planted copies."""
    novel = limits.novel_limit_
    near = novel is not None and evidence.score > novel
    return near and bool(limits.is_copy(evidence.score, evidence.displacement))


def _build_null(
    found: Sequence[SearchResult], subjects: Sequence[str], limits: ClassLimits
) -> NullDistribution:
    """Return training volumes as a null, without those that score as planted copies do."""
    kept = [
        i
        for i, one in enumerate(found)
        if one.score < SAME_VOLUME_SCORE and not _is_near_as_copies(one.hits[0].evidence, limits)
    ]
    # Where all are copies of each other, they are no null; then nothing is trimmed.
    kept = kept or list(range(len(found)))
    return NullDistribution(np.array([found[i].score for i in kept]), [subjects[i] for i in kept])


def _find_called_pairs(
    found: Sequence[SearchResult], null: NullDistribution, limits: ClassLimits, q: float
) -> list[DuplicatePair]:
    """Return the pairs of a batch of searches that are called, the same, or undecided."""
    judgement = decide(np.array([f.score for f in found]), null, limits, q=q, found=found)
    highest = float(null.scores.max())
    pairs = []
    for i, one in enumerate(found):
        for hit in one.hits:
            said = _classify_hit(hit, i, judgement, limits, highest)
            if said is not None:
                pairs.append(DuplicatePair(i, hit.index, hit.evidence.score, *said))
    return pairs


def _classify_hit(
    hit: SearchHit, i: int, judgement: BatchVerdicts, limits: ClassLimits, highest: float
) -> tuple[Verdict, str] | None:
    score, decision = hit.evidence.score, judgement.decision
    if score >= SAME_VOLUME_SCORE:
        return Verdict.COPY, ""
    verdict, reason = judgement.verdicts[i]
    if verdict.called:
        if decision.threshold is None or score < decision.threshold:
            return None
        if score == judgement.scores[i]:
            return verdict, reason
        near = limits.is_copy(score, hit.evidence.displacement) is False
        return (Verdict.NEAR_DUPLICATE if near else Verdict.COPY), ""
    # Nearer than all of the null: a person must look, whether or not it can be called.
    return (verdict, reason) if verdict == Verdict.UNDECIDED and score > highest else None
