"""Long work on a study, as Python generators.

Whoever runs a job sees its progress in what it yields and stops it by not asking on. What was
finished is on disk; the same call goes on from there and gives the same bytes.
"""

from napari_memscan.jobs.converting import convert
from napari_memscan.jobs.creating import create
from napari_memscan.jobs.deduplicating import deduplicate
from napari_memscan.jobs.embedding import embed
from napari_memscan.jobs.evidence import evidence
from napari_memscan.jobs.generating import generate
from napari_memscan.jobs.membership import membership
from napari_memscan.jobs.mitigating import mitigation
from napari_memscan.jobs.progress import Progress, run
from napari_memscan.jobs.regenerating import flagged, regenerate, regenerate_all
from napari_memscan.jobs.releasing import Preview, preview, release
from napari_memscan.jobs.reporting import report
from napari_memscan.jobs.scanning import scan, vector
from napari_memscan.jobs.screening import screened, until_clean
from napari_memscan.jobs.selftesting import selftest
from napari_memscan.jobs.training import train

__all__ = [
    "Preview",
    "Progress",
    "convert",
    "create",
    "deduplicate",
    "embed",
    "evidence",
    "flagged",
    "generate",
    "membership",
    "mitigation",
    "preview",
    "regenerate",
    "regenerate_all",
    "release",
    "report",
    "run",
    "scan",
    "screened",
    "selftest",
    "train",
    "until_clean",
    "vector",
]
