"""The chain of detection, once: retrieve, register, null, planted copies, limits, decide.

It works on volumes that are loaded when they are needed and keeps what it has made in a store: a
dictionary for arrays, a cache on disk for studies. Each step is a generator: it reports progress,
stops where nobody asks on, and with the same store goes on from there and gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Protocol

import numpy as np

from napari_memscan.detection.decision import sharpness
from napari_memscan.detection.decision.class_limits import ClassLimits
from napari_memscan.detection.decision.judgement import (
    BatchVerdicts,
    NullDistribution,
    decide,
    fit_class_limits,
)
from napari_memscan.detection.planting import perturbations
from napari_memscan.detection.planting.plants import (
    LIMIT_KINDS,
    PlantedVolume,
    draw_planted_volumes,
)
from napari_memscan.detection.results.calibration_record import CalibrationRecord
from napari_memscan.detection.retrieval.entries import compute_vector_key
from napari_memscan.detection.retrieval.search import Search, SearchResult
from napari_memscan.detection.retrieval.training_search import SearchTask, TrainingSearch
from napari_memscan.detection.statistics.equality import refuse_equal_vectors
from napari_memscan.files import hash_json
from napari_memscan.progress import Progress
from napari_memscan.typing import Array, GridShape, Split, Vectors, Verdict
from napari_memscan.volumes.cache import Store

LIMITS_SEED = 1
"""Planted volumes that limits are learnt from; others have another, beside the chain's own."""


class Decoder(Protocol):
    """What the autoencoder of a generator makes of a volume: as soft as all that it makes."""

    @property
    def hash(self) -> str:
        """Of the weights; part of the key of what is decoded."""

    def __call__(self, volume: Array, /) -> Array:
        """Encode and decode a volume (X, Y, Z) in [0, 1]."""


@dataclass(frozen=True)
class DetectionSettings:
    """What the chain does with volumes.

    Attributes
    ----------
    retrieved, proposed : int
        Candidates of the correlator and of the embedder.
    verified : int
        Best of them that are registered; the embedder's nearest comes beside them.
    planted : int
        Planted copies, and as many near-duplicates, of each kind of `plants.LIMIT_KINDS`.
    q : float
        Largest expected share of novel volumes among those called.
    seed : int
        Of planting and bootstrap.
    workers : int
        Processes that register. Results do not depend on it.
    """

    retrieved: int = 20
    proposed: int = 5
    verified: int = 3
    planted: int = 16
    q: float = 0.1
    seed: int = 1
    workers: int = 1

    def search(self, spacing: tuple[float, float, float]) -> Search:
        """Return the search among volumes of this voxel size in mm."""
        return Search(retrieved=self.retrieved, verified=self.verified, spacing=spacing)


@dataclass(frozen=True, eq=False)
class DetectorCalibration:
    """What verdicts rest on.

    Attributes
    ----------
    null : NullDistribution
        Of the validation volumes, each searched for as a synthetic one is.
    limits : ClassLimits
        Learnt from planted volumes.
    plants, planted : sequences
        What was planted, and what the search made of it.
    decoded : bool
        All of these volumes went through the autoencoder of a generator first.
    hash : str
        See `CalibrationRecord.detector_hash`.
    """

    null: NullDistribution
    limits: ClassLimits
    plants: Sequence[PlantedVolume]
    planted: Sequence[SearchResult]
    decoded: bool
    hash: str


class DetectionChain:
    """Detection among one set of training volumes.

    Parameters
    ----------
    training : sequence of SearchTask
        With vectors all or none.
    store : Store
    search : Search
        Retrieval and verification; its spacing is that of all volumes.
    settings : DetectionSettings
    embed : callable, optional
        Maps volumes (N, 1, X, Y, Z) to vectors (N, d); with it `embedder_hash`, of what it does.
    decoder : Decoder, optional
        Of the generator: validation and planted volumes go through it, since all that is generated
        did, and what is softer is nearer to everybody.
    """

    def __init__(
        self,
        training: Sequence[SearchTask],
        store: Store,
        search: Search,
        settings: DetectionSettings,
        *,
        embed: Callable[[Array], Vectors] | None = None,
        embedder_hash: str = "",
        decoder: Decoder | None = None,
    ) -> None:
        self.training, self.store, self.settings = list(training), store, settings
        self.embed, self.embedder_hash, self.decoder = embed, embedder_hash, decoder
        self.search = TrainingSearch(
            training, store, search, proposed=settings.proposed, workers=settings.workers
        )

    def draw(
        self,
        kinds: Sequence[str],
        n: int,
        sources: Sequence[SearchTask],
        shape: GridShape,
        seed: int,
        label: Verdict | None = None,
        strength: float = 1.0,
    ) -> list[PlantedVolume]:
        """Draw `n` plants of each kind from volumes; see `plants.draw_planted_volumes`.

        Which volumes, and what is done to each, is told by their content: one volume more changes
        few of them, and what was compared stays. `seed` comes beside the chain's.
        """
        return draw_planted_volumes(
            kinds,
            n,
            range(len(sources)),
            shape,
            (self.settings.seed, seed),
            label,
            [task.key for task in sources],
            strength,
        )

    def draw_for_limits(self, shape: GridShape) -> list[PlantedVolume]:
        """Draw the plants that class limits are learnt from."""
        kinds = [kind for of in LIMIT_KINDS.values() for kind in of]
        return self.draw(kinds, self.settings.planted, self.training, shape, LIMITS_SEED)

    def perturb(
        self,
        plants: Sequence[PlantedVolume],
        sources: Sequence[SearchTask],
        what: str,
        as_generated: bool = True,
    ) -> Generator[Progress, None, list[SearchTask]]:
        """Return the tasks of perturbed volumes, each with its vector.

        Parameters
        ----------
        plants : sequence of PlantedVolume
        sources : sequence of SearchTask
            Volumes that ``PlantedVolume.source`` counts.
        what : str
            For people: what is planted.
        as_generated : bool
            They go through the decoder; not where they are compared with real volumes.
        """
        spacing, tasks = self.search.search.spacing, []
        for done, one in enumerate(plants, 1):
            source = sources[one.source]
            key = hash_json(
                [
                    "planted",
                    perturbations.VERSION,
                    source.key,
                    asdict(one.perturbation),
                    list(spacing),
                ]
            )
            task = SearchTask(
                key,
                partial(one.load, source.load, spacing),
                None,
                name=f"{one.kind} of {source.name}",
            )
            tasks.append(self._finish(task, as_generated))
            yield Progress(done, len(plants), f"{what}: {task.name}")
        return tasks

    def decode(self, crisp: Sequence[SearchTask]) -> Generator[Progress, None, list[SearchTask]]:
        """Return volumes that are no copies as the generator would have made them.

        A generator's decoder softens, and what is soft is nearer to everybody: only volumes that
        went through it, too, are a null for those that it made. Without one they stay as they are.
        """
        if self.decoder is None:
            return list(crisp)
        tasks = []
        for done, one in enumerate(crisp, 1):
            tasks.append(self._finish(one, True))
            yield Progress(done, len(crisp), f"decoded {one.name}")
        return tasks

    def calibrate(
        self, validation: Sequence[SearchTask], plants: Sequence[PlantedVolume]
    ) -> Generator[Progress, None, DetectorCalibration]:
        """Search for validation volumes and for planted ones, and learn null and limits.

        Raises
        ------
        BadInput
            Training or validation vectors that are all (nearly) equal, or a volume that does not
            do.
        """
        # Before the hours that the search takes.
        for tasks, split in ((self.training, Split.TRAINING), (validation, Split.VALIDATION)):
            refuse_equal_vectors([t.vector for t in tasks if t.vector is not None], split)
        others = yield from self.decode(validation)
        perturbed = yield from self.perturb(plants, self.training, "planted")
        found = yield from self.search.run([*others, *perturbed])
        n, settings = len(others), self.settings
        null = NullDistribution(
            np.array([f.score for f in found[:n]]),
            [task.subject for task in others],
            np.array([self.measure_sharpness(task) for task in others]),
        )
        key = hash_json(
            [
                self.search.key,
                self.embedder_hash,
                [settings.proposed, settings.planted, settings.seed],
                # The keys of decoded volumes name the autoencoder as well.
                [[task.key, task.subject] for task in others],
            ]
        )
        limits = fit_class_limits(null, plants, found[n:], settings.seed)
        return DetectorCalibration(null, limits, plants, found[n:], self.decoder is not None, key)

    def judge(
        self, calibration: DetectorCalibration, synthetic: Sequence[SearchTask]
    ) -> Generator[Progress, None, BatchVerdicts]:
        """Search for a batch of synthetic volumes and decide; each verdict depends on all."""
        found = yield from self.search.run(synthetic)
        return decide(
            np.array([f.score for f in found]),
            calibration.null,
            calibration.limits,
            q=self.settings.q,
            sharpness=np.array([self.measure_sharpness(task) for task in synthetic]),
            found=found,
        )

    def record(
        self, calibration: DetectorCalibration, judgement: BatchVerdicts
    ) -> CalibrationRecord:
        """Return what stands behind a judgement, to be kept with it."""
        search = self.search.search
        return CalibrationRecord.of(
            judgement,
            n_planted=len(calibration.plants) // len(LIMIT_KINDS),
            retrieved=search.retrieved,
            verified=search.verified,
            search_hash=search.hash,
            seed=self.settings.seed,
            decoded=calibration.decoded,
            detector_hash=calibration.hash,
            proposed=self.settings.proposed if self.search.index is not None else 0,
        )

    def measure_sharpness(self, task: SearchTask) -> float:
        """Return how sharp a volume is; see `sharpness.compute_sharpness`."""
        key = hash_json(["sharpness", sharpness.VERSION, task.key])
        return float(
            self.store.get(key, lambda: np.array([sharpness.compute_sharpness(task.load())]))[0]
        )

    def _finish(self, task: SearchTask, as_generated: bool) -> SearchTask:
        """Return the task of a volume decoded and embedded; both are kept."""
        key, load = task.key, task.load
        if self.decoder is not None and as_generated:
            key = hash_json(["decoded", key, self.decoder.hash])
            load = self.store.open_volume(key, partial(_decode_volume, self.decoder, load))
        vector = None
        if self.embed is not None:
            embed = self.embed
            vector = self.store.get(
                compute_vector_key(key, self.embedder_hash), lambda: embed(load()[None, None])[0]
            )
        return SearchTask(key, load, vector, task.subject, task.name)


def _decode_volume(decoder: Callable[[Array], Array], load: Callable[[], Array]) -> Array:
    return decoder(load())
