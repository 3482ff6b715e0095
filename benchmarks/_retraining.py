"""Measures that need another training, each trained on a small cohort with planted duplicates."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from napari_memscan import jobs
from napari_memscan.config import GeneratorConfig, StudyConfig
from napari_memscan.demo.phantoms import HU_WINDOW, draw_phantom
from napari_memscan.detection.mitigation import RetrainingComparison
from napari_memscan.detection.results.scan_result import ScanResult
from napari_memscan.detection.statistics.differences import ProportionDifference
from napari_memscan.detection.statistics.proportions import Proportion
from napari_memscan.jobs.training.monitor import MonitorSettings
from napari_memscan.study import Study
from napari_memscan.training.settings import AutoencoderSettings, DenoiserSettings
from napari_memscan.volumes.cohort import Cohort
from napari_memscan.volumes.importers import import_cohort, import_csv
from napari_memscan.volumes.preprocessing import Preprocessing, Window
from napari_memscan.volumes.reader import write_nifti
from napari_memscan.volumes.volume import Volume

SHAPE = (16, 16, 16)
TRAINING, TWICE, TIMES, VALIDATION = 12, 2, 6, 64
"""Patients, of whom the first two are there six times, under other names and with other noise."""
NOISE = 8.0
"""Of a scan, in HU: that of a phantom once more."""

AUTOENCODER = AutoencoderSettings(steps=300, channels=(16, 32), batch=4)
DENOISER = DenoiserSettings(steps=700, channels=(16, 32))
LOOK, LIMIT = MonitorSettings(every=100, samples=16, stop_above=0.2), 0.2


def write_phantoms(folder: Path) -> Cohort:
    """Write the phantoms where they are not yet."""
    random = np.random.default_rng(0)
    for split, first, n in (("training", 0, TRAINING), ("validation", TRAINING, VALIDATION)):
        for i in range(first, first + n):
            write_nifti(draw_phantom((7, i), SHAPE), folder / split / f"P{i:02d}.nii.gz")
    for i in range(TWICE):
        one = draw_phantom((7, i), SHAPE)
        for k in range(1, TIMES):
            data = one.data + random.normal(0, NOISE, SHAPE).astype(np.float32)
            name = f"Q{i}{k}.nii.gz"
            write_nifti(Volume(np.round(data), one.spacing), folder / "training" / name)
    return import_cohort(folder)


def open_study(folder: Path, rows: Cohort) -> Study:
    """Open a study, or make it."""
    if (folder / "study.toml").exists():
        return Study.open(folder)
    recipe = Preprocessing(shape=SHAPE, intensity=Window(low=HU_WINDOW[0], high=HU_WINDOW[1]))
    return Study.create(folder, StudyConfig(name=folder.name, preprocessing=recipe), rows)


def scan_samples(
    study: Study, coder: Path, settings: DenoiserSettings, n: int, monitor: MonitorSettings | None
) -> tuple[ScanResult, str]:
    """Train, sample and scan; return the scan, and at which step the training ended."""
    started, out = time.monotonic(), study.folder / "models" / "denoiser"
    job = jobs.train_model(study, "denoiser", out, settings, autoencoder=coder, monitor=monitor)
    model = jobs.run_job(job)
    if study.config.generator is None:
        study.update(generator=GeneratorConfig(kind="ldm", path=str(model)))
    jobs.run_job(jobs.generate_volumes(study, n))
    result = jobs.run_job(jobs.scan_study(study))
    step = study.generator().recipe.provenance["denoiser"].get("step", settings.steps)
    print(f"{study.config.name}: {time.monotonic() - started:.0f} s", flush=True)
    return result, str(step)


def compare_measures(folder: Path, n: int) -> list[RetrainingComparison]:
    """Return copies among `n` volumes without and with each measure.

    A second training of the base run with another seed shows what chance does.
    """
    rows = write_phantoms(folder / "phantoms")
    base = open_study(folder / "base", rows)
    coder = folder / "autoencoder"
    if not (coder / "recipe.json").exists():
        jobs.run_job(jobs.train_model(base, "autoencoder", coder, AUTOENCODER))
    clean = folder / "clean" / "cohort.csv"
    if not clean.exists():
        found = jobs.run_job(jobs.deduplicate_cohort(base))
        found.write(clean, suspected=True)
    kept = import_csv(clean)
    n_all, n_kept = len(rows.rows("training")), len(kept.rows("training"))
    first, _ = scan_samples(base, coder, DENOISER, n, None)

    def tried(
        name: str, rows: Cohort, change: str = "", watch: MonitorSettings | None = None, **more: int
    ) -> list[RetrainingComparison]:
        study = open_study(folder / name.replace(" ", "-"), rows)
        result, step = scan_samples(study, coder, DENOISER.model_copy(update=more), n, watch)
        change = change or f"{DENOISER.steps} -> {step} steps"
        return [
            RetrainingComparison(
                name,
                change,
                what,
                Proportion(a, n),
                Proportion(b, n),
                ProportionDifference(a, n, b, n).answer("lowers"),
            )
            for what, (a, b) in _counts(first, result).items()
        ]

    return [
        *tried("another seed", rows, "1 -> 2", seed=2),
        *tried("augmentation", rows, "0 -> 7 views", views=7),
        *tried("deduplication", kept, f"{n_all} -> {n_kept} volumes"),
        *tried("early stop", rows, watch=LOOK),
    ]


def _counts(first: ScanResult, second: ScanResult) -> dict[str, tuple[int, int]]:
    def of(result: ScanResult) -> dict[str, int]:
        rules = {f"{rule.name} calls": rule.n_copies for rule in result.rules}
        called = [s for s in result.samples if s.verdict in ("copy", "near-duplicate")]
        planted = [
            s
            for s in called
            if s.neighbour[:3] in {f"P{i:02d}" for i in range(TWICE)} or s.neighbour.startswith("Q")
        ]
        return {
            "verified copies": result.count("copy"),
            **rules,
            "called, of the planted": len(planted),
        }

    one, two = of(first), of(second)
    return {what: (one[what], two[what]) for what in one}
