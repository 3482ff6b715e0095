"""Vectors, neighbours, threshold and verdicts of a study."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from napari_memscan.errors import BadInput
from napari_memscan.jobs.sampling.generate import list_external_volumes, register_volumes
from napari_memscan.jobs.scan.decoder import load_decoder
from napari_memscan.jobs.scan.volumes import get_settings, list_entries
from napari_memscan.progress import Progress
from napari_memscan.study import Study
from napari_memscan.typing import Split

if TYPE_CHECKING:
    from napari_memscan.detection.results.scan_result import ScanResult


def scan_study(study: Study) -> Generator[Progress, None, ScanResult]:
    """Scan a study's samples as `detection.scan.scan_entries` does, and save the result.

    Synthetic volumes made elsewhere become samples first, where they are not yet. What was made is
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
    from napari_memscan.detection.scan import scan_entries

    with study.lock("scan"):
        yield from register_volumes(study, list_external_volumes(study))
        if not study.samples():
            raise BadInput(
                f"{study.folder}: no synthetic volumes yet. Generate some, or name a folder of "
                "them as the generator."
            )
        settings = get_settings(study.config)
        result = yield from scan_entries(
            list_entries(study, Split.TRAINING, Split.VALIDATION, Split.SYNTHETIC),
            study.config.preprocessing,
            study.embedder(),
            study.cache,
            settings,
            decoder=load_decoder(study) if settings.verify else None,
            warnings=study.cohort.warnings,
        )
        result.save(study.scan_dir)
        return result
