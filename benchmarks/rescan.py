"""A scan of an unchanged study, and of one with a single new volume, against the first scan.

Times three scans of one study in one run and counts the volumes that each embeds. The study is the
demo's phantoms with unseen ones in place of synthetic volumes. Verdicts rest on embeddings, so that
a first scan costs least; with --verify volumes are registered too, which takes a minute for every
ten volumes and more.

    python benchmarks/rescan.py [--training 64] [--verify] [--planted 12]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from napari_memscan import jobs
from napari_memscan.config import GeneratorConfig, StudyConfig, VerificationConfig
from napari_memscan.demo.phantoms import phantom, write_cohort
from napari_memscan.demo.study import checkpoint_path, preprocessing
from napari_memscan.study import Study
from napari_memscan.volumes.reader import write_nifti


def scan(study: Study) -> tuple[float, int]:
    embedder = study.embedder()
    embed, count = type(embedder).embed, 0

    def counted(self, batch):
        nonlocal count
        count += len(batch)
        return embed(self, batch)

    type(embedder).embed = counted
    try:
        start = time.perf_counter()
        jobs.run(jobs.scan(study))
        return time.perf_counter() - start, count
    finally:
        type(embedder).embed = embed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--training", type=int, default=64)
    parser.add_argument("--verify", action="store_true", help="register candidates too")
    parser.add_argument("--planted", type=int, default=12, help="copies planted of each kind")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        cohort = write_cohort(root / "phantoms", options.training, options.training, 0)
        for i in range(options.training):
            write_nifti(phantom((7, i)), root / "made" / f"{i:03d}.nii.gz")
        config = StudyConfig(
            name="rescan",
            preprocessing=preprocessing(),
            generator=GeneratorConfig(kind="folder", path=str(root / "made")),
            embedder=str(checkpoint_path("embedder")),
            verification=VerificationConfig(
                enabled=options.verify, planted=options.planted, workers=1
            ),
        )
        study = Study.create(root / "study", config, cohort)
        study.embedder()  # loading networks is no part of the claim
        rows = {"first scan": scan(study), "unchanged": scan(study)}
        write_nifti(phantom((8, 0)), root / "made" / "new.nii.gz")
        rows["one volume more"] = scan(study)
    first = rows["first scan"][0]
    print(f"{'':18}{'seconds':>9}{'embedded':>10}{'faster':>9}")
    for what, (seconds, count) in rows.items():
        print(f"{what:18}{seconds:9.2f}{count:10}{first / seconds:8.1f}x")


if __name__ == "__main__":
    main()
