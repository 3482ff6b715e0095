"""A study's detector measured on copies planted in the study."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.errors import BadInput
from napari_memscan.jobs.progress import Progress
from napari_memscan.study import Study
from napari_memscan.typing import Verdict

if TYPE_CHECKING:
    from napari_memscan.detection.planting.selftest import SelfTest

SELFTEST_SEED = 2
"""Planted volumes of the self-test are not those that limits were learnt from."""

DECODED_NOTE = (
    "Every planted and every unrelated volume went through the generator's autoencoder first, as "
    "those that it makes do."
)

UNRELATED_KINDS = ("unchanged", "all at once")
"""What is done to unrelated volumes, to count false calls."""


def run_selftest(
    study: Study, n: int = 10, level: float = 0.05, strength: float = 2.0
) -> Generator[Progress, None, SelfTest]:
    """Plant perturbed copies of a study's training volumes and count what its detector finds.

    Parameters
    ----------
    study : Study
        Needs no synthetic volumes.
    n : int
        Planted volumes of each kind.
    level : float
        Share of false calls allowed for.
    strength : float
        Kinds that have a strength are planted so many times as strong as well, to see where the
        detector stops working; up to 3. 1 leaves that out.

    Yields
    ------
    Progress
        After each volume. Stopped, it goes on where it stopped.

    Returns
    -------
    SelfTest
        Also in the study's ``scan/selftest.json``.

    Notes
    -----
    Limits are learnt from other planted volumes than those reported here, and unrelated volumes
    are judged by a null without their own subject. Where the cohort has ``unseen`` volumes these
    are the unrelated ones, else validation volumes are.
    """
    import numpy as np

    from napari_memscan.detection.detector import NullDistribution
    from napari_memscan.detection.planting.perturbations import KINDS, MAX_STRENGTH, RANGES
    from napari_memscan.detection.planting.selftest import SelfTest, list_weaknesses, measure_kinds
    from napari_memscan.jobs.scan.plants import draw_study_plants, prepare_plant_tasks
    from napari_memscan.jobs.scan.scan import iter_embeddings
    from napari_memscan.jobs.scan.search import StudySearch, prepare_task
    from napari_memscan.jobs.scan.verify import calibrate_detector

    if n < 1:
        raise BadInput(f"{n} planted volumes of each kind; at least 1 is needed, 10 are usual.")
    if not 0 < level < 1:
        raise BadInput(f"level {level}: a share between 0 and 1 is expected, such as 0.05.")
    if not 1 <= strength <= MAX_STRENGTH:
        raise BadInput(f"strength {strength:g}: from 1 to {MAX_STRENGTH:g} is expected.")
    with study.lock("measure its detector"):
        rows = {s: study.cohort.rows(s) for s in ("training", "validation", "unseen")}
        unrelated = rows["unseen"] or rows["validation"]
        every = [row.path for split in rows.values() for row in split]
        vectors: dict[str, Any] = {}
        for done, (path, vector) in enumerate(
            zip(every, iter_embeddings(study, every), strict=True), 1
        ):
            vectors[path] = vector
            yield Progress(done, len(every), f"embedded {Path(path).name}")
        training = [row.path for row in rows["training"]]
        search = StudySearch(study, training, np.stack([vectors[path] for path in training]))
        base = yield from calibrate_detector(
            study,
            search,
            [
                prepare_task(study, row.path, vectors[row.path], row.subject_id)
                for row in rows["validation"]
            ],
        )
        kinds = [kind for kind in KINDS if not kind.startswith("registered")]
        plants = draw_study_plants(study, kinds, n, training, SELFTEST_SEED)
        usual = len(plants)
        if strength > 1:
            plants += draw_study_plants(
                study, list(RANGES), n, training, SELFTEST_SEED, strength=strength
            )
        of_others = [row.path for row in unrelated]
        n_others = min(n * 2, len(unrelated))
        others = draw_study_plants(
            study, UNRELATED_KINDS, n_others, of_others, SELFTEST_SEED, Verdict.NOVEL
        )
        tasks = yield from prepare_plant_tasks(study, plants, training, search.spacing, "planted")
        more = yield from prepare_plant_tasks(study, others, of_others, search.spacing, "unrelated")
        found = yield from search.run([*tasks, *more])
        whole = base.null.nearest_per_subject().scores
        nulls = [whole] * len(plants)
        for one in others:
            row = unrelated[one.source]
            left = [
                (score, subject)
                for score, subject, of in zip(
                    base.null.scores, base.null.subjects or [], rows["validation"], strict=True
                )
                if of.path != row.path and not (subject and subject == row.subject_id)
            ]
            scores = np.array([score for score, _ in left])
            nulls.append(
                NullDistribution(scores, [subject for _, subject in left])
                .nearest_per_subject()
                .scores
            )
        harder = measure_kinds(
            plants[usual:],
            found[usual : len(plants)],
            nulls[usual : len(plants)],
            base.limits,
            level,
        )
        results = measure_kinds(
            [*plants[:usual], *others],
            [*found[:usual], *found[len(plants) :]],
            [*nulls[:usual], *nulls[len(plants) :]],
            base.limits,
            level,
        )
        result = SelfTest(
            kinds=results,
            level=level,
            k=search.search.retrieved,
            n_training=len(training),
            n_null=len(whole),
            displacement_limit=base.limits.displacement_limit_,
            novel_limit=base.limits.novel_limit_,
            embedder=study.embedder().name,
            search_hash=search.search.hash,
            detector_hash=base.hash,
            seed=study.config.seed,
            harder=harder,
            strength=strength,
            notes=(
                *list_weaknesses(
                    results, search.search.retrieved, len(whole), level, harder, strength
                ),
                *([DECODED_NOTE] if base.decoded else []),
            ),
        )
        result.save(study.scan_dir)
        return result
