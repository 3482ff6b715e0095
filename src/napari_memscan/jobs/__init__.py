"""Long work on a study, as Python generators.

Whoever runs a job sees its progress in what it yields and stops it by not asking on. What was
finished is on disk; the same call goes on from there and gives the same bytes.
"""

from napari_memscan.jobs.mitigation.mitigation import mitigation
from napari_memscan.jobs.models.convert import convert
from napari_memscan.jobs.models.create_study import create
from napari_memscan.jobs.progress import Progress, run
from napari_memscan.jobs.release.release import Preview, preview, release
from napari_memscan.jobs.release.report import report
from napari_memscan.jobs.replacement.regenerate import flagged, regenerate, regenerate_all
from napari_memscan.jobs.replacement.until_clean import screened, until_clean
from napari_memscan.jobs.sampling.generate import generate
from napari_memscan.jobs.scan.deduplicate import deduplicate
from napari_memscan.jobs.scan.embed import embed
from napari_memscan.jobs.scan.membership import membership
from napari_memscan.jobs.scan.metrics import evidence
from napari_memscan.jobs.scan.scan import scan, vector
from napari_memscan.jobs.scan.selftest import selftest
from napari_memscan.jobs.training.train import train

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
