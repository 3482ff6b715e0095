"""The map of a study's embedding, from the vectors that its last scan kept."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.errors import BadInput
from napari_memscan.progress import Progress
from napari_memscan.study import Study
from napari_memscan.typing import Split

if TYPE_CHECKING:
    from napari_memscan.detection.exploration.embedding_map import EmbeddingMap
    from napari_memscan.detection.results.scan_result import ScanResult


def compute_embedding_map(
    study: Study, result: ScanResult, method: str = "PCA"
) -> Generator[Progress, None, EmbeddingMap]:
    """Put the volumes of a scan on a map; nothing is embedded, and no model is loaded.

    Parameters
    ----------
    study : Study
        Its cache holds the vectors.
    result : ScanResult
        Of its last scan: says which volumes, and which embedder.
    method : str
        See `detection.exploration.embedding_map.fit_embedding_map`.

    Yields
    ------
    Progress
        Now and then while vectors are read.

    Returns
    -------
    Projection
        Synthetic volumes in the order of ``result.samples``.

    Raises
    ------
    BadInput
        A vector is not there, because the cache was deleted or a file has changed: scan again.
    """
    import numpy as np

    from napari_memscan.detection.exploration.embedding_map import fit_embedding_map
    from napari_memscan.detection.retrieval.entries import compute_vector_key

    paths = {
        Split.TRAINING: [row.path for row in study.cohort.rows(Split.TRAINING)],
        Split.VALIDATION: [row.path for row in study.cohort.rows(Split.VALIDATION)],
        Split.SYNTHETIC: [str(study.path_of(sample.name)) for sample in result.samples],
    }
    total, done = sum(map(len, paths.values())), 0
    vectors = {}
    for split, names in paths.items():
        rows = []
        for path in names:
            if not Path(path).exists():
                raise BadInput(f"{path}: missing. Restore it, or scan again.")
            key = compute_vector_key(study.array_key(path), result.embedder_hash)
            if not study.cache.has(key):
                raise BadInput(
                    "The vectors of the last scan are not in the study's cache any more. Scan "
                    "first: only what is missing is embedded."
                )
            rows.append(study.cache.get(key, _raise_damaged))
            done += 1
            if done % 50 == 0:
                yield Progress(done, total, f"read vectors ({split})")
        vectors[split] = np.stack(rows) if rows else np.zeros((0, 1))
    yield Progress(total, total, f"fitting {method}")
    return fit_embedding_map(
        vectors[Split.TRAINING],
        vectors[Split.VALIDATION],
        vectors[Split.SYNTHETIC],
        method,
        study.config.seed,
    )


def _raise_damaged() -> Any:
    raise BadInput("A vector in the study's cache is damaged. Scan again: it is made anew.")
