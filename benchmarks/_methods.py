"""The ways to find copies that `benchmarks/detection.py` compares, behind one interface.

Each is fitted to training and validation volumes and then judges batches. All but the paper's get
three classes by the same means: validation volumes and planted copies go through the same search,
and class limits, p-values and verdicts come from the same code.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from _cohorts import SETTINGS, SPACING, Batch, Split
from _generated import train_once
from napari_memscan.detection.decision.class_limits import ClassLimits
from napari_memscan.detection.decision.judgement import BatchVerdicts, NullDistribution, decide
from napari_memscan.detection.decision.thresholds import PaperRule
from napari_memscan.detection.planting.plants import LIMIT_KINDS, draw_planted_volumes
from napari_memscan.detection.retrieval.neighbours import NeighbourIndex
from napari_memscan.detection.retrieval.search import SearchResult
from napari_memscan.embedders.low_resolution import LowResolutionEmbedder
from napari_memscan.training.settings import EmbedderSettings, StructuralSettings, TrainingSettings

Q = 0.1
LEVELS = (0.05, 0.1)
"""Nominal false-discovery proportions that are tried."""

DEFAULT = "memscan+low-resolution"
"""What a study does that names no embedder."""


@dataclass
class Answer:
    """What a method says of a batch.

    Attributes
    ----------
    scores : array (m,)
        Larger is nearer.
    verdicts : list of str
        At `Q`.
    ranked : list of sequence of int
        Training volumes, best first, at most 20 (more where two retrievers propose).
    called : dict
        Nominal level to which are called copy or near-duplicate, (m,) of bool.
    copyness : array (m,)
        What copies are ranked by among all queries, larger is likelier one: the scores, or where
        displacements are known, those of queries that lie above the novel limit.
    null : array (n,)
        What the p-values rest on; empty without.
    floor : float or None
        Scores up to here are never called.
    own : list of str or None
        Verdicts with class limits from planted volumes of the setting's kinds alone; None where
        nothing is planted.
    seconds : float
        A query.
    found : tuple of Found
        Of methods that register; else empty.
    """

    scores: np.ndarray
    verdicts: list[str]
    ranked: list[Sequence[int]]
    called: dict[float, np.ndarray]
    copyness: np.ndarray = field(default_factory=lambda: np.empty(0))
    null: np.ndarray = field(default_factory=lambda: np.empty(0))
    floor: float | None = None
    own: list[str] | None = None
    seconds: float = 0.0
    found: tuple = ()


def reset_peak() -> None:
    """Forget the peak memory of this process, where the system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_megabytes() -> float:
    """Return the peak memory of this process since `reset_peak` (VmHWM), in MB."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    line = next(row for row in status.read_text().splitlines() if row.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def judge_scores(
    scores: np.ndarray,
    null: NullDistribution,
    limits: ClassLimits,
    planted: dict[str, list[float]],
    name: str,
    found: Sequence[SearchResult] = (),
    displaced: dict[str, list[float]] | None = None,
) -> Answer:
    """Return verdicts and calls on scores; what ranks the candidates is still to be filled in.

    `planted` are scores by kind, `displaced` the displacements of those whose source was found.
    """
    own = None
    if name in SETTINGS:
        copy, near = SETTINGS[name]
        alone = ClassLimits(seed=limits.seed, n_draws=1).fit(
            null.nearest_per_subject().scores,
            planted[near],
            planted[copy],
            displaced and (displaced[near], displaced[copy]),
        )
        own = [verdict for verdict, _ in decide(scores, null, alone, q=Q, found=found).verdicts]
    by_level: dict[float, BatchVerdicts] = {
        q: decide(scores, null, limits, q=q, found=found) for q in LEVELS
    }
    return Answer(
        scores,
        [verdict for verdict, _ in by_level[Q].verdicts],
        [],
        {q: one.decision.rejected for q, one in by_level.items()},
        _copyness(scores, limits, found),
        null.nearest_per_subject().scores,
        limits.novel_limit_,
        own,
    )


def _copyness(scores: np.ndarray, limits: ClassLimits, found: Sequence[SearchResult]) -> np.ndarray:
    if not found or limits.novel_limit_ is None:
        return scores
    moved = np.array([one.displacement for one in found])
    # What is no nearer than strangers is no copy, however little of it has moved.
    return np.where(scores > limits.novel_limit_, -moved, scores - 1 - moved.max() - 1)


class WholeVolume:
    """Compares a query with every training volume as they lie: no pose, no registration.

    `compare` maps (query, all training volumes) to similarities (n_training,).
    """

    def __init__(self, compare: Callable[[np.ndarray], Callable], n_planted: int) -> None:
        self.compare, self.n_planted = compare, n_planted

    def fit(self, study: Split) -> None:
        """Learn null and class limits as `CopyDetector.fit` does."""
        training, validation = study.training, study.validation
        decode = study.decode or (lambda volume: volume)
        self.similarities = self.compare(training.volumes)
        null = []
        for volume, subject in zip(validation.volumes, validation.subjects, strict=True):
            found = self.similarities(decode(volume))
            found[[i for i, other in enumerate(training.subjects) if other == subject]] = -np.inf
            null.append(found.max())
        self.null = NullDistribution(np.array(null, float), validation.subjects)
        self.planted: dict[str, list[float]] = {}
        for kinds in LIMIT_KINDS.values():
            sources = range(len(training.volumes))
            for p in draw_planted_volumes(
                kinds, self.n_planted, sources, study.shape, (study.seed, 1)
            ):
                volume = decode(p.load(lambda p=p: training.volumes[p.source], SPACING))
                self.planted.setdefault(p.kind, []).append(float(self.similarities(volume).max()))
        by_label = {
            label: [score for kind in kinds for score in self.planted[kind]]
            for label, kinds in LIMIT_KINDS.items()
        }
        self.limits = ClassLimits(seed=study.seed).fit(
            self.null.nearest_per_subject().scores, by_label["near-duplicate"], by_label["copy"]
        )

    def answer(self, batch: Batch) -> Answer:
        """Judge a batch."""
        start = time.perf_counter()
        all_scores = [self.similarities(volume) for volume in batch.volumes]
        scores = np.array([s.max() for s in all_scores], float)
        answer = judge_scores(scores, self.null, self.limits, self.planted, batch.name)
        answer.ranked = [np.argsort(-s, kind="stable")[:20] for s in all_scores]
        answer.seconds = (time.perf_counter() - start) / len(batch.volumes)
        return answer


def correlation(training: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Compare by Pearson's correlation of all voxels (Akbar et al. 2023, arXiv 2305.07644)."""
    index = NeighbourIndex().fit(training.reshape(len(training), -1))

    def similarities(volume: np.ndarray) -> np.ndarray:
        values, rows = index.kneighbors(volume.reshape(1, -1), len(training))
        result = np.empty(len(training))
        result[rows[0]] = values[0]
        return result

    return similarities


def ssim(training: np.ndarray, window: int = 7) -> Callable[[np.ndarray], np.ndarray]:
    """Compare by SSIM in uniform windows, intensities spanning 1 (Wang et al. 2004)."""
    from scipy.ndimage import uniform_filter

    c1, c2 = 0.01**2, 0.03**2

    def moments(volume: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = uniform_filter(volume, window)
        return mean, uniform_filter(volume * volume, window) - mean * mean

    known = [moments(volume) for volume in training]

    def similarities(volume: np.ndarray) -> np.ndarray:
        mean, spread = moments(volume)
        result = np.empty(len(training))
        for i, (other, (its_mean, its_spread)) in enumerate(zip(training, known, strict=True)):
            product = mean * its_mean
            together = uniform_filter(volume * other, window) - product
            numerator = (2 * product + c1) * (2 * together + c2)
            denominator = (mean**2 + its_mean**2 + c1) * (spread + its_spread + c2)
            result[i] = (numerator / denominator).mean()
        return result

    return similarities


def paper_settings(n_training: int, shape: tuple[int, int, int], epochs: int) -> EmbedderSettings:
    """Return the authors' settings; their batches of 10, so many epochs, at half resolution.

    At full resolution of these small volumes a step takes six times as long.
    """
    x, y, z = (max(8, n // 2 // 8 * 8) for n in shape)
    return EmbedderSettings(
        steps=max(1, epochs * n_training // 10),
        batch=10,
        learning_rate=1e-4,
        working_shape=(x, y, z),
        downsample=(8, 8, 8),
        n_hiddens=16,
        dim=32,
        temperature=0.07,
        flip_axes=(0,),
        degrees=5.0,
        blur=0.0,
        noise=0.0,
    )


class Paper:
    """Dar et al. 2023: contrastive embedder and tau of the 95th percentile; copy or not."""

    def __init__(self, folder: Path, epochs: int) -> None:
        self.folder, self.epochs = folder, epochs

    def fit(self, study: Split) -> None:
        """Train the embedder, unless it is there, and set tau."""
        settings = paper_settings(len(study.training.volumes), study.shape, self.epochs)
        self.embed = train_embedder(self.folder, study, settings)
        training = self._vectors(study.training.volumes)
        self.index = NeighbourIndex().fit(training)
        self.rule = PaperRule().fit(training, self._vectors(study.validation.volumes))

    def answer(self, batch: Batch) -> Answer:
        """Judge a batch."""
        start = time.perf_counter()
        found, rows = self.index.kneighbors(self._vectors(batch.volumes), min(20, self.index_size))
        called = self.rule.is_copy(found[:, 0])
        verdicts = ["copy" if one else "novel" for one in called]
        seconds = (time.perf_counter() - start) / len(batch.volumes)
        return Answer(
            found[:, 0].astype(float),
            verdicts,
            list(rows),
            dict.fromkeys(LEVELS, called),
            seconds=seconds,
        )

    def _vectors(self, volumes: Sequence[np.ndarray]) -> np.ndarray:
        vectors = np.concatenate([self.embed(volume[None, None]) for volume in volumes])
        self.index_size = getattr(self, "index_size", len(vectors))
        return vectors


def train_embedder(
    folder: Path, study: Split, settings: TrainingSettings
) -> Callable[[np.ndarray], np.ndarray]:
    """Train an embedder on the training volumes, or take the one that is there."""
    from napari_memscan.embedders.loading import load_embedder

    train_once("embedder", folder, study.training.volumes, settings)
    return load_embedder(folder, device="cpu").embed


class CachingVerifier:
    """A verifier that makes no comparison twice: chains with other embedders share most of them.

    `seconds` are what all comparisons took, those that were remembered counted as when made.
    """

    def __init__(self, verifier, memory: dict) -> None:
        self.verifier, self.memory, self.seconds, self.repeated = verifier, memory, 0.0, 0.0
        self.hash = verifier.hash

    def verify(self, query, training, poses):
        digest = hashlib.blake2b(digest_size=16)
        for part in (query, training, *poses):
            digest.update(np.ascontiguousarray(part).tobytes())
        key = digest.digest()
        if key in self.memory:
            self.repeated += self.memory[key][1]
        else:
            start = time.perf_counter()
            evidence = self.verifier.verify(query, training, poses)
            self.memory[key] = (evidence, time.perf_counter() - start)
        evidence, seconds = self.memory[key]
        self.seconds += seconds
        return evidence


class Chain:
    """The project's detector: `CopyDetector`, with or without an embedder beside its correlator."""

    def __init__(
        self,
        memory: dict,
        n_planted: int,
        verified: int,
        embed: Callable[[Split], Callable] | None = None,
    ) -> None:
        self.memory, self.n_planted, self.verified = memory, n_planted, verified
        self.embed = embed

    def fit(self, study: Split) -> None:
        """Train the embedder, unless it is there, and fit the detector."""
        from napari_memscan.detection.detector import CopyDetector
        from napari_memscan.detection.retrieval.search import Search

        embed = None if self.embed is None else self.embed(study)
        search = Search(verified=self.verified)
        self.verifier = search.verifier = CachingVerifier(search.verifier, self.memory)
        training, validation = study.training, study.validation
        self.detector = CopyDetector(
            search, q=Q, n_planted=self.n_planted, embed=embed, decode=study.decode, seed=study.seed
        ).fit(
            training.volumes, validation.volumes, subjects=(training.subjects, validation.subjects)
        )

    def answer(self, batch: Batch) -> Answer:
        """Judge a batch."""
        self.verifier.repeated = 0.0
        start = time.perf_counter()
        judgement = self.detector.predict(batch.volumes)
        seconds = time.perf_counter() - start + self.verifier.repeated
        planted: dict[str, list[float]] = {}
        displaced: dict[str, list[float]] = {}
        for one, found in zip(self.detector.plants_, self.detector.planted_, strict=True):
            planted.setdefault(one.kind, []).append(found.score)
            if found.index == one.source:
                displaced.setdefault(one.kind, []).append(found.displacement)
        null, limits = self.detector.null_, self.detector.limits_
        answer = judge_scores(
            judgement.scores, null, limits, planted, batch.name, judgement.found, displaced
        )
        assert answer.verdicts == [verdict for verdict, _ in judgement.verdicts]
        answer.ranked = [found.retrieved for found in judgement.found]
        answer.found = judgement.found
        answer.seconds = seconds / len(batch.volumes)
        return answer


def make_methods(
    work: Path, study: Split, n_planted: int, embedders: bool, short: float, verified: int
) -> dict:
    """Return every method by name; `short` below 1 trains embedders for that share of the steps."""

    def shortened(settings: TrainingSettings) -> TrainingSettings:
        batch = min(settings.batch, len(study.training.volumes))
        steps = max(1, round(settings.steps * short))
        return settings.model_copy(update={"steps": steps, "batch": batch})

    memory: dict = {}
    found = {
        "correlation": WholeVolume(correlation, n_planted),
        "SSIM": WholeVolume(ssim, n_planted),
        "Dar et al.": Paper(work / "paper", max(1, round(200 * short))),
        "memscan": Chain(memory, n_planted, verified),
        DEFAULT: Chain(memory, n_planted, verified, lambda _: LowResolutionEmbedder().embed),
    }
    if embedders:
        for kind, settings in (
            ("structural", StructuralSettings()),
            ("contrastive", EmbedderSettings()),
        ):
            trained = partial(train_embedder, work / kind, settings=shortened(settings))
            found[f"memscan+{kind}"] = Chain(memory, n_planted, verified, trained)
    return found
