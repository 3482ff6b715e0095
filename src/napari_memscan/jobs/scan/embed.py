"""Vectors of a study's volumes ahead of the scan, by as many processes as there are."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

from napari_memscan.jobs import distributed as processes
from napari_memscan.jobs.progress import Progress
from napari_memscan.jobs.sampling.generate import list_external_volumes, register_volumes
from napari_memscan.jobs.scan.scan import choose_threads, iter_embeddings
from napari_memscan.study import Study


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
    together = processes.join_process_group()
    with together.working(study, "embed"):
        if together.first:
            yield from register_volumes(study, list_external_volumes(study))
        paths = together.share(lambda: _list_paths(study))
        together.share(lambda: choose_threads(study))  # Chosen and kept by the first.
        total, mine = len(paths), together.mine(paths)
        # The scan wants voxel sizes where nothing is resampled; the volume is read now.
        sizes: dict[str, Any] | None = {} if study.config.preprocessing.spacing is None else None
        for path, _ in zip(mine, iter_embeddings(study, mine, sizes), strict=True):
            together.done()
            yield Progress(together.count(), total, f"embedded {Path(path).name}")
        for count in together.rest(total):
            yield Progress(count, total, "embedded by other processes")
    return total


def _list_paths(study: Study) -> list[str]:
    real = [row.path for split in ("training", "validation") for row in study.cohort.rows(split)]
    return [*real, *(str(study.sample_path(row)) for row in study.samples())]
