"""Vectors, neighbours, threshold and verdicts of a study."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.errors import BadInput
from napari_memscan.files import hash_json
from napari_memscan.jobs.progress import Progress
from napari_memscan.jobs.sampling.generate import list_external_volumes, register_volumes
from napari_memscan.study import Study

if TYPE_CHECKING:
    from napari_memscan.detection.results.scan_result import ScanResult


def scan_study(study: Study) -> Generator[Progress, None, ScanResult]:
    """Embed all volumes, find neighbours, set the threshold, call verdicts, save the result.

    Synthetic volumes made elsewhere become samples first, where they are not yet. Vectors are
    kept in the cache: a scan that was stopped goes on, and one after a single new volume reads
    only that.

    Yields
    ------
    Progress
        After each volume.

    Returns
    -------
    ScanResult
        Also in the study's ``scan/``. Two scans of the same study are equal to the byte.
    """
    import numpy as np

    from napari_memscan.detection.scan import list_scan_warnings
    from napari_memscan.detection.scan_vectors import scan_vectors
    from napari_memscan.jobs.scan.verify import classify_samples
    from napari_memscan.volumes.spacing import list_spacing_warnings

    with study.lock("scan"):
        yield from register_volumes(study, list_external_volumes(study))
        samples = study.samples()
        if not samples:
            raise BadInput(
                f"{study.folder}: no synthetic volumes yet. Generate some, or name a folder of "
                "them as the generator."
            )
        paths = {
            "training": [row.path for row in study.cohort.rows("training")],
            "validation": [row.path for row in study.cohort.rows("validation")],
            "synthetic": [str(study.sample_path(row)) for row in samples],
        }
        every = [(split, name) for split, names in paths.items() for name in names]
        rows: dict[str, list[Any]] = {split: [] for split in paths}
        sizes: dict[str, Any] | None = {} if study.config.preprocessing.spacing is None else None
        found = iter_embeddings(study, [name for _, name in every], sizes)
        for done, ((split, name), row) in enumerate(zip(every, found, strict=True), 1):
            rows[split].append(row)
            yield Progress(done, len(every), f"embedded {Path(name).name} ({split})")
        vectors = {split: np.stack(of) for split, of in rows.items()}
        chain: dict[str, Any] = {}
        if study.config.verification.enabled:
            chain = yield from classify_samples(study, paths, vectors)
        config, embedder = study.config, study.embedder()
        result = scan_vectors(
            vectors["training"],
            vectors["validation"],
            vectors["synthetic"],
            training_paths=paths["training"],
            synthetic_paths=paths["synthetic"],
            validation_paths=paths["validation"],
            embedder=embedder,
            k=min(config.k, len(paths["training"])),
            rule=config.rule.name,
            quantile=config.rule.quantile,
            q=config.rule.q,
            subjects=[row.subject_id for row in study.cohort.rows("validation")],
            training_subjects=[row.subject_id for row in study.cohort.rows("training")],
            preprocessing=config.preprocessing,
            warnings=[
                *study.cohort.warnings,
                *list_scan_warnings(embedder, *(len(names) for names in paths.values())),
                *(
                    list_spacing_warnings(
                        {
                            split: (names, [sizes[name] for name in names])
                            for split, names in paths.items()
                        }
                    )
                    if sizes is not None
                    else []
                ),
            ],
            **chain,
        )
        result.save(study.scan_dir)
        return result


def embed_volume(study: Study, path: str) -> Any:
    """Return a volume's vector (dim,), from the cache where it is there."""
    return next(iter_embeddings(study, [path]))


def choose_threads(study: Study) -> int:
    """Return with how many threads a study's volumes are embedded, on a processor.

    Sums are rounded in another order with another number; so the first choice is kept with the
    vectors, whatever starts the next process. 0 where it does not count.
    """
    embedder = study.embedder()
    device = embedder.device
    if device is None or device.type != "cpu":
        return 0
    import numpy as np
    import torch

    key = hash_json(["threads", embedder.hash])
    return int(study.cache.get(key, lambda: np.array([torch.get_num_threads()]))[0])


def iter_embeddings(
    study: Study, paths: Sequence[str], sizes: dict[str, Any] | None = None
) -> Iterator[Any]:
    """Yield the vectors (dim,) of volumes, from the cache where they are there.

    While one is computed, the next is read in another thread: two volumes are in memory, however
    many there are.

    Parameters
    ----------
    study : Study
    paths : sequence of str
    sizes : dict, optional
        Gets the voxel size (3,) of each path in mm, NaN where it is not known: since a volume is
        read anyway, and its size is kept as its vector is.
    """
    from napari_memscan.detection.scan import compute_embedding_key
    from napari_memscan.generators.runtime import use_threads
    from napari_memscan.volumes.spacing import get_known_spacing

    embedder, recipe = study.embedder(), study.config.preprocessing
    threads = choose_threads(study)

    def read(path: str) -> tuple[str, Any]:
        if not Path(path).exists():
            raise BadInput(f"{path}: missing. Restore it, or take it out of the study.")
        content, volume = study.content_key(path), lru_cache(1)(partial(study.volume, path))
        key = compute_embedding_key(content, recipe, embedder.hash)
        array = None if study.cache.has(key) else recipe.apply(volume())
        if sizes is not None:
            sizes[path] = study.cache.get(
                hash_json(["voxel", content]), lambda: get_known_spacing(volume())
            )
        return key, array

    with ThreadPoolExecutor(1, "memscan-reading") as pool:
        ahead = deque([pool.submit(read, path) for path in paths[:1]])
        for i, path in enumerate(paths, 1):
            key, volume = ahead.popleft().result()
            ahead.extend(pool.submit(read, following) for following in paths[i : i + 1])

            def compute(volume: Any = volume, path: str = path) -> Any:
                if volume is None:  # What was kept is damaged.
                    volume = recipe.apply(study.volume(path))
                with use_threads(threads):
                    return embedder.embed(volume[None, None])[0]

            yield study.cache.get(key, compute)
