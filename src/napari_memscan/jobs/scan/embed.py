"""Vectors of a study's volumes ahead of the scan, by as many processes as there are."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from napari_memscan.jobs import distributed as processes
from napari_memscan.jobs.sampling.generate import list_external_volumes, register_volumes
from napari_memscan.jobs.scan.volumes import list_entries
from napari_memscan.progress import Progress
from napari_memscan.study import Study
from napari_memscan.typing import Split

if TYPE_CHECKING:
    from napari_memscan.volumes.sources import VolumeEntry


def embed_cohort(study: Study) -> Generator[Progress, None, int]:
    """Embed all volumes of a study: training, validation, synthetic. A scan then only compares.

    Vectors are kept in the cache: a job that was stopped goes on. Under torchrun or ``srun`` each
    process takes every so many-th volume.

    Yields
    ------
    Progress
        After each volume of this process; counts those of all.

    Returns
    -------
    int
        Volumes that now have a vector.

    Raises
    ------
    BadInput, JobFailed
        As `scan` does; and when another process has failed.
    """
    from napari_memscan.detection.retrieval.entries import choose_threads, iter_embeddings

    together = processes.join_process_group()
    with together.working(study, "embed"):
        if together.first:
            yield from register_volumes(study, list_external_volumes(study))
        paths = together.share(lambda: [entry.name for entry in _list_all(study)])
        recipe, embedder, cache = study.config.preprocessing, study.embedder(), study.cache
        together.share(lambda: choose_threads(embedder, cache))  # Chosen and kept by the first.
        total, mine = len(paths), set(together.mine(paths))
        entries = [entry for entry in _list_all(study) if entry.name in mine]
        found = iter_embeddings(entries, recipe, embedder, cache)
        for entry, _ in zip(entries, found, strict=True):
            together.done()
            yield Progress(together.count(), total, f"embedded {entry.name}")
        for count in together.rest(total):
            yield Progress(count, total, "embedded by other processes")
    return total


def _list_all(study: Study) -> list[VolumeEntry]:
    splits = list_entries(study, Split.TRAINING, Split.VALIDATION, Split.SYNTHETIC)
    return [entry for entries in splits.values() for entry in entries]
