"""Vectors of a study's volumes ahead of the scan, by as many processes as there are."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

from napari_memscan.jobs import distributed as processes
from napari_memscan.jobs.progress import Progress
from napari_memscan.jobs.sampling.generate import made_elsewhere, register
from napari_memscan.jobs.scan.scan import embedded, threads_of
from napari_memscan.study import Study


def embed(study: Study) -> Generator[Progress, None, int]:
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
    together = processes.current()
    with together.working(study, "embed"):
        if together.first:
            yield from register(study, made_elsewhere(study))
        paths = together.share(lambda: _paths(study))
        together.share(lambda: threads_of(study))  # Chosen and kept by the first.
        total, mine = len(paths), together.mine(paths)
        # The scan wants voxel sizes where nothing is resampled; the volume is read now.
        sizes: dict[str, Any] | None = {} if study.config.preprocessing.spacing is None else None
        for path, _ in zip(mine, embedded(study, mine, sizes), strict=True):
            together.done()
            yield Progress(together.count(), total, f"embedded {Path(path).name}")
        for count in together.rest(total):
            yield Progress(count, total, "embedded by other processes")
    return total


def _paths(study: Study) -> list[str]:
    real = [row.path for split in ("training", "validation") for row in study.cohort.rows(split)]
    return [*real, *(str(study.sample_path(row)) for row in study.samples())]
