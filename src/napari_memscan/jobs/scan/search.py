"""The search over a study's training volumes, with what it finds kept in the cache."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.files import hash_json
from napari_memscan.jobs.progress import Progress
from napari_memscan.study import Study

if TYPE_CHECKING:
    from napari_memscan.detection.retrieval.search import Search, SearchQuery, SearchResult
    from napari_memscan.typing import Array, Triple, Vectors
    from napari_memscan.volumes.cohort import CohortRow


class CachedVolumes:
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
        return load_cached_volume(self.files[i])


def load_cached_volume(file: Path) -> Array:
    """Read a preprocessed volume (X, Y, Z) that the cache keeps."""
    import numpy as np

    array: Array = np.load(file, allow_pickle=False)
    return array


@dataclass(frozen=True)
class SearchTask:
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
    excluded : tuple of int
        Training volumes that it is not compared with either, such as itself.
    """

    key: str
    load: Callable[[], Array]
    vector: Any
    subject: str
    what: str
    excluded: tuple[int, ...] = ()

    def without(self, excluded: tuple[int, ...]) -> SearchTask:
        """Return the same task, compared with all but these, whoever's they are."""
        return replace(self, subject="", excluded=excluded)


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
        from napari_memscan.detection.retrieval.neighbours import NeighbourIndex
        from napari_memscan.detection.retrieval.search import Search

        config = study.config.verification
        self.study, self.training = study, training
        self.keys = [study.array_key(path) for path in training]
        self.files = [study.cache.path(key) for key in self.keys]
        self.spacing = resolve_spacing(study)
        self.subjects = [row.subject_id for row in study.cohort.rows("training")]
        self.search = Search(
            retrieved=config.retrieved, verified=config.verified, spacing=self.spacing
        )
        self.index = NeighbourIndex().fit(vectors)
        self._fitted: Search | None = None
        # Everything that what is found depends on, but the volume that is searched for.
        self.key = hash_json([self.search.hash, self.keys, self.subjects])

    def run(self, tasks: Sequence[SearchTask]) -> Generator[Progress, None, list[SearchResult]]:
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
        from napari_memscan.detection.retrieval.search import SearchResult
        from napari_memscan.jobs.scan.registration_cache import RegistrationCache

        queries = self._queries(tasks)
        keys = [
            hash_json(["found", self.key, task.key, query.proposed, query.excluded])
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
            pairs = RegistrationCache(cache, self.search.verifier.hash, self.keys)
            asked = (replace(queries[i], known=pairs.known(tasks[i].key)) for i in new)
            results = search.find_all(asked, workers)
            try:
                for i, found in zip(new, results, strict=True):
                    pairs.keep(tasks[i].key, found)
                    cache.put(keys[i], found.to_array())
                    done += 1
                    yield Progress(done, len(tasks), f"compared {tasks[i].what}")
            finally:
                results.close()  # type: ignore[attr-defined]
        every = []
        for i, key in enumerate(keys):
            search_again = partial(self._again, queries[i])
            every.append(SearchResult.from_array(cache.get(key, search_again)))
        return every

    @property
    def workers(self) -> int:
        """Processes that register."""
        return self.study.config.verification.workers or os.cpu_count() or 1

    def _queries(self, tasks: Sequence[SearchTask]) -> list[SearchQuery]:
        import numpy as np

        from napari_memscan.detection.retrieval.search import SearchQuery

        if not tasks:
            return []
        proposed = self.study.config.verification.proposed
        _, rows = self.index.kneighbors(np.stack([task.vector for task in tasks]), proposed)
        queries = []
        for task, row in zip(tasks, rows.tolist(), strict=True):
            own = [
                i
                for i, s in enumerate(self.subjects)
                if (task.subject and s == task.subject) or i in task.excluded
            ]
            queries.append(
                SearchQuery(task.load, tuple(i for i in row if i not in own), tuple(own))
            )
        return queries

    def _prepare(self) -> Iterator[Progress]:
        """Fit the search, with all training volumes in the cache."""
        if self._fitted is not None:
            return
        from napari_memscan.detection.retrieval.correlator import Correlator

        for done, path in enumerate(self.training, 1):
            self.study.array(path)
            if done % 50 == 0 or done == len(self.training):
                yield Progress(done, len(self.training), f"read {Path(path).name} (training)")
        small = Correlator(spacing=self.spacing).hash

        def keep(i: int | None, make: Callable[[], Array]) -> Array:
            of = self.keys if i is None else self.keys[i]
            return self.study.cache.get(hash_json(["small", of, small]), make)

        self._fitted = self.search.fit(CachedVolumes(self.files), keep)

    def _again(self, query: SearchQuery) -> Any:
        """Search once more for what the cache has lost meanwhile."""
        for _ in self._prepare():
            pass
        assert self._fitted is not None
        return self._fitted.find(query).to_array()


def resolve_spacing(study: Study) -> Triple:
    """Return the voxel size in mm of a study's preprocessed volumes.

    Without resampling it is the median of the training volumes'. Where one more volume changes
    that, all pairs are registered anew.
    """
    from napari_memscan.volumes.spacing import compute_median_spacing, get_known_spacing

    recipe = study.config.preprocessing
    if recipe.spacing is not None:
        return recipe.spacing

    def own(row: CohortRow) -> Any:
        # The key that a scan keeps it under, too.
        key = hash_json(["voxel", study.content_key(row.path)])
        return study.cache.get(key, lambda: get_known_spacing(study.volume(row.path)))

    return compute_median_spacing([own(row) for row in study.cohort.rows("training")])


def prepare_task(study: Study, path: str, vector: Any, subject: str = "") -> SearchTask:
    """Return the task of a volume of the study as it is."""
    study.array(path)  # Kept before another process asks for it.
    key = study.array_key(path)
    return SearchTask(
        key, partial(load_cached_volume, study.cache.path(key)), vector, subject, Path(path).name
    )
