"""The search over training volumes, in which nothing is searched for or registered twice."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from napari_memscan.detection.retrieval.correlator import Correlator
from napari_memscan.detection.retrieval.neighbours import NeighbourIndex
from napari_memscan.detection.retrieval.registration_cache import RegistrationCache
from napari_memscan.detection.retrieval.search import Search, SearchQuery, SearchResult
from napari_memscan.files import hash_json
from napari_memscan.progress import Progress
from napari_memscan.typing import Array, Vectors
from napari_memscan.volumes.cache import Store

REPORT_EVERY = 50
"""Volumes that are only read between two reports of progress."""


@dataclass(frozen=True, eq=False)
class SearchTask:
    """A volume to search for, or among.

    Attributes
    ----------
    key : str
        Of its voxels; part of the key of what is found.
    load : callable
        Returns the preprocessed volume (X, Y, Z); picklable.
    vector : array (d,) or None
        Its embedding; None where only the correlator retrieves.
    subject : str
        Training volumes of this subject are not compared with it; '' for none.
    name : str
        For people.
    excluded : tuple of int
        Training volumes that it is not compared with either, such as itself.
    """

    key: str
    load: Callable[[], Array]
    vector: Vectors | None
    subject: str = ""
    name: str = ""
    excluded: tuple[int, ...] = ()

    def without(self, excluded: tuple[int, ...]) -> SearchTask:
        """Return the same task, compared with all but these, whoever's they are."""
        return replace(self, subject="", excluded=excluded)


class LoadedVolumes:
    """Volumes (X, Y, Z) by number, each loaded when it is asked for; can be sent elsewhere."""

    def __init__(self, loads: Sequence[Callable[[], Array]]) -> None:
        self._loads = list(loads)

    def __len__(self) -> int:
        return len(self._loads)

    def __getitem__(self, i: int) -> Array:
        return self._loads[i]()


class TrainingSearch:
    """The search over training volumes, with what it found kept in a store.

    Parameters
    ----------
    training : sequence of SearchTask
        With vectors all or none.
    store : Store
    search : Search, optional
        Retrieval and verification.
    proposed : int
        Candidates of the embedder.
    workers : int
        Processes that register. Results do not depend on it.

    Attributes
    ----------
    key : str
        Hash of everything that what is found depends on, but the volume that is searched for.
    index : NeighbourIndex or None
        Of the vectors.
    """

    def __init__(
        self,
        training: Sequence[SearchTask],
        store: Store,
        search: Search | None = None,
        *,
        proposed: int = 5,
        workers: int = 1,
    ) -> None:
        self.training, self.store = list(training), store
        self.search = search or Search()
        self.proposed, self.workers = proposed, workers
        vectors = [task.vector for task in self.training if task.vector is not None]
        self.index = NeighbourIndex().fit(np.stack(vectors)) if vectors else None
        self._keys = [task.key for task in self.training]
        subjects = [task.subject for task in self.training]
        self.key = hash_json([self.search.hash, self._keys, subjects])
        self._fitted = False

    def run(self, tasks: Sequence[SearchTask]) -> Generator[Progress, None, list[SearchResult]]:
        """Search for volumes; what was searched for before comes from the store.

        Yields
        ------
        Progress
            After each volume.

        Returns
        -------
        list of SearchResult
            In the order of the tasks.
        """
        queries = self._queries(tasks)
        keys = [
            hash_json(["found", self.key, task.key, query.proposed, query.excluded])
            for task, query in zip(tasks, queries, strict=True)
        ]
        new = [i for i, key in enumerate(keys) if not self.store.has(key)]
        done = len(tasks) - len(new)
        if new:
            yield from self.fit()
            pairs = RegistrationCache(self.store, self.search.verifier.hash, self._keys)
            asked = (replace(queries[i], known=pairs.known(tasks[i].key)) for i in new)
            results = self.search.find_all(asked, min(self.workers, len(new)))
            try:
                for i, found in zip(new, results, strict=True):
                    pairs.keep(tasks[i].key, found)
                    self.store.put(keys[i], found.to_array())
                    done += 1
                    yield Progress(done, len(tasks), f"compared {tasks[i].name}")
            finally:
                results.close()
        every = []
        for i, key in enumerate(keys):
            search_again = partial(self._find_lost, queries[i])
            every.append(SearchResult.from_array(self.store.get(key, search_again)))
        return every

    def fit(self) -> Generator[Progress, None, None]:
        """Learn the training volumes, once; yields now and then."""
        if self._fitted:
            return
        small, n = Correlator(spacing=self.search.spacing).hash, len(self.training)

        def keep(i: int | None, make: Callable[[], Array]) -> Array:
            of = self._keys if i is None else self._keys[i]
            return self.store.get(hash_json(["small", of, small]), make)

        volumes = LoadedVolumes([task.load for task in self.training])
        for done in self.search.fit_steps(volumes, keep):
            if done % REPORT_EVERY == 0 or done == n:
                yield Progress(done, n, f"learnt {self.training[done - 1].name} (training)")
        self._fitted = True

    def _queries(self, tasks: Sequence[SearchTask]) -> list[SearchQuery]:
        proposed: list[list[int]] = [[] for _ in tasks]
        if tasks and self.index is not None:
            vectors = np.stack([task.vector for task in tasks if task.vector is not None])
            proposed = self.index.kneighbors(vectors, self.proposed)[1].tolist()
        queries = []
        for task, near in zip(tasks, proposed, strict=True):
            out = {
                i
                for i, other in enumerate(self.training)
                if (task.subject and other.subject == task.subject) or i in task.excluded
            }
            left = tuple(i for i in near if i not in out)
            queries.append(SearchQuery(task.load, left, tuple(sorted(out))))
        return queries

    def _find_lost(self, query: SearchQuery) -> NDArray[np.float64]:
        """Search once more for what the store has lost meanwhile."""
        for _ in self.fit():
            pass
        return self.search.find(query).to_array()
