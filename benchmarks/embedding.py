"""Embedding a study, with the next volume read meanwhile, against one volume after another.

Each way with an empty cache, in turns; then the peak memory of few against many volumes, each in
a process of its own. How much reading ahead brings depends on how long reading takes beside
computing, so both are printed, and on a core being free for it.

    python benchmarks/embedding.py [--volumes 12] [--size 160] [--rounds 3] [--embedder CHECKPOINT]
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from napari_memscan import jobs
from napari_memscan.config import StudyConfig
from napari_memscan.demo.phantoms import write_phantom_cohort
from napari_memscan.demo.study import get_demo_checkpoint, make_demo_preprocessing
from napari_memscan.study import Study


def paths(study: Study) -> list[str]:
    return [row.path for split in ("training", "validation") for row in study.cohort.rows(split)]


def one_after_another(study: Study) -> tuple[float, float]:
    """Embed as a plain loop does; return seconds in all, and of reading."""
    embedder, recipe = study.embedder(), study.config.preprocessing
    start, reading = time.perf_counter(), 0.0
    for path in paths(study):
        begin = time.perf_counter()
        study.sha256(path)
        volume = recipe.apply(study.volume(path))
        reading += time.perf_counter() - begin
        study.cache.get(Path(path).name, lambda v=volume: embedder.embed(v[None, None])[0])
    return time.perf_counter() - start, reading


def read_ahead(study: Study) -> tuple[float, float]:
    start = time.perf_counter()
    jobs.run_job(jobs.embed_cohort(study))
    return time.perf_counter() - start, 0.0


def peak(pipe, folder: str) -> None:
    jobs.run_job(jobs.embed_cohort(Study.open(folder)))
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def make(root: Path, n: int, size: int, embedder: Path) -> Study:
    cohort = write_phantom_cohort(
        root / f"volumes{n}", n // 2, n - n // 2, 0, shape=(size, size, size)
    )
    config = StudyConfig(
        name="embedding", preprocessing=make_demo_preprocessing(), embedder=str(embedder.resolve())
    )
    return Study.create(root / f"study{n}", config, cohort)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", type=int, default=12)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--embedder", type=Path, default=get_demo_checkpoint("ldm"))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        study = make(root, options.volumes, options.size, options.embedder)
        study.embedder()
        ways = {"one after another": one_after_another, "next one read ahead": read_ahead}
        rows: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for _ in range(options.rounds):
            for way, run in ways.items():
                shutil.rmtree(study.cache_dir, ignore_errors=True)
                rows[way].append(run(study))
        print(f"{options.volumes} volumes of {options.size}^3, medians of {options.rounds}")
        median = {way: statistics.median(a for a, _ in values) for way, values in rows.items()}
        for way, seconds in median.items():
            print(f"{way:22}{seconds:8.2f} s")
        reading = statistics.median(b for _, b in rows["one after another"])
        print(f"{'of it reading':22}{reading:8.2f} s")
        a, b = median.values()
        print(f"{'faster':22}{a / b:8.2f}x   (at most {a / max(reading, a - reading):.2f}x)")
        peaks = {}
        spawn = multiprocessing.get_context("spawn")
        for n in (options.volumes // 2, options.volumes * 2):
            receive, send = spawn.Pipe()
            folder = str(make(root, n, options.size, options.embedder).folder)
            process = spawn.Process(target=peak, args=(send, folder))
            process.start()
            peaks[n] = receive.recv()
            process.join()
    for n, megabytes in peaks.items():
        print(f"peak of {n:4} volumes{megabytes:9.0f} MB")
    few, many = peaks.values()
    print(f"ratio of the peaks    {many / few:8.3f}")


if __name__ == "__main__":
    main()
