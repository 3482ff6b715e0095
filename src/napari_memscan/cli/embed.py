"""The command ``embed``."""

from __future__ import annotations

from napari_memscan.cli.console import detect_first_process, note, run_with_progress, say
from napari_memscan.cli.options import StudyArgument


def embed(study: StudyArgument) -> None:
    """Embed the volumes of a study ahead of the scan, with several processes.

    The vectors are kept in the study's cache, and the scan then only compares them. Volumes that
    have a vector are not read again.

    \b
    Examples:
      memscan embed audit
      torchrun --nproc-per-node 4 --no-python memscan embed audit
    """
    from napari_memscan import jobs
    from napari_memscan.study import Study

    opened = Study.open(study)
    job = jobs.embed_cohort(opened)
    with detect_first_process() as first:
        n = run_with_progress(job, "embed") if first else jobs.run_job(job)
    if first:
        say(f"{opened.cache_dir}: vectors of {n} volumes")
        note(f"Next: memscan scan {study}")
