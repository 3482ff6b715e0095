"""Scans of a study that is unchanged, or has one volume more, against the first scan.

Times scans of one study in one run, and counts the volumes that each embeds and the pairs that each
registers. The study is the demo's phantoms, small, with unseen ones in place of synthetic volumes;
candidates are verified. With one training volume more, those that are planted from it are new, too.

    python benchmarks/rescan.py [--training 48] [--side 24] [--planted 4] [--no-verify]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from napari_memscan import jobs
from napari_memscan.config import GeneratorConfig, StudyConfig, VerificationConfig
from napari_memscan.demo.phantoms import draw_phantom, write_phantom_cohort
from napari_memscan.demo.study import make_demo_preprocessing
from napari_memscan.detection.registration.verifier import Verifier
from napari_memscan.study import Study
from napari_memscan.volumes.cohort import Cohort, CohortRow
from napari_memscan.volumes.reader import write_nifti

FASTER = 20
"""Times, of a scan of an unchanged study: the goal."""


def counted(of: type, name: str, count: Callable[..., None]) -> Callable[[], None]:
    """Call `count` before each call of a method; returns what ends that."""
    original = getattr(of, name)

    def noted(self, *args):
        count(*args)
        return original(self, *args)

    setattr(of, name, noted)
    return lambda: setattr(of, name, original)


def scan(study: Study) -> tuple[float, int, int]:
    """Return the seconds of a scan, the volumes it embeds, and the pairs it registers."""
    seen: Counter[str] = Counter()
    ends = [
        counted(type(study.embedder()), "embed", lambda batch: seen.update(embedded=len(batch))),
        counted(Verifier, "verify", lambda *_: seen.update(registered=1)),
    ]
    try:
        start = time.perf_counter()
        jobs.run_job(jobs.scan_study(study))
        return time.perf_counter() - start, seen["embedded"], seen["registered"]
    finally:
        for end in ends:
            end()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--training", type=int, default=48)
    parser.add_argument("--side", type=int, default=24, help="voxels along an axis")
    parser.add_argument("--planted", type=int, default=4, help="copies planted of each kind")
    parser.add_argument("--no-verify", action="store_true", help="verdicts rest on embeddings")
    options = parser.parse_args()
    shape, n = (options.side,) * 3, options.training
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        cohort = write_phantom_cohort(root / "phantoms", n, n // 2, 0, shape=shape)
        for i in range(n // 2):
            write_nifti(draw_phantom((7, i), shape), root / "made" / f"{i:03d}.nii.gz")
        config = StudyConfig(
            name="rescan",
            preprocessing=make_demo_preprocessing().model_copy(update={"shape": shape}),
            generator=GeneratorConfig(kind="folder", path=str(root / "made")),
            verification=VerificationConfig(
                enabled=not options.no_verify, planted=options.planted, workers=1
            ),
        )
        study = Study.create(root / "study", config, cohort)
        study.embedder()  # loading networks is no part of the claim
        rows = {"first scan": scan(study), "unchanged": scan(study)}
        write_nifti(draw_phantom((8, 0), shape), root / "made" / "new.nii.gz")
        rows["one synthetic more"] = scan(study)
        write_nifti(draw_phantom((8, 1), shape), root / "new.nii.gz")
        row = CohortRow(str(root / "new.nii.gz"), "training", "new")
        taken = [sample.sample for sample in study.samples()]
        Cohort.from_rows([*cohort.rows(), row], taken=taken).save(study.cohort_path)
        study = Study.open(study.folder)
        study.embedder()
        rows["one training more"] = scan(study)
    first = rows["first scan"][0]
    print(f"{n} training, {n // 2} validation, {n // 2} synthetic volumes of {options.side}^3")
    print(f"{'':20}{'seconds':>9}{'embedded':>10}{'registered':>12}{'faster':>9}")
    for what, (seconds, embedded, registered) in rows.items():
        print(f"{what:20}{seconds:9.2f}{embedded:10}{registered:12}{first / seconds:8.1f}x")
    gain = first / rows["unchanged"][0]
    word = "PASS" if gain >= FASTER else "FAIL"
    print(f"{word}: a scan of an unchanged study is {gain:.0f} times faster (goal: {FASTER})")
    word = "PASS" if rows["one synthetic more"][1] == 1 else "FAIL"
    print(f"{word}: one synthetic volume more is the only one that is embedded")


if __name__ == "__main__":
    main()
