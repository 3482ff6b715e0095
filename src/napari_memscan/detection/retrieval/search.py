"""From one volume to its proven nearest training volumes: retrieve candidates, verify the best."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_memscan.detection.registration.verifier import PairEvidence, Verifier
from napari_memscan.detection.retrieval.correlator import CacheFunction, Correlator
from napari_memscan.errors import BadInput, JobFailed
from napari_memscan.files import hash_json

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor

    from napari_memscan.typing import Array
    from napari_memscan.volumes.volume import VolumeSequence


VERSION = 2
"""Changes whenever the same search would find something else; part of the hash."""


@dataclass(frozen=True)
class SearchQuery:
    """A volume that is searched for among the training volumes.

    Attributes
    ----------
    load : callable
        Returns the volume (X, Y, Z) in [0, 1]; sent to other processes, so it must be picklable.
    proposed : tuple of int
        Training volumes that an embedder takes for near.
    excluded : tuple of int
        Training volumes that may not be found: those of the same subject, for the null.
    known : mapping from (int, str) to PairEvidence
        What was registered before, by training volume and `Hit.start`: not registered again.
    """

    load: Callable[[], Array]
    proposed: tuple[int, ...] = ()
    excluded: tuple[int, ...] = ()
    known: Mapping[tuple[int, str], PairEvidence] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class SearchHit:
    """A training volume that was held against a query.

    Attributes
    ----------
    index : int
        Of the training volume.
    rank : int
        Among the candidates, from 0: the order in which they were proposed.
    evidence : PairEvidence
        After registration.
    start : str
        Hash of the poses that registration started from; '' where it was not kept.
    """

    index: int
    rank: int
    evidence: PairEvidence
    start: str = ""


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search found for one query.

    Attributes
    ----------
    hits : tuple of SearchHit
        Verified, nearest first.
    retrieved : tuple of int
        All candidates in the order of retrieval, verified or not.
    """

    hits: tuple[SearchHit, ...]
    retrieved: tuple[int, ...]

    @property
    def score(self) -> float:
        """Of the nearest, in [-1, 1], larger is nearer."""
        return self.hits[0].evidence.score

    @property
    def index(self) -> int:
        """Of the nearest training volume."""
        return self.hits[0].index

    @property
    def displacement(self) -> float:
        """Of the nearest, in mm; see `PairEvidence`."""
        return self.hits[0].evidence.displacement

    def to_array(self) -> NDArray[np.float64]:
        """Return everything as one array, to be kept; see `from_array`."""
        rows = [np.concatenate([[h.index, h.rank], h.evidence.to_array()]) for h in self.hits]
        return np.concatenate([[len(rows), len(self.retrieved)], self.retrieved, *rows])

    @classmethod
    def from_array(cls, values: NDArray[np.float64]) -> SearchResult:
        """Read what `to_array` wrote."""
        n_hits, n_retrieved = int(values[0]), int(values[1])
        rows = values[2 + n_retrieved :].reshape(n_hits, -1)
        return cls(
            tuple(SearchHit(int(r[0]), int(r[1]), PairEvidence.from_array(r[2:])) for r in rows),
            tuple(int(i) for i in values[2 : 2 + n_retrieved]),
        )


class Search:
    """Finds for each volume the training volume that is most like it, up to pose and intensity.

    Two retrievers propose candidates: an embedder, outside, and a correlator that needs no
    training and that sees flips, rotations and shifts. The best of the union are registered, and
    what is alike after registration decides. Volumes of the null go through the same search
    as synthetic ones: the best of many tries is always higher than one.

    Parameters
    ----------
    retrieved : int
        Candidates of the correlator.
    verified : int
        Candidates that are registered; those that the embedder holds nearest come beside them.
    beside : int
        So many of the embedder's, in addition.
    spacing : (float, float, float)
        Voxel size in mm along X, Y, Z.

    Attributes
    ----------
    correlator_ : Correlator
    training_ : sequence of arrays (X, Y, Z)
    """

    def __init__(
        self,
        retrieved: int = 20,
        verified: int = 3,
        beside: int = 2,
        spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    ) -> None:
        self.retrieved = retrieved
        self.verified = verified
        self.beside = beside
        self.spacing = spacing
        self.verifier = Verifier(spacing=spacing)

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits that change whenever another search would be made."""
        return hash_json(
            {
                "version": VERSION,
                "retrieved": self.retrieved,
                "verified": self.verified,
                "beside": self.beside,
                "spacing": list(self.spacing),
                "correlator": Correlator(spacing=self.spacing).hash,
                "verifier": self.verifier.hash,
            }
        )

    def fit(self, training: VolumeSequence, keep: CacheFunction | None = None) -> Search:
        """Learn the training volumes, each (X, Y, Z) in [0, 1] and of one shape.

        A sequence that reads its volumes when asked keeps memory small: only what the correlator
        needs of each is held; `keep` is as in `Correlator.fit`.

        Raises
        ------
        BadInput
            No volumes, different shapes, or a volume that is constant or not finite.
        """
        for _ in self.fit_steps(training, keep):
            pass
        return self

    def fit_steps(
        self, training: VolumeSequence, keep: CacheFunction | None = None
    ) -> Iterator[int]:
        """Fit, and yield the number of training volumes learnt after each."""
        self.training_ = training
        correlator = Correlator(spacing=self.spacing)
        yield from correlator.fit_steps(training, keep)
        self.correlator_ = correlator

    def find(self, query: SearchQuery) -> SearchResult:
        """Search for one volume.

        Raises
        ------
        BadInput
            All training volumes are excluded, or the volume does not do.
        """
        volume = query.load()
        candidates = self.correlator_.search(
            volume, k=self.retrieved, include=query.proposed, exclude=query.excluded
        )
        if not candidates:
            raise BadInput(
                "no training volume is left to compare with: all are of this volume's subject."
            )
        beside = set(query.proposed[: self.beside]) - set(query.excluded)
        hits = []
        for rank, candidate in enumerate(candidates):
            if rank >= self.verified and candidate.index not in beside:
                continue
            start = hash_json([pose.tolist() for pose in candidate.poses])
            evidence = query.known.get((candidate.index, start))
            if evidence is None:
                other = self.training_[candidate.index]
                evidence = self.verifier.verify(volume, other, candidate.poses)
            hits.append(SearchHit(candidate.index, rank, evidence, start))
        hits.sort(key=lambda hit: (-hit.evidence.score, hit.index))
        return SearchResult(tuple(hits), tuple(candidate.index for candidate in candidates))

    def find_all(
        self, queries: Iterable[SearchQuery], workers: int = 1
    ) -> Generator[SearchResult, None, None]:
        """Yield what is found for each query, in their order.

        Parameters
        ----------
        queries : iterable of SearchQuery
            Read as they are needed.
        workers : int
            Processes; the results do not depend on it. More than one start in a few seconds.
        """
        if workers <= 1:
            yield from map(self.find, queries)
            return
        from concurrent.futures import ProcessPoolExecutor
        from concurrent.futures.process import BrokenProcessPool
        from multiprocessing import get_context

        # Spawned, not forked: the parent may hold threads of Qt or torch.
        pool = ProcessPoolExecutor(
            workers, get_context("spawn"), initializer=_start_worker, initargs=(self,)
        )
        waiting: deque[Future[SearchResult]] = deque()
        try:
            yield from _iterate_in_order(pool, iter(queries), waiting, ahead=2 * workers)
        except BrokenProcessPool as error:
            raise JobFailed(
                "a process that compares volumes has ended, as it does when memory is short. What "
                "was compared is kept; go on with fewer of them: verification.workers = 1."
            ) from error
        finally:
            for future in waiting:
                future.cancel()
            pool.shutdown(wait=True, cancel_futures=True)


def _iterate_in_order(
    pool: ProcessPoolExecutor,
    queries: Iterator[SearchQuery],
    waiting: deque[Future[SearchResult]],
    ahead: int,
) -> Iterator[SearchResult]:
    waiting.extend(pool.submit(_find_in_worker, query) for query in islice(queries, ahead))
    while waiting:
        found = waiting.popleft().result()
        waiting.extend(pool.submit(_find_in_worker, query) for query in islice(queries, 1))
        yield found


_worker_search: Search | None = None
"""Of a worker process: sent once, not with every query."""


def _start_worker(search: Search) -> None:
    global _worker_search
    _worker_search = search
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)


def _find_in_worker(query: SearchQuery) -> SearchResult:
    assert _worker_search is not None
    return _worker_search.find(query)
