"""Asks the denoiser of a study whether it tells training from validation volumes."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING

from napari_memscan.errors import BadInput
from napari_memscan.files import hash_json, write_json
from napari_memscan.jobs.models.new_study import check_generator
from napari_memscan.jobs.scan.volumes import StudyVolumes
from napari_memscan.progress import Progress
from napari_memscan.study import Study
from napari_memscan.typing import Split

if TYPE_CHECKING:
    from napari_memscan.detection.membership.result import MembershipResult
    from napari_memscan.generators.interface import VolumeGenerator
    from napari_memscan.typing import Array
    from napari_memscan.volumes.cache import ArrayCache
    from napari_memscan.volumes.cohort import CohortRow

FILE = "membership.json"


def evaluate_membership(
    study: Study, attack: str = "all", *, seed: int | None = None, same_condition: bool = False
) -> Generator[Progress, None, MembershipResult]:
    """Score training and validation volumes by what the denoiser makes of them, save the result.

    Volumes go through the preprocessing in the model's recipe, which need not be the study's.
    Scores are kept in the cache: a job that was stopped goes on.

    Parameters
    ----------
    study : Study
        Its generator must be an LDM.
    attack : {"all", "loss", "secmi", "pia"}
        See `detection.membership.attacks`.
    seed : int, optional
        Of drawn noise, bootstrap and shuffling; default the study's.
    same_condition : bool
        The condition in the recipe is that of every volume. Of a model that knows conditions by
        name each volume has its own, from the cohort.

    Yields
    ------
    Progress
        After each volume.

    Returns
    -------
    MembershipResult
        Also in the study's ``scan/membership.json``, whole or not at all.

    Raises
    ------
    BadInput
        The volumes were made elsewhere, a volume does not do, or the denoiser needs a condition
        that nobody knows.
    """
    from napari_memscan.detection.membership.attacks import select_attacks
    from napari_memscan.detection.membership.inference import infer_membership
    from napari_memscan.detection.membership.noise import NoisePredictor

    seed = study.config.seed if seed is None else seed
    if seed < 0:
        raise BadInput(f"seed {seed}: seeds are numbers from 0 on.")
    attacks = select_attacks(attack, seed)
    config = study.config.generator
    if config is not None and config.external:
        raise BadInput(
            f"{study.folder}: its synthetic volumes were made elsewhere. Membership inference asks "
            "the denoiser itself; choose an LDM checkpoint as the study's generator."
        )
    with study.lock("infer membership"):
        generator = study.generator()
        checked = check_generator(study, generator)
        predictor = NoisePredictor(generator.model, generator.device, same_condition)
        training, validation = (study.cohort.rows(s) for s in (Split.TRAINING, Split.VALIDATION))
        rows = [*training, *validation]
        recipe, told = predictor.recipe.preprocessing, predictor.recipe.conditioning
        known = () if told is None else told.classes

        def read(path: str) -> Array:
            return recipe.apply(study.volume(path))

        found = infer_membership(
            StudyVolumes(read, [r.path for r in training]),
            StudyVolumes(read, [r.path for r in validation]),
            predictor,
            attacks,
            training_names=[r.name for r in training],
            validation_names=[r.name for r in validation],
            training_subjects=[r.subject_id for r in training],
            validation_subjects=[r.subject_id for r in validation],
            hashes=[recipe.key(study.content_key(row.path)) for row in rows],
            conditions=[row.condition for row in rows] if known else (),
            checkpoint_hash=generator.checkpoint_hash,
            cache=study.cache,
            threads=_choose_threads(study.cache, generator),
            seed=seed,
            warnings=[
                *study.cohort.warnings,
                *generator.report.warnings,
                *checked,
                *_warn_unknown_conditions(rows, known),
            ],
        )
        while True:
            try:
                done = next(found)
            except StopIteration as end:
                result: MembershipResult = end.value
                break
            row = rows[done - 1]
            yield Progress(done, len(rows), f"scored {row.name} ({row.split})")
        write_json(study.scan_dir / FILE, result.to_dict())
        return result


def _warn_unknown_conditions(rows: Sequence[CohortRow], known: Sequence[str]) -> Iterator[str]:
    n = sum(row.condition not in known for row in rows)
    if known and n:
        yield (
            f"{n} of {len(rows)} volumes have no condition in cohort.csv that the model knows "
            f"({', '.join(known)}); of these the denoiser was told none. Where training told it "
            "one, scores are off."
        )


def _choose_threads(cache: ArrayCache, generator: VolumeGenerator) -> int:
    """Return the number of threads, the first choice kept with the scores; see `choose_threads`."""
    if generator.device.type != "cpu":
        return 0
    import numpy as np
    import torch

    key = hash_json(["threads", "membership", generator.checkpoint_hash])
    return int(cache.get(key, lambda: np.array([torch.get_num_threads()]))[0])
