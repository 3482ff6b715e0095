"""Generating with several processes on this host against one: seconds, and whether bytes agree.

Starting the processes is counted and also printed alone, since it does not grow with the work.

    python benchmarks/processes.py [--processes 2] [-n 16] [--steps 25]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from napari_memscan.config import GeneratorConfig, StudyConfig
from napari_memscan.demo.phantoms import write_phantom_cohort
from napari_memscan.demo.study import get_demo_checkpoint, make_demo_preprocessing
from napari_memscan.study import Study

MAIN = "from napari_memscan.cli import main\nmain()\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("-n", type=int, default=16)
    parser.add_argument("--steps", type=int, default=25)
    options = parser.parse_args()
    # One thread each: otherwise one process would use the others' cores, and round differently.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    rows = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        script = root / "memscan.py"
        script.write_text(MAIN)
        cohort = write_phantom_cohort(root / "phantoms", 4, 4, 0)
        config = StudyConfig(
            name="processes",
            preprocessing=make_demo_preprocessing(),
            generator=GeneratorConfig(kind="ldm", path=str(get_demo_checkpoint("ldm"))),
        )
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        torchrun += ["--nproc-per-node", str(options.processes)]
        for n, start in ((1, [sys.executable]), (options.processes, torchrun)):
            study = Study.create(root / f"by{n}", config, cohort)
            command = [*start, str(script), "generate", str(study.folder), "--steps"]
            command += [str(options.steps), "--precision", "float32", "-n"]
            begin = time.perf_counter()
            subprocess.run([*command, "2"], check=True, capture_output=True, env=environment)
            few = time.perf_counter() - begin
            begin = time.perf_counter()
            count = str(options.n + 2)
            subprocess.run([*command, count], check=True, capture_output=True, env=environment)
            many = time.perf_counter() - begin
            files = {p.name: p.read_bytes() for p in study.synthetic_dir.glob("[!.]*")}
            # From the first volume of the second run on: what is left without starting.
            written = sorted(p.stat().st_mtime for p in study.synthetic_dir.glob("s*.nii.gz"))[2:]
            rate = 60 * (len(written) - n) / (written[-1] - written[n - 1])
            rows.append((n, few, many, rate, files))
    print(
        f"{'processes':>10}{'2 volumes':>11}{f'{options.n} more':>10}{'a minute once running':>24}"
    )
    for n, few, many, rate, _ in rows:
        print(f"{n:10}{few:9.1f} s{many:8.1f} s{rate:20.1f}")
    (_, _, one, rate1, files1), (_, _, several, rate2, files2) = rows
    print(f"faster, with starting {one / several:.2f}x, once running {rate2 / rate1:.2f}x")
    print(f"same bytes in all {len(files1)} files: {files1 == files2}")


if __name__ == "__main__":
    main()
