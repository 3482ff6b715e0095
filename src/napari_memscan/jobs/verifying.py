"""Candidates of a study proven in image space, and what the verdicts are calibrated on."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.files import hash_of
from napari_memscan.jobs.progress import Progress
from napari_memscan.study import Study

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_memscan.detection.detector import Null, PosedLimits
    from napari_memscan.detection.planting import Plant
    from napari_memscan.detection.search import Found, Query, Search

    Array = NDArray[np.float32]
    Vectors = NDArray[np.float32]

Triple = tuple[float, float, float]

LIMITS_SEED = 1
"""Planted volumes that limits are learnt from; those of the self-test have another."""


class Kept:
    """Preprocessed volumes of a study, read from its cache when asked for; may be sent elsewhere.

    Parameters
    ----------
    files : sequence of path
        One ``.npy`` file a volume.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = list(files)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Array:
        return read(self.files[i])


def read(file: Path) -> Array:
    """Read a preprocessed volume (X, Y, Z) that the cache keeps."""
    import numpy as np

    array: Array = np.load(file, allow_pickle=False)
    return array


@dataclass(frozen=True)
class Task:
    """A volume to search for.

    Attributes
    ----------
    key : str
        Of its content; part of the cache key of what is found.
    load : callable
        Returns the preprocessed volume.
    vector : array (d,)
        Its embedding.
    subject : str
        Training volumes of this subject are not compared with it; '' for none.
    what : str
        For people.
    """

    key: str
    load: Callable[[], Array]
    vector: Any
    subject: str
    what: str


class StudySearch:
    """The search over a study's training volumes, with what it found kept in the cache.

    Parameters
    ----------
    study : Study
    training : list of str
        Paths.
    vectors : array (n, d)
        Their embeddings.
    """

    def __init__(self, study: Study, training: list[str], vectors: Vectors) -> None:
        from napari_memscan.detection.neighbours import NeighbourIndex
        from napari_memscan.detection.search import Search

        config = study.config.verification
        self.study, self.training = study, training
        self.files = [study.cache.path(study.array_key(path)) for path in training]
        self.spacing = spacing(study)
        self.subjects = [row.subject_id for row in study.cohort.rows("training")]
        self.search = Search(
            retrieved=config.retrieved, verified=config.verified, spacing=self.spacing
        )
        self.index = NeighbourIndex().fit(vectors)
        self._fitted: Search | None = None
        # Everything that what is found depends on, but the volume that is searched for.
        self.key = hash_of(
            [self.search.hash, [study.array_key(path) for path in training], self.subjects]
        )

    def run(self, tasks: Sequence[Task]) -> Generator[Progress, None, list[Found]]:
        """Search for volumes; from the cache where it was done before.

        Yields
        ------
        Progress
            After each volume.

        Returns
        -------
        list of Found
            In the order of the tasks.
        """
        from napari_memscan.detection.search import Found

        queries = self._queries(tasks)
        keys = [
            hash_of(["found", self.key, task.key, query.proposed, query.excluded])
            for task, query in zip(tasks, queries, strict=True)
        ]
        cache = self.study.cache
        new = [i for i, key in enumerate(keys) if not cache.has(key)]
        done = len(tasks) - len(new)
        if new:
            yield from self._prepare()
            search = self._fitted
            assert search is not None
            workers = min(self.workers, len(new))
            results = search.find_all((queries[i] for i in new), workers)
            try:
                for i, found in zip(new, results, strict=True):
                    values = found.to_array()
                    cache.get(keys[i], lambda values=values: values)  # type: ignore[misc]
                    done += 1
                    yield Progress(done, len(tasks), f"compared {tasks[i].what}")
            finally:
                results.close()  # type: ignore[attr-defined]
        every = []
        for i, key in enumerate(keys):
            search_again = partial(self._again, queries[i])
            every.append(Found.from_array(cache.get(key, search_again)))
        return every

    @property
    def workers(self) -> int:
        """Processes that register."""
        return self.study.config.verification.workers or os.cpu_count() or 1

    def _queries(self, tasks: Sequence[Task]) -> list[Query]:
        import numpy as np

        from napari_memscan.detection.search import Query

        if not tasks:
            return []
        proposed = self.study.config.verification.proposed
        _, rows = self.index.kneighbors(np.stack([task.vector for task in tasks]), proposed)
        queries = []
        for task, row in zip(tasks, rows.tolist(), strict=True):
            own = [i for i, s in enumerate(self.subjects) if task.subject and s == task.subject]
            queries.append(Query(task.load, tuple(i for i in row if i not in own), tuple(own)))
        return queries

    def _prepare(self) -> Iterator[Progress]:
        """Fit the search, with all training volumes in the cache."""
        if self._fitted is not None:
            return
        for done, path in enumerate(self.training, 1):
            self.study.array(path)
            if done % 50 == 0 or done == len(self.training):
                yield Progress(done, len(self.training), f"read {Path(path).name} (training)")
        self._fitted = self.search.fit(Kept(self.files))

    def _again(self, query: Query) -> Any:
        """Search once more for what the cache has lost meanwhile."""
        for _ in self._prepare():
            pass
        assert self._fitted is not None
        return self._fitted.find(query).to_array()


def spacing(study: Study) -> Triple:
    """Return the voxel size in mm of a study's preprocessed volumes; see `scan.spacing_of`."""
    import numpy as np

    from napari_memscan.detection.scan import spacing_of

    paths = [row.path for row in study.cohort.rows("training")]
    recipe = study.config.preprocessing
    if recipe.spacing is not None:
        return recipe.spacing
    key = hash_of(["spacing", [study.sha256(path) for path in paths]])
    x, y, z = study.cache.get(
        key, lambda: np.array(spacing_of(recipe, map(study.volume, paths)))
    ).tolist()
    return (x, y, z)


def plain(study: Study, path: str, vector: Any, subject: str = "") -> Task:
    """Return the task of a volume of the study as it is."""
    study.array(path)  # Kept before another process asks for it.
    key = study.array_key(path)
    return Task(key, partial(read, study.cache.path(key)), vector, subject, Path(path).name)


def planted(
    study: Study, plants: Sequence[Plant], paths: Sequence[str], spacing: Triple, what: str
) -> Generator[Progress, None, list[Task]]:
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
    """
    from dataclasses import asdict

    from napari_memscan.generators.machine import threads_set
    from napari_memscan.jobs.scanning import threads_of

    embedder, threads, tasks = study.embedder(), threads_of(study), []
    decoder = Decoder(study, threads)
    for done, one in enumerate(plants, 1):
        path = paths[one.source]
        study.array(path)
        source = study.array_key(path)
        load = partial(one.load, partial(read, study.cache.path(source)), spacing)
        key = hash_of(["planted", source, asdict(one.perturbation), list(spacing), decoder.hash])
        if decoder.hash:
            made = hash_of(["decoded", key])
            study.cache.get(made, partial(decoder, load))
            load = partial(read, study.cache.path(made))

        def embed(load: Callable[[], Array] = load) -> Array:
            with threads_set(threads):
                return embedder.embed(load()[None, None])[0]

        vector = study.cache.get(hash_of([key, embedder.hash]), embed)
        tasks.append(Task(key, load, vector, "", f"{one.kind} of {Path(path).name}"))
        yield Progress(done, len(plants), f"{what}: {one.kind} of {Path(path).name}")
    return tasks


class Decoder:
    """Passes volumes through the autoencoder of a study's generator, if it has one that fits.

    The best copy that an LDM can make of a patient is what its decoder makes of the patient's
    latent: softer than the patient. Planted volumes that did not go through it would set limits
    that no copy of this generator reaches.

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
        key = hash_of(["decodes", sorted(recipes), study.config.preprocessing.hash])
        # Remembered, so that a scan of an unchanged study need not load the model.
        if len(recipes) == 1 and study.cache.has(key):
            self.hash = study.cache.get(key, self._asked).tobytes().decode()
        else:
            self.hash = self._asked().tobytes().decode()
            if len(recipes) == 1:
                study.cache.get(key, self._asked)

    def _asked(self) -> Any:
        import numpy as np

        recipe = self._loaded().recipe
        fits = recipe.preprocessing.hash == self.study.config.preprocessing.hash
        text = self._loaded().checkpoint_hash + recipe.hash if fits else ""
        return np.frombuffer(text.encode(), np.uint8)

    def _loaded(self) -> Any:
        if self._generator is None:
            self._generator = self.study.generator()
        return self._generator

    def __call__(self, load: Callable[[], Array]) -> Array:
        """Return the volume that `load` returns, encoded and decoded."""
        from napari_memscan.generators.machine import threads_set
        from napari_memscan.generators.roundtrip import roundtrip

        with threads_set(self.threads):
            return roundtrip(self._loaded(), load())


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
