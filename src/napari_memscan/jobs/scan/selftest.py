"""A study's detector measured on copies planted in the study."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from napari_memscan.errors import BadInput
from napari_memscan.jobs.scan.volumes import list_entries, open_chain, prepare_splits
from napari_memscan.progress import Progress
from napari_memscan.study import Study
from napari_memscan.typing import Split, Verdict

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

    from napari_memscan.detection.decision.judgement import NullDistribution
    from napari_memscan.detection.planting.perturbations import KINDS, MAX_STRENGTH, RANGES
    from napari_memscan.detection.planting.selftest import SelfTest, list_weaknesses, measure_kinds

    if n < 1:
        raise BadInput(f"{n} planted volumes of each kind; at least 1 is needed, 10 are usual.")
    if not 0 < level < 1:
        raise BadInput(f"level {level}: a share between 0 and 1 is expected, such as 0.05.")
    if not 1 <= strength <= MAX_STRENGTH:
        raise BadInput(f"strength {strength:g}: from 1 to {MAX_STRENGTH:g} is expected.")
    with study.lock("measure its detector"):
        tasks = yield from prepare_splits(
            study, list_entries(study, Split.TRAINING, Split.VALIDATION, Split.UNSEEN)
        )
        training, validation = tasks[Split.TRAINING], tasks[Split.VALIDATION]
        unrelated = tasks[Split.UNSEEN] or validation
        chain, shape = open_chain(study, training), study.config.preprocessing.shape
        base = yield from chain.calibrate(validation, chain.draw_for_limits(shape))
        kinds = [kind for kind in KINDS if not kind.startswith("registered")]
        plants = chain.draw(kinds, n, training, shape, SELFTEST_SEED)
        usual = len(plants)
        if strength > 1:
            plants += chain.draw(list(RANGES), n, training, shape, SELFTEST_SEED, strength=strength)
        n_others = min(n * 2, len(unrelated))
        others = chain.draw(
            UNRELATED_KINDS, n_others, unrelated, shape, SELFTEST_SEED, Verdict.NOVEL
        )
        asked = yield from chain.perturb(plants, training, "planted")
        asked += yield from chain.perturb(others, unrelated, "unrelated")
        found = yield from chain.search.run(asked)
        whole = base.null.nearest_per_subject().scores
        nulls = [whole] * len(plants)
        for one in others:
            source = unrelated[one.source]
            left = [
                (score, subject)
                for score, subject, of in zip(
                    base.null.scores, base.null.subjects or [], validation, strict=True
                )
                if of is not source and not (subject and subject == source.subject)
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
            k=chain.search.search.retrieved,
            n_training=len(training),
            n_null=len(whole),
            displacement_limit=base.limits.displacement_limit_,
            novel_limit=base.limits.novel_limit_,
            embedder=study.embedder().name,
            search_hash=chain.search.search.hash,
            detector_hash=base.hash,
            seed=study.config.seed,
            harder=harder,
            strength=strength,
            notes=(
                *list_weaknesses(
                    results, chain.search.search.retrieved, len(whole), level, harder, strength
                ),
                *([DECODED_NOTE] if base.decoded else []),
            ),
        )
        result.save(study.scan_dir)
        return result
