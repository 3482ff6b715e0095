"""Candidates of a study proven in image space, and what the verdicts are calibrated on."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_memscan.files import hash_of
from napari_memscan.jobs.progress import Progress
from napari_memscan.jobs.scan.plants import for_limits, planted, strangers
from napari_memscan.jobs.scan.search import StudySearch, Task, plain
from napari_memscan.study import Study

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_memscan.detection.decision.class_limits import ClassLimits
    from napari_memscan.detection.detector import Null

    Array = NDArray[np.float32]
    Vectors = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Base:
    """What verdicts of a study are calibrated on.

    Attributes
    ----------
    null : Null
        Of the validation volumes.
    limits : ClassLimits
        Learnt from planted volumes.
    n_planted : int
        Planted copies, and as many near-duplicates.
    decoded : bool
        All of these volumes went through the autoencoder of the study's generator first.
    hash : str
        See `Calibration.detector_hash`.
    """

    null: Null
    limits: ClassLimits
    n_planted: int
    decoded: bool
    hash: str


def calibrated(
    study: Study, search: StudySearch, validation: Sequence[Task]
) -> Generator[Progress, None, Base]:
    """Search for validation volumes and for planted ones, and learn null and limits.

    Both as the study's generator would have made them, where it has an autoencoder that fits.

    Parameters
    ----------
    study : Study
    search : StudySearch
    validation : sequence of Task
        As they are.
    """
    import numpy as np

    from napari_memscan.detection.detector import Null, learnt
    from napari_memscan.detection.planting.plants import LIMIT_KINDS
    from napari_memscan.detection.statistics.equality import refuse_equal_vectors

    # Before the hours that the search takes.
    refuse_equal_vectors(search.index.vectors_, "training")
    refuse_equal_vectors([task.vector for task in validation], "validation")
    config = study.config
    plants = for_limits(study, search.training)
    others = yield from strangers(study, validation)
    perturbed = yield from planted(study, plants, search.training, search.spacing, "planted")
    found = yield from search.run([*others, *perturbed])
    n = len(others)
    null = Null(
        np.array([f.score for f in found[:n]]),
        [task.subject for task in others],
        np.array([sharpness_of(study, task) for task in others]),
    )
    limits = learnt(null, plants, found[n:], config.seed)
    decoded = [a.key != b.key for a, b in zip(validation, others, strict=True)]
    asked = config.verification
    key = hash_of(
        [
            search.key,
            study.embedder().hash,
            [asked.proposed, asked.planted, config.seed],
            # The keys of decoded volumes name the autoencoder as well.
            [[task.key, task.subject] for task in others],
        ]
    )
    return Base(null, limits, len(plants) // len(LIMIT_KINDS), all(decoded), key)


def judged(
    study: Study, paths: dict[str, list[str]], vectors: dict[str, Vectors]
) -> Generator[Progress, None, dict[str, Any]]:
    """Search for validation, planted and synthetic volumes, and judge the last by the others.

    Returns
    -------
    dict
        ``judgement``, ``calibration`` and ``null_scores`` of `scan_vectors`.
    """
    import numpy as np

    from napari_memscan.detection.detector import judge
    from napari_memscan.detection.results.calibration_record import Calibration

    search = StudySearch(study, paths["training"], vectors["training"])
    subjects = [row.subject_id for row in study.cohort.rows("validation")]
    validation = [
        plain(study, path, vector, subject)
        for path, vector, subject in zip(
            paths["validation"], vectors["validation"], subjects, strict=True
        )
    ]
    base = yield from calibrated(study, search, validation)
    synthetic = [
        plain(study, path, vector)
        for path, vector in zip(paths["synthetic"], vectors["synthetic"], strict=True)
    ]
    found = yield from search.run(synthetic)
    judgement = judge(
        np.array([f.score for f in found]),
        base.null,
        base.limits,
        q=study.config.rule.q,
        sharpness=np.array([sharpness_of(study, task) for task in synthetic]),
        found=found,
    )
    return {
        "judgement": judgement,
        "calibration": Calibration.of(
            judgement,
            n_planted=base.n_planted,
            retrieved=search.search.retrieved,
            verified=search.search.verified,
            search_hash=search.search.hash,
            seed=study.config.seed,
            decoded=base.decoded,
            detector_hash=base.hash,
            proposed=study.config.verification.proposed,
        ),
        "null_scores": base.null.one_each().scores.tolist(),
    }


def sharpness_of(study: Study, task: Task) -> float:
    """Return how sharp a volume is, from the cache where it is there."""
    import numpy as np

    from napari_memscan.detection.decision.sharpness import sharpness

    key = hash_of(["sharpness", task.key])
    return float(study.cache.get(key, lambda: np.array([sharpness(task.load())]))[0])
