"""Long work on a study, as Python generators.

Whoever runs a job sees its progress in what it yields and stops it by not asking on. What was
finished is on disk; the same call goes on from there and gives the same bytes.
"""

from napari_memscan.jobs.mitigation.mitigation import evaluate_mitigation
from napari_memscan.jobs.models.convert import convert_checkpoint
from napari_memscan.jobs.models.new_study import create_study
from napari_memscan.jobs.release.release import ReleasePreview, preview_release, release_volumes
from napari_memscan.jobs.release.report import report_study
from napari_memscan.jobs.replacement.regenerate import (
    list_flagged,
    regenerate_sample,
    regenerate_samples,
)
from napari_memscan.jobs.replacement.until_clean import generate_until_clean, screen_samples
from napari_memscan.jobs.sampling.generate import generate_volumes
from napari_memscan.jobs.scan.deduplicate import deduplicate_cohort
from napari_memscan.jobs.scan.embed import embed_cohort
from napari_memscan.jobs.scan.membership import evaluate_membership
from napari_memscan.jobs.scan.metrics import evaluate_metrics
from napari_memscan.jobs.scan.scan import scan_study
from napari_memscan.jobs.scan.selftest import run_selftest
from napari_memscan.jobs.training.train import train_model
from napari_memscan.progress import Progress, run_job

__all__ = [
    "Progress",
    "ReleasePreview",
    "convert_checkpoint",
    "create_study",
    "deduplicate_cohort",
    "embed_cohort",
    "evaluate_membership",
    "evaluate_metrics",
    "evaluate_mitigation",
    "generate_until_clean",
    "generate_volumes",
    "list_flagged",
    "preview_release",
    "regenerate_sample",
    "regenerate_samples",
    "release_volumes",
    "report_study",
    "run_job",
    "run_selftest",
    "scan_study",
    "screen_samples",
    "train_model",
]
