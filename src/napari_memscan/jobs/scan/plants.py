"""Perturbed volumes of a study, as its generator would give them back."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.files import hash_json
from napari_memscan.jobs.progress import Progress
from napari_memscan.jobs.scan.search import SearchTask, load_cached_volume
from napari_memscan.study import Study
from napari_memscan.typing import Verdict

if TYPE_CHECKING:
    from napari_memscan.detection.planting.plants import PlantedVolume
    from napari_memscan.typing import Array, Triple


LIMITS_SEED = 1
"""Planted volumes that limits are learnt from; those of the self-test have another."""


def draw_study_plants(
    study: Study,
    kinds: Sequence[str],
    n: int,
    paths: Sequence[str],
    seed: int,
    label: Verdict | None = None,
    strength: float = 1.0,
) -> list[PlantedVolume]:
    """Draw plants of a study's volumes.

    Which volumes, and what is done to each, is told by their content: one volume more changes few
    of them, and what was compared stays.

    Parameters
    ----------
    study : Study
    kinds : sequence of str
        Of `perturbations.KINDS`.
    n : int
        Plants of each kind.
    paths : sequence of str
        Volumes to draw from.
    seed : int
        Beside the study's.
    label, strength
        See `detection.planting.plant`.
    """
    from napari_memscan.detection.planting.plants import draw_planted_volumes

    config = study.config
    return draw_planted_volumes(
        kinds,
        n,
        range(len(paths)),
        config.preprocessing.shape,
        (config.seed, seed),
        label or None,
        [study.array_key(path) for path in paths],
        strength,
    )


def draw_limit_plants(study: Study, paths: Sequence[str]) -> list[PlantedVolume]:
    """Draw the plants that a study's class limits are learnt from."""
    from napari_memscan.detection.planting.plants import LIMIT_KINDS

    kinds = [kind for of in LIMIT_KINDS.values() for kind in of]
    return draw_study_plants(study, kinds, study.config.verification.planted, paths, LIMITS_SEED)


def prepare_plant_tasks(
    study: Study,
    plants: Sequence[PlantedVolume],
    paths: Sequence[str],
    spacing: Triple,
    what: str,
    as_generated: bool = True,
) -> Generator[Progress, None, list[SearchTask]]:
    """Return the tasks of perturbed volumes, each with its vector.

    Parameters
    ----------
    study : Study
    plants : sequence of Plant
    paths : sequence of str
        Volumes that ``Plant.source`` counts.
    spacing : (float, float, float)
        Voxel size in mm.
    what : str
        For people: what is planted.
    as_generated : bool
        They go through the autoencoder of the study's generator; not where they are compared with
        real volumes.
    """
    from dataclasses import asdict

    made, tasks = AutoencoderRoundTrip(study, as_generated), []
    for done, one in enumerate(plants, 1):
        path = paths[one.source]
        study.array(path)
        source = study.array_key(path)
        load = partial(one.load, partial(load_cached_volume, study.cache.path(source)), spacing)
        key = hash_json(["planted", source, asdict(one.perturbation), list(spacing)])
        name = f"{one.kind} of {Path(path).name}"
        tasks.append(made.task(key, load, "", name))
        yield Progress(done, len(plants), f"{what}: {name}")
    return tasks


def decode_validation(
    study: Study, crisp: Sequence[SearchTask]
) -> Generator[Progress, None, list[SearchTask]]:
    """Return volumes that are no copies as the study's generator would have made them.

    A generator's decoder softens, and what is soft is nearer to everybody: only volumes that went
    through it, too, are a null for those that it made.

    Parameters
    ----------
    study : Study
    crisp : sequence of Task
        As they are; returned unchanged where the study's generator is no LDM.
    """
    made = AutoencoderRoundTrip(study)
    if made.decoder is None or not made.decoder.hash:
        return list(crisp)
    tasks = []
    for done, one in enumerate(crisp, 1):
        tasks.append(made.task(one.key, one.load, one.subject, one.what))
        yield Progress(done, len(crisp), f"decoded {one.what}")
    return tasks


class AutoencoderRoundTrip:
    """Makes tasks of volumes that went through a study's generator, as far as it lets them.

    Parameters
    ----------
    study : Study
    decode : bool
        Otherwise they stay as they are.
    """

    def __init__(self, study: Study, decode: bool = True) -> None:
        from napari_memscan.jobs.scan.scan import choose_threads

        self.study = study
        self.embedder = study.embedder()
        self.threads = choose_threads(study)
        self.decoder = StudyAutoencoder(study, self.threads) if decode else None

    def task(self, key: str, load: Callable[[], Array], subject: str, what: str) -> SearchTask:
        """Return the task of a volume, decoded and embedded; both are kept in the cache.

        Parameters
        ----------
        key : str
            Of its content before.
        load : callable
            Returns the preprocessed volume (X, Y, Z).
        subject, what : str
            See `SearchTask`.
        """
        from napari_memscan.generators.runtime import use_threads

        cache = self.study.cache
        if self.decoder is not None and self.decoder.hash:
            key = hash_json(["decoded", key, self.decoder.hash])
            cache.get(key, partial(self.decoder, load))
            load = partial(load_cached_volume, cache.path(key))

        def embed() -> Array:
            with use_threads(self.threads):
                return self.embedder.embed(load()[None, None])[0]

        vector = cache.get(hash_json([key, self.embedder.hash]), embed)
        return SearchTask(key, load, vector, subject, what)


class StudyAutoencoder:
    """Passes volumes through the autoencoder of a study's generator, if it has one that fits.

    The best copy that an LDM can make of a patient is what its decoder makes of the patient's
    latent: softer than the patient. Planted volumes that did not go through it would set limits
    that no copy of this generator reaches, and a null that did not would be too far away.

    Parameters
    ----------
    study : Study
    threads : int
        Of the processor; results depend on it.

    Attributes
    ----------
    hash : str
        Of the checkpoint; '' where volumes stay as they are: the generator is a folder, or the
        model works on other volumes than the study compares.
    """

    def __init__(self, study: Study, threads: int) -> None:
        self.study, self.threads = study, threads
        self._generator: Any = None
        self.hash = ""
        config = study.config.generator
        if config is None or config.kind != "ldm" or config.trust:
            return
        recipes = {row.recipe_hash + row.checkpoint_hash for row in study.samples() if row.seed}
        key = hash_json(["decodes", sorted(recipes), study.config.preprocessing.hash])
        # Remembered, so that a scan of an unchanged study need not load the model.
        if len(recipes) == 1 and study.cache.has(key):
            self.hash = study.cache.get_text(key, self._asked)
        else:
            self.hash = self._asked()
            if len(recipes) == 1:
                study.cache.get_text(key, self._asked)

    def _asked(self) -> str:
        recipe = self._loaded().recipe
        fits = recipe.preprocessing.hash == self.study.config.preprocessing.hash
        return self._loaded().checkpoint_hash + recipe.hash if fits else ""

    def _loaded(self) -> Any:
        if self._generator is None:
            self._generator = self.study.generator()
        return self._generator

    def __call__(self, load: Callable[[], Array]) -> Array:
        """Return the volume that `load` returns, encoded and decoded."""
        from napari_memscan.generators.roundtrip import reconstruct_volume
        from napari_memscan.generators.runtime import use_threads

        with use_threads(self.threads):
            return reconstruct_volume(self._loaded(), load())
