"""Candidates of a study proven in image space, and what the verdicts are calibrated on."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_memscan.files import hash_json
from napari_memscan.jobs.progress import Progress
from napari_memscan.jobs.scan.plants import (
    decode_validation,
    draw_limit_plants,
    prepare_plant_tasks,
)
from napari_memscan.jobs.scan.search import SearchTask, StudySearch, prepare_task
from napari_memscan.study import Study

if TYPE_CHECKING:
    from napari_memscan.detection.decision.class_limits import ClassLimits
    from napari_memscan.detection.detector import NullDistribution
    from napari_memscan.typing import Vectors


@dataclass(frozen=True, eq=False)
class DetectorCalibration:
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

    null: NullDistribution
    limits: ClassLimits
    n_planted: int
    decoded: bool
    hash: str


def calibrate_detector(
    study: Study, search: StudySearch, validation: Sequence[SearchTask]
) -> Generator[Progress, None, DetectorCalibration]:
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

    from napari_memscan.detection.detector import NullDistribution, fit_class_limits
    from napari_memscan.detection.planting.plants import LIMIT_KINDS
    from napari_memscan.detection.statistics.equality import refuse_equal_vectors

    # Before the hours that the search takes.
    refuse_equal_vectors(search.index.vectors_, "training")
    refuse_equal_vectors([task.vector for task in validation], "validation")
    config = study.config
    plants = draw_limit_plants(study, search.training)
    others = yield from decode_validation(study, validation)
    perturbed = yield from prepare_plant_tasks(
        study, plants, search.training, search.spacing, "planted"
    )
    found = yield from search.run([*others, *perturbed])
    n = len(others)
    null = NullDistribution(
        np.array([f.score for f in found[:n]]),
        [task.subject for task in others],
        np.array([compute_task_sharpness(study, task) for task in others]),
    )
    limits = fit_class_limits(null, plants, found[n:], config.seed)
    decoded = [a.key != b.key for a, b in zip(validation, others, strict=True)]
    asked = config.verification
    key = hash_json(
        [
            search.key,
            study.embedder().hash,
            [asked.proposed, asked.planted, config.seed],
            # The keys of decoded volumes name the autoencoder as well.
            [[task.key, task.subject] for task in others],
        ]
    )
    return DetectorCalibration(null, limits, len(plants) // len(LIMIT_KINDS), all(decoded), key)


def classify_samples(
    study: Study, paths: dict[str, list[str]], vectors: dict[str, Vectors]
) -> Generator[Progress, None, dict[str, Any]]:
    """Search for validation, planted and synthetic volumes, and judge the last by the others.

    Returns
    -------
    dict
        ``judgement``, ``calibration`` and ``null_scores`` of `scan_vectors`.
    """
    import numpy as np

    from napari_memscan.detection.detector import decide
    from napari_memscan.detection.results.calibration_record import CalibrationRecord

    search = StudySearch(study, paths["training"], vectors["training"])
    subjects = [row.subject_id for row in study.cohort.rows("validation")]
    validation = [
        prepare_task(study, path, vector, subject)
        for path, vector, subject in zip(
            paths["validation"], vectors["validation"], subjects, strict=True
        )
    ]
    base = yield from calibrate_detector(study, search, validation)
    synthetic = [
        prepare_task(study, path, vector)
        for path, vector in zip(paths["synthetic"], vectors["synthetic"], strict=True)
    ]
    found = yield from search.run(synthetic)
    judgement = decide(
        np.array([f.score for f in found]),
        base.null,
        base.limits,
        q=study.config.rule.q,
        sharpness=np.array([compute_task_sharpness(study, task) for task in synthetic]),
        found=found,
    )
    return {
        "judgement": judgement,
        "calibration": CalibrationRecord.of(
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
        "null_scores": base.null.nearest_per_subject().scores.tolist(),
    }


def compute_task_sharpness(study: Study, task: SearchTask) -> float:
    """Return how sharp a volume is, from the cache where it is there."""
    import numpy as np

    from napari_memscan.detection.decision.sharpness import compute_sharpness

    key = hash_json(["sharpness", task.key])
    return float(study.cache.get(key, lambda: np.array([compute_sharpness(task.load())]))[0])
