"""Detection on arrays: fit to training and validation volumes, then judge synthetic ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from napari_memscan.detection.decision.judgement import BatchVerdicts
from napari_memscan.detection.pipeline import LIMITS_SEED, DetectionChain, DetectionSettings
from napari_memscan.detection.planting.plants import LIMIT_KINDS, draw_planted_volumes
from napari_memscan.detection.results.calibration_record import CalibrationRecord
from napari_memscan.detection.retrieval.search import Search
from napari_memscan.detection.retrieval.training_search import SearchTask
from napari_memscan.detection.statistics.equality import refuse_equal_vectors, refuse_equal_volumes
from napari_memscan.errors import BadInput
from napari_memscan.progress import run_job
from napari_memscan.typing import Array, Split, Vectors
from napari_memscan.volumes.cache import MemoryStore
from napari_memscan.volumes.volume import VolumeSequence

Embed = Callable[[Array], Vectors]


@dataclass(frozen=True)
class _Decoder:
    """A function as a decoder; within one detector its name says which."""

    decode: Callable[[Array], Array]
    hash: str = "given"

    def __call__(self, volume: Array) -> Array:
        return self.decode(volume)


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
        `plants.LIMIT_KINDS`.
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
    null_ : NullDistribution
        Of the validation volumes, each searched as a synthetic one is.
    plants_ : list of PlantedVolume
        What was planted, ``planted_`` (list of SearchResult) what the search made of it.
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
            refuse_equal_vectors(vectors[0], Split.TRAINING)
            refuse_equal_vectors(vectors[1], Split.VALIDATION)
        refuse_equal_volumes(training, Split.TRAINING)
        refuse_equal_volumes(validation, Split.VALIDATION)
        search = self.search or Search()
        settings = DetectionSettings(
            retrieved=search.retrieved,
            proposed=self.proposed,
            verified=search.verified,
            planted=self.n_planted,
            q=self.q,
            seed=self.seed,
            workers=self.workers,
        )
        real, unseen = subjects or (None, None)
        known, own = vectors or (None, None)
        chain = DetectionChain(
            make_array_tasks(training, Split.TRAINING, real, self.embed, known),
            MemoryStore(),
            search,
            settings,
            embed=self.embed,
            decoder=None if self.decode is None else _Decoder(self.decode),
        )
        kinds = [kind for of in LIMIT_KINDS.values() for kind in of]
        x, y, z = training[0].shape
        plants = draw_planted_volumes(
            kinds,
            self.n_planted,
            range(len(training)),
            (x, y, z),
            (self.seed, LIMITS_SEED),
            None,
            names,
        )
        self._calibration = run_job(
            chain.calibrate(
                make_array_tasks(validation, Split.VALIDATION, unseen, self.embed, own), plants
            )
        )
        self._chain, self.search_ = chain, search
        self.null_, self.limits_ = self._calibration.null, self._calibration.limits
        self.plants_, self.planted_ = plants, list(self._calibration.planted)
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
        tasks = make_array_tasks(volumes, Split.SYNTHETIC, None, self.embed, vectors)
        return run_job(self._chain.judge(self._calibration, tasks))

    def calibration(self, judgement: BatchVerdicts) -> CalibrationRecord:
        """Return what stands behind a judgement, for the record."""
        return self._chain.record(self._calibration, judgement)


def make_array_tasks(
    volumes: VolumeSequence,
    name: str,
    subjects: Sequence[str] | None = None,
    embed: Embed | None = None,
    vectors: Vectors | None = None,
) -> list[SearchTask]:
    """Return volumes (X, Y, Z) in [0, 1] as the chain takes them.

    Parameters
    ----------
    volumes : sequence of arrays (X, Y, Z) in [0, 1]
    name : str
        For people: what they are.
    subjects : sequence of str, optional
        Whose they are.
    embed : callable, optional
        Maps volumes (N, 1, X, Y, Z) to vectors (N, d); without it they have none.
    vectors : array (n, d), optional
        What it makes of them, where that is known.
    """
    tasks = []
    for i in range(len(volumes)):
        array = np.ascontiguousarray(volumes[i], np.float32)
        key = hashlib.sha256(repr(array.shape).encode() + array.tobytes()).hexdigest()[:16]
        vector = None
        if embed is not None:
            vector = embed(array[None, None])[0] if vectors is None else vectors[i]
        # What lies in memory is not read again, and goes to other processes by itself.
        held = isinstance(volumes, np.ndarray)
        load = partial(np.asarray, volumes[i]) if held else partial(_read, volumes, i)
        subject = subjects[i] if subjects is not None else ""
        tasks.append(SearchTask(key, load, vector, subject, f"{name}[{i}]"))
    return tasks


def _read(volumes: VolumeSequence, i: int) -> Array:
    return volumes[i]
