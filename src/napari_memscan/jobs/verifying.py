"""Candidates of a study proven in image space, and what the verdicts are calibrated on."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_memscan.files import hash_of
from napari_memscan.jobs.planting import planted
from napari_memscan.jobs.progress import Progress
from napari_memscan.jobs.searching import StudySearch, Task, plain
from napari_memscan.study import Study

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_memscan.detection.detector import Null, PosedLimits

    Array = NDArray[np.float32]
    Vectors = NDArray[np.float32]


LIMITS_SEED = 1
"""Planted volumes that limits are learnt from; those of the self-test have another."""


@dataclass(frozen=True, eq=False)
class Base:
    """What verdicts of a study are calibrated on.

    Attributes
    ----------
    null : Null
        Of the validation volumes.
    limits : PosedLimits
        Learnt from planted volumes.
    n_planted : int
        Planted copies, and as many near-duplicates.
    """

    null: Null
    limits: PosedLimits
    n_planted: int


def calibrated(
    study: Study, search: StudySearch, validation: Sequence[Task]
) -> Generator[Progress, None, Base]:
    """Search for validation volumes and for planted ones, and learn null and limits."""
    import numpy as np

    from napari_memscan.detection.detector import Null, PosedLimits
    from napari_memscan.detection.planting import LIMIT_KINDS, plant
    from napari_memscan.detection.sharpness import sharpness

    config = study.config
    plants = [
        one
        for kinds in LIMIT_KINDS.values()
        for one in plant(
            kinds,
            config.verification.planted,
            range(len(search.training)),
            config.preprocessing.shape,
            (config.seed, LIMITS_SEED),
        )
    ]
    perturbed = yield from planted(study, plants, search.training, search.spacing, "planted")
    found = yield from search.run([*validation, *perturbed])
    n = len(validation)
    rows = study.cohort.rows("validation")
    null = Null(
        np.array([f.score for f in found[:n]]),
        [row.subject_id for row in rows],
        np.array([_sharpness(study, row.path, sharpness) for row in rows]),
    )
    limits = PosedLimits(config.seed).fit(null.one_each().scores, plants, found[n:])
    return Base(null, limits, len(plants) // len(LIMIT_KINDS))


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

    from napari_memscan.detection.calibration import Calibration
    from napari_memscan.detection.detector import judge
    from napari_memscan.detection.sharpness import sharpness

    search = StudySearch(study, paths["training"], vectors["training"])
    subjects = [row.subject_id for row in study.cohort.rows("validation")]
    validation = [
        plain(study, path, vector, subject)
        for path, vector, subject in zip(
            paths["validation"], vectors["validation"], subjects, strict=True
        )
    ]
    base = yield from calibrated(study, search, validation)
    found = yield from search.run(
        [
            plain(study, path, vector)
            for path, vector in zip(paths["synthetic"], vectors["synthetic"], strict=True)
        ]
    )
    judgement = judge(
        np.array([f.score for f in found]),
        base.null,
        base.limits,
        q=study.config.rule.q,
        sharpness=np.array([_sharpness(study, path, sharpness) for path in paths["synthetic"]]),
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
        ),
        "null_scores": base.null.one_each().scores.tolist(),
    }


def _sharpness(study: Study, path: str, measure: Callable[[Array], float]) -> float:
    import numpy as np

    key = hash_of(["sharpness", study.array_key(path)])
    return float(study.cache.get(key, lambda: np.array([measure(study.array(path))]))[0])
