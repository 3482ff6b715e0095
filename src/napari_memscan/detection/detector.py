"""The whole chain on arrays: retrieve, verify, calibrate, decide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from napari_memscan.detection.decision.class_limits import ClassLimits
from napari_memscan.detection.decision.conformal import BatchDecision, ConformalRule
from napari_memscan.detection.decision.exchangeability import (
    ExchangeabilityTest,
    run_exchangeability_test,
)
from napari_memscan.detection.decision.sharpness import compute_sharpness
from napari_memscan.detection.decision.verdicts import assign_verdicts
from napari_memscan.detection.planting.plants import (
    LIMIT_KINDS,
    PlantedVolume,
    draw_planted_volumes,
)
from napari_memscan.detection.results.calibration_record import CalibrationRecord
from napari_memscan.detection.retrieval.neighbours import NeighbourIndex
from napari_memscan.detection.retrieval.search import (
    Search,
    SearchQuery,
    SearchResult,
    VolumeSequence,
)
from napari_memscan.detection.statistics.equality import refuse_equal_vectors, refuse_equal_volumes
from napari_memscan.detection.statistics.validation import number_subjects
from napari_memscan.errors import BadInput
from napari_memscan.typing import Array, Vectors, Verdict

Embed = Callable[[Array], Vectors]


@dataclass(frozen=True, eq=False)
class BatchVerdicts:
    """What the chain says of a batch of synthetic volumes.

    Attributes
    ----------
    scores : array (m,)
        After registration, larger is nearer.
    decision : BatchDecision
        Which of them are nearer than new patients are.
    verdicts : list of (Verdict, str)
        ``copy``, ``near-duplicate``, ``novel`` or ``undecided``, and why.
    limits : ClassLimits
        Where near-duplicates and copies begin.
    assumption : AssumptionTest
        Whether what all this rests on is seen to fail.
    found : tuple of Found
        The search behind each score; empty where only scores were given.
    """

    scores: NDArray[np.float64]
    decision: BatchDecision
    verdicts: list[tuple[Verdict, str]]
    limits: ClassLimits
    assumption: ExchangeabilityTest
    found: tuple[SearchResult, ...] = field(default=())


@dataclass(frozen=True, eq=False)
class NullDistribution:
    """Validation volumes that went through the search: what unrelated volumes score.

    Attributes
    ----------
    scores : array (n,)
        Larger is nearer.
    subjects : sequence of str or None
        Whose volume each is; '' where nobody said it.
    sharpness : array (n,) or None
        See `sharpness.compute_sharpness`.
    """

    scores: NDArray[np.float64]
    subjects: Sequence[str] | None = None
    sharpness: NDArray[np.float64] | None = None

    def nearest_per_subject(self) -> NullDistribution:
        """Return only the nearest volume of each subject: two scans are not two new patients."""
        numbers = number_subjects(self.subjects, len(self.scores))
        order = np.lexsort((-self.scores, numbers))
        first = order[np.unique(numbers[order], return_index=True)[1]]
        sharp = None if self.sharpness is None else self.sharpness[first]
        return NullDistribution(self.scores[first], None, sharp)


def fit_class_limits(
    null: NullDistribution,
    plants: Sequence[PlantedVolume],
    found: Sequence[SearchResult],
    seed: int = 0,
) -> ClassLimits:
    """Learn class limits from planted volumes.

    Parameters
    ----------
    null : Null
        Of validation volumes.
    plants, found : sequences
        What was planted, and what the search made of it. A plant whose source was not found says
        nothing about how far copies lie from their sources.
    seed : int
        Of the bootstrap.
    """
    both = list(zip(plants, found, strict=True))

    def scores(label: Verdict) -> list[float]:
        return [what.score for one, what in both if one.label == label]

    def displacements(label: Verdict) -> list[float]:
        return [
            what.displacement
            for one, what in both
            if one.label == label and what.index == one.source
        ]

    near, copy = Verdict.NEAR_DUPLICATE, Verdict.COPY
    return ClassLimits(seed=seed).fit(
        null.nearest_per_subject().scores,
        scores(near),
        scores(copy),
        (displacements(near), displacements(copy)),
    )


def decide(
    scores: NDArray[np.float64],
    null: NullDistribution,
    limits: ClassLimits,
    *,
    q: float = 0.1,
    sharpness: NDArray[np.float64] | None = None,
    found: Sequence[SearchResult] = (),
) -> BatchVerdicts:
    """Decide on a batch of scores.

    Parameters
    ----------
    scores : array (m,)
        Of synthetic volumes, from the same search as those of the null.
    null : Null
        Of validation volumes.
    limits : ClassLimits
        Fitted.
    q : float
        Largest expected share of novel ones among those called.
    sharpness : array (m,), optional
        Of the synthetic volumes; used where the null has it too.
    found : sequence of Found, optional
        Where each score comes from; needed where limits were learnt from displacements.

    Raises
    ------
    BadInput
        No scores, or one that is not finite.
    """
    each = null.nearest_per_subject()
    decision = ConformalRule(q).fit(each.scores).decide(scores, limits.novel_limit_)
    displacements = [what.displacement for what in found] if len(found) else None
    both = sharpness is not None and each.sharpness is not None
    return BatchVerdicts(
        scores,
        decision,
        assign_verdicts(scores, decision, limits, displacements),
        limits,
        run_exchangeability_test(
            scores,
            each.scores,
            rejected=decision.rejected,
            sharpness_synthetic=sharpness if both else None,
            sharpness_null=each.sharpness if both else None,
        ),
        tuple(found),
    )


class CopyDetector:
    """Finds copies among synthetic volumes, with a bounded share of mistakes.

    Parameters
    ----------
    search : Search, optional
        Retrieval and verification; its spacing is that of all volumes.
    q : float
        Largest expected share of novel volumes among those called copy or near-duplicate.
    n_planted : int
        Planted copies, and as many planted near-duplicates, of each kind of
        `planting.LIMIT_KINDS`.
    embed : callable, optional
        Maps volumes (N, 1, X, Y, Z) to vectors (N, d); without it only the correlator retrieves.
    proposed : int
        Candidates of the embedder.
    decode : callable, optional
        What the autoencoder of the generator makes of a volume (X, Y, Z); see
        `generators.roundtrip`. Validation and planted volumes go through it, since all that is
        generated did, and what is softer is nearer to everybody. Can be pickled, with more than
        one process.
    seed : int
        Of planting and bootstrap.
    workers : int
        Processes. Results do not depend on it.

    Attributes
    ----------
    null_ : Null
        Of the validation volumes, each searched as a synthetic one is.
    plants_ : list of Plant
        What was planted, ``planted_`` (list of Found) what the search made of it.
    limits_ : ClassLimits

    Examples
    --------
    >>> detector = CopyDetector().fit(training, validation)  # doctest: +SKIP
    >>> [verdict for verdict, reason in detector.predict(synthetic).verdicts]  # doctest: +SKIP
    """

    def __init__(
        self,
        search: Search | None = None,
        *,
        q: float = 0.1,
        n_planted: int = 16,
        embed: Embed | None = None,
        proposed: int = 5,
        decode: Callable[[Array], Array] | None = None,
        seed: int = 0,
        workers: int = 1,
    ) -> None:
        self.search = search
        self.q = q
        self.n_planted = n_planted
        self.embed = embed
        self.proposed = proposed
        self.decode = decode
        self.seed = seed
        self.workers = workers

    def fit(
        self,
        training: VolumeSequence,
        validation: VolumeSequence,
        *,
        vectors: tuple[Vectors, Vectors] | None = None,
        subjects: tuple[Sequence[str], Sequence[str]] | None = None,
        names: Sequence[str] | None = None,
    ) -> CopyDetector:
        """Learn the training volumes, the null and the class limits.

        Parameters
        ----------
        training, validation : sequences of arrays (X, Y, Z) in [0, 1]
            Of one shape; preprocessed alike.
        vectors : (array (n, d), array (m, d)), optional
            Of training and of validation volumes, where they are known; else they are computed,
            as those of decoded validation volumes always are.
        subjects : (sequence of str, sequence of str), optional
            Of training and of validation volumes. A validation volume is never compared with
            training volumes of its own subject.
        names : sequence of str, optional
            Of training volumes, such as hashes of their content: which are planted depends on
            them; see `plants.draw_planted_volumes`.

        Raises
        ------
        BadInput
            No volumes, different shapes, a constant volume or one that is not finite; training or
            validation volumes, or their vectors, that are all (nearly) equal.
        """
        if not len(training) or not len(validation):
            raise BadInput(
                f"{len(training)} training and {len(validation)} validation volumes; at least one "
                "of each is needed, and at least 20 of the latter to call anything."
            )
        if vectors is not None:
            # Known before the hours that a search takes.
            refuse_equal_vectors(vectors[0], "training")
            refuse_equal_vectors(vectors[1], "validation")
        self.search_ = (self.search or Search()).fit(training)
        refuse_equal_volumes(training, "training")
        refuse_equal_volumes(validation, "validation")
        self.index_ = None
        if self.embed is not None:
            of_training = self._vectors(training) if vectors is None else vectors[0]
            refuse_equal_vectors(of_training, "training")
            self.index_ = NeighbourIndex().fit(of_training)
        excluded: list[tuple[int, ...]] = [()] * len(validation)
        if subjects is not None:
            excluded = [
                tuple(i for i, other in enumerate(subjects[0]) if other and other == own)
                for own in subjects[1]
            ]
        loads = [self._made(partial(_read_volume, validation, i)) for i in range(len(validation))]
        known = None if vectors is None or self.decode is not None else vectors[1]
        found = self._find(loads, excluded, known)
        self.null_ = NullDistribution(
            np.array([f.score for f in found]),
            None if subjects is None else list(subjects[1]),
            np.array([compute_sharpness(load()) for load in loads]),
        )
        shape = tuple(training[0].shape)
        self.plants_: list[PlantedVolume] = [
            one
            for kinds in LIMIT_KINDS.values()
            for one in draw_planted_volumes(
                kinds, self.n_planted, range(len(training)), shape, (self.seed, 1), None, names
            )
        ]
        self.planted_ = self._find(
            [
                self._made(
                    partial(p.load, partial(_read_volume, training, p.source), self.search_.spacing)
                )
                for p in self.plants_
            ]
        )
        self.limits_ = fit_class_limits(self.null_, self.plants_, self.planted_, self.seed)
        return self

    def predict(self, volumes: VolumeSequence, vectors: Vectors | None = None) -> BatchVerdicts:
        """Judge a batch of synthetic volumes; each verdict depends on the whole batch.

        Parameters
        ----------
        volumes : sequence of arrays (X, Y, Z) in [0, 1]
        vectors : array (n, d), optional
            Their embeddings, where they are known.
        """
        if not len(volumes):
            raise BadInput("there are no synthetic volumes to judge.")
        loads = [partial(_read_volume, volumes, i) for i in range(len(volumes))]
        found = self._find(loads, vectors=vectors)
        return decide(
            np.array([f.score for f in found]),
            self.null_,
            self.limits_,
            q=self.q,
            sharpness=np.array([compute_sharpness(volumes[i]) for i in range(len(volumes))]),
            found=found,
        )

    def calibration(self, judgement: BatchVerdicts) -> CalibrationRecord:
        """Return what stands behind a judgement, for the record."""
        return CalibrationRecord.of(
            judgement,
            n_planted=len(self.plants_) // len(LIMIT_KINDS),
            retrieved=self.search_.retrieved,
            verified=self.search_.verified,
            search_hash=self.search_.hash,
            seed=self.seed,
            decoded=self.decode is not None,
            proposed=self.proposed if self.embed is not None else 0,
        )

    def _made(self, load: Callable[[], Array]) -> Callable[[], Array]:
        return load if self.decode is None else partial(_decode_volume, self.decode, load)

    def _vectors(self, volumes: VolumeSequence) -> Vectors:
        assert self.embed is not None
        return np.stack([self.embed(volumes[i][None, None])[0] for i in range(len(volumes))])

    def _find(
        self,
        loads: Sequence[Callable[[], Array]],
        excluded: Sequence[tuple[int, ...]] | None = None,
        vectors: Vectors | None = None,
    ) -> list[SearchResult]:
        proposed: Sequence[tuple[int, ...]] = [()] * len(loads)
        if self.embed is not None and self.index_ is not None:
            if vectors is None:
                vectors = np.concatenate([self.embed(load()[None, None]) for load in loads])
            _, rows = self.index_.kneighbors(vectors, self.proposed)
            proposed = [tuple(int(i) for i in row) for row in rows]
        queries = [
            SearchQuery(load, tuple(i for i in near if i not in out), tuple(out))
            for load, near, out in zip(loads, proposed, excluded or [()] * len(loads), strict=True)
        ]
        return list(self.search_.find_all(queries, self.workers))


def _read_volume(volumes: VolumeSequence, i: int) -> Array:
    return volumes[i]


def _decode_volume(decode: Callable[[Array], Array], load: Callable[[], Array]) -> Array:
    return decode(load())
