"""Nearest neighbours: blocked product against the authors' way, times and memory in one run.

The authors' notebook computes all correlation distances with SciPy's ``cdist``, then sorts every
row twice (``argsort`` for the indices, ``sort`` for the values). Each side runs in a process of its
own, so that its peak memory is its own.

    python benchmarks/neighbours.py [--training 100000] [--queries 1000] [--dim 128] [-k 5]
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from pathlib import Path

import numpy as np


def vectors(n: int, dim: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, dim), dtype=np.float32)


def authors(training: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    from scipy.spatial.distance import cdist

    distances = cdist(queries, training, "correlation")
    order = np.argsort(distances, axis=1)
    np.sort(distances, axis=1)
    return order[:, :k]


def ours(training: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    from napari_memscan.detection.retrieval.neighbours import NeighbourIndex

    return NeighbourIndex().fit(training).kneighbors(queries, k)[1]


def peak() -> float:
    """Return this process's largest memory so far in MB; ru_maxrss counts its parent's too."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(x.split()[1]) for x in status.splitlines() if x.startswith("VmHWM")) / 1024


def measure(pipe, name: str, n: int, q: int, dim: int, k: int) -> None:
    run = {"authors": authors, "memscan": ours}[name]
    training, queries = vectors(n, dim, 0), vectors(q, dim, 1)
    run(training[:100], queries[:10], k)  # imports are not part of the claim
    before = peak()
    start = time.perf_counter()
    indices = run(training, queries, k)
    seconds = time.perf_counter() - start
    pipe.send((seconds, peak() - before, indices))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--training", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("-k", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    results: dict[str, list] = {"authors": [], "memscan": []}
    for _ in range(options.rounds):
        for name, rows in results.items():
            receive, send = spawn.Pipe()
            size = (options.training, options.queries, options.dim, options.k)
            process = spawn.Process(target=measure, args=(send, name, *size))
            process.start()
            rows.append(receive.recv())
            process.join()
    print(f"{options.training} training, {options.queries} queries, {options.dim} dimensions")
    print(f"{'':10}{'seconds':>10}{'MB more':>10}   (medians of {options.rounds})")
    median = {
        n: [float(np.median([r[i] for r in rows])) for i in (0, 1)] for n, rows in results.items()
    }
    for name, (seconds, memory) in median.items():
        print(f"{name:10}{seconds:10.2f}{memory:10.0f}")
    print(
        f"{'ratio':10}{median['authors'][0] / median['memscan'][0]:10.1f}"
        f"{median['authors'][1] / max(median['memscan'][1], 1):10.1f}"
    )
    same = np.mean(results["authors"][0][2] == results["memscan"][0][2])
    print(f"same neighbours: {same:.2%}")


if __name__ == "__main__":
    main()
