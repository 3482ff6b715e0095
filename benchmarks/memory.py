"""Peak memory of generating 100 volumes against 5: each is written as soon as it is finished.

Each number of volumes in a process of its own; the study's table and its locks are part of it.

    python benchmarks/memory.py [--few 5] [--many 100] [--steps 4] [--ldm CHECKPOINT]
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

from napari_memscan.config import GeneratorConfig, StudyConfig
from napari_memscan.demo.phantoms import write_phantom_cohort
from napari_memscan.demo.study import get_demo_checkpoint, make_demo_preprocessing
from napari_memscan.study import Study


def peak() -> float:
    """Return this process's largest memory so far in MB; ru_maxrss counts its parent's too."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(x.split()[1]) for x in status.splitlines() if x.startswith("VmHWM")) / 1024


def measure(pipe, folder: str, n: int, steps: int) -> None:
    from napari_memscan import jobs

    start = time.perf_counter()
    jobs.run_job(jobs.generate_volumes(Study.open(folder), n, steps=steps))
    pipe.send((time.perf_counter() - start, peak()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--few", type=int, default=5)
    parser.add_argument("--many", type=int, default=100)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--ldm", type=Path, default=get_demo_checkpoint("ldm"))
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    rows: dict[int, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        cohort = write_phantom_cohort(root / "phantoms", 4, 4, 0)
        for n in (options.few, options.many):
            config = StudyConfig(
                name="memory",
                preprocessing=make_demo_preprocessing(),
                generator=GeneratorConfig(kind="ldm", path=str(options.ldm.resolve())),
            )
            study = Study.create(root / str(n), config, cohort)
            receive, send = spawn.Pipe()
            process = spawn.Process(
                target=measure, args=(send, str(study.folder), n, options.steps)
            )
            process.start()
            rows[n] = receive.recv()
            process.join()
    print(f"{'volumes':>8}{'seconds':>9}{'peak MB':>9}")
    for n, (seconds, peak) in rows.items():
        print(f"{n:8}{seconds:9.1f}{peak:9.0f}")
    print(f"ratio of the peaks: {rows[options.many][1] / rows[options.few][1]:.3f}")


if __name__ == "__main__":
    main()
