"""Volumes that a scan is given, and their vectors, each read and embedded at most once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_memscan.detection.retrieval.training_search import REPORT_EVERY, SearchTask
from napari_memscan.files import hash_json
from napari_memscan.progress import Progress
from napari_memscan.typing import Array, Split, Vectors
from napari_memscan.volumes.spacing import get_known_spacing

if TYPE_CHECKING:
    from napari_memscan.embedders.interface import Embedder
    from napari_memscan.volumes.cache import Store
    from napari_memscan.volumes.preprocessing import Preprocessing
    from napari_memscan.volumes.sources import VolumeEntry
    from napari_memscan.volumes.volume import Volume


def compute_vector_key(array: str, embedder: str) -> str:
    """Return the key of a vector, by the key of what was embedded and the embedder's hash."""
    return hash_json(["vector", array, embedder])


def compute_size_key(content: str) -> str:
    """Return the key of a volume's voxel size."""
    return hash_json(["voxel", content])


def choose_threads(embedder: Embedder, store: Store) -> int:
    """Return with how many threads volumes are embedded, on a processor.

    Sums are rounded in another order with another number; so the first choice is kept with the
    vectors, whatever starts the next process. 0 where it does not count.
    """
    if embedder.device is None or embedder.device.type != "cpu":
        return 0
    import torch

    key = hash_json(["threads", embedder.hash])
    return int(store.get(key, lambda: np.array([torch.get_num_threads()]))[0])


def fix_threads(embedder: Embedder, store: Store) -> Callable[[Array], Vectors]:
    """Return the embedder's mapping of volumes (N, 1, X, Y, Z), always with the same threads."""
    from napari_memscan.generators.runtime import use_threads

    threads = choose_threads(embedder, store)

    def embed(batch: Array) -> Vectors:
        with use_threads(threads):
            return embedder.embed(batch)

    return embed


def iter_embeddings(
    entries: Sequence[VolumeEntry], recipe: Preprocessing, embedder: Embedder, store: Store
) -> Iterator[tuple[Vectors, NDArray[np.float64] | None]]:
    """Yield vector (dim,) and voxel size of volumes, from the store where they are there.

    While one is computed, the next is read in another thread: two volumes are in memory, however
    many there are. The voxel size (3,) is in mm, NaN where it is not known, and None where the
    recipe resamples.
    """
    embed = fix_threads(embedder, store)

    def read(entry: VolumeEntry) -> tuple[str, Array | None, NDArray[np.float64] | None]:
        volume = lru_cache(1)(entry.read)
        key = compute_vector_key(recipe.key(entry.content), embedder.hash)
        array = None if store.has(key) else recipe.apply(volume())
        size = None
        if recipe.spacing is None:
            size = store.get(compute_size_key(entry.content), lambda: get_known_spacing(volume()))
        return key, array, size

    with ThreadPoolExecutor(1, "memscan-reading") as pool:
        ahead = deque([pool.submit(read, entry) for entry in entries[:1]])
        for i, entry in enumerate(entries, 1):
            key, array, size = ahead.popleft().result()
            ahead.extend(pool.submit(read, following) for following in entries[i : i + 1])

            def compute(array: Array | None = array, entry: VolumeEntry = entry) -> Vectors:
                if array is None:  # What was kept is damaged.
                    array = recipe.apply(entry.read())
                return embed(array[None, None])[0]

            yield store.get(key, compute), size


def embed_splits(
    splits: Mapping[Split, Sequence[VolumeEntry]],
    recipe: Preprocessing,
    embedder: Embedder,
    store: Store,
) -> Generator[Progress, None, dict[Split, tuple[Vectors, list[NDArray[np.float64] | None]]]]:
    """Embed all volumes of splits; return vectors (n, dim) and voxel sizes of each split."""
    every = [(split, entry) for split, entries in splits.items() for entry in entries]
    rows: dict[Split, list[Vectors]] = {split: [] for split in splits}
    sizes: dict[Split, list[NDArray[np.float64] | None]] = {split: [] for split in splits}
    found = iter_embeddings([entry for _, entry in every], recipe, embedder, store)
    for done, ((split, entry), (vector, size)) in enumerate(zip(every, found, strict=True), 1):
        rows[split].append(vector)
        sizes[split].append(size)
        yield Progress(done, len(every), f"embedded {entry.name} ({split})")
    empty = np.empty((0, embedder.dim), np.float32)
    return {s: (np.stack(of) if of else empty, sizes[s]) for s, of in rows.items()}


def prepare_tasks(
    entries: Sequence[VolumeEntry], vectors: Iterable[Vectors], recipe: Preprocessing, store: Store
) -> Generator[Progress, None, list[SearchTask]]:
    """Return the tasks of volumes as they are; each is in the store before it is searched for."""
    tasks = []
    for done, (entry, vector) in enumerate(zip(entries, vectors, strict=True), 1):
        key = recipe.key(entry.content)
        load = store.open_volume(key, partial(_load_entry, recipe, entry.read))
        tasks.append(SearchTask(key, load, vector, entry.subject, entry.name))
        if done % REPORT_EVERY == 0 or done == len(entries):
            yield Progress(done, len(entries), f"read {entry.name}")
    return tasks


def _load_entry(recipe: Preprocessing, read: Callable[[], Volume]) -> Array:
    return recipe.apply(read())
