"""Copies before and after each measure against them, and what of the coverage is lost.

    python benchmarks/mitigation.py FOLDER                    # the demo's model on its phantoms
    python benchmarks/mitigation.py FOLDER --study audit      # a study with a model of your own
    python benchmarks/mitigation.py FOLDER --hippocampus DIR  # trains a model there first: hours
    python benchmarks/mitigation.py FOLDER --training         # measures that need another training

Goal: screening and guidance together leave no verified copy, so that the share of copies is below
what so many volumes can show, and at most 10 % of the coverage of plain sampling is lost. Of the
models named, one that copies nobody proves nothing, and is said to. With --training nothing is to
be reached: small phantoms are learned as they are, augmented, without the duplicates planted among
them, and until the monitor ends it; each is sampled and scanned.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from _retraining import compare_measures
from napari_memscan import jobs
from napari_memscan.config import GeneratorConfig, StudyConfig
from napari_memscan.demo.study import create_demo_study
from napari_memscan.detection.mitigation import (
    MAX_COVERAGE_LOSS,
    UNSEEN_COVERAGE,
    MitigationComparison,
)
from napari_memscan.report.mitigation import format_mitigation, format_retrained_table
from napari_memscan.study import Study
from napari_memscan.training.settings import AutoencoderSettings, DenoiserSettings
from napari_memscan.volumes.importers import import_cohort
from napari_memscan.volumes.preprocessing import Percentile, Preprocessing

# Copies are wanted here: an eighth of the volumes is drawn eight times as often, for long.
AUTOENCODER = AutoencoderSettings(steps=400)
DENOISER = DenoiserSettings(steps=4000, duplicated=16, times=8)


def hippocampus(folder: Path, data: Path) -> Study:
    """Train a model that copies some of the hippocampus volumes, or open the study that has it."""
    if (folder / "study.toml").exists():
        study = Study.open(folder)
    else:
        recipe = Preprocessing(shape=(32, 48, 32), intensity=Percentile())
        config = StudyConfig(name="Hippocampus", preprocessing=recipe)
        study = Study.create(folder, config, import_cohort(data))
    models = folder / "models"
    for part, settings in (("autoencoder", AUTOENCODER), ("denoiser", DENOISER)):
        if not (models / part / "recipe.json").exists():
            coder = models / "autoencoder"
            jobs.run_job(jobs.train_model(study, part, models / part, settings, autoencoder=coder))
    if study.config.generator is None:
        study.update(generator=GeneratorConfig(kind="ldm", path=str(models / "denoiser")))
    return study


def goals(found: MitigationComparison) -> list[tuple[str, bool | None]]:
    """Return what was to be reached, and whether it was; None where nothing can be said."""
    plain, last = found.measures[0], found.measures[-1]
    copies = bool(plain.copies)
    loss, unseen = found.loss(last), found.loss(last, UNSEEN_COVERAGE)
    said = [
        (
            f"verified copies {plain.copies} of {plain.n} -> {last.copies} of {last.n}, none left "
            f"(limit {last.limit:.1%})",
            last.below if copies else None,
        )
    ]
    for name, lost in (("coverage", loss), (UNSEEN_COVERAGE, unseen)):
        text = "not known" if lost is None else f"{lost:+.1%}"
        reached = None if lost is None else lost <= MAX_COVERAGE_LOSS
        said.append((f"{name} lost {text}, at most {MAX_COVERAGE_LOSS:.0%}", reached))
    return said


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="for the demo's study and the models made here")
    parser.add_argument("--study", type=Path, action="append", default=[])
    parser.add_argument("--hippocampus", type=Path, metavar="DIR")
    parser.add_argument("--training", action="store_true")
    parser.add_argument("--no-demo", action="store_true")
    parser.add_argument("-n", type=int, default=32)
    parser.add_argument("--guidance", type=float, default=2.0)
    options = parser.parse_args()
    if options.training:
        started, own = time.monotonic(), time.process_time()
        rows = compare_measures(options.folder / "training", options.n)
        print(f"\n{options.n} volumes of each training\n\n{format_retrained_table(rows)}")
        _tell_time(started, own)
        return
    studies = [] if options.no_demo else [create_demo_study(options.folder / "demo")]
    studies += [Study.open(path) for path in options.study]
    if options.hippocampus is not None:
        studies.append(hippocampus(options.folder / "hippocampus", options.hippocampus))
    for study in studies:
        started, own = time.monotonic(), time.process_time()
        found = jobs.run_job(jobs.evaluate_mitigation(study, options.n, guidance=options.guidance))
        print(f"\n== {study.config.name}, {options.n} volumes, guidance {options.guidance:g}\n")
        print(format_mitigation(found))
        print()
        for text, reached in goals(found):
            word = "----" if reached is None else "PASS" if reached else "FAIL"
            print(f"{word}  {text}")
        if not found.measures[0].copies:
            print("      no verified copy in the first place: nothing to be gained here")
        _tell_time(started, own)


def _tell_time(started: float, own: float) -> None:
    clock, processor = time.monotonic() - started, time.process_time() - own
    print(
        f"{clock:.0f} s by the clock, {processor:.0f} s of this process; load of the machine "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )


if __name__ == "__main__":
    main()
