"""A scan of 10,000 synthetic against 10,000 training vectors: seconds and peak memory of its parts.

Vectors are given, so that all else is measured: neighbours both ways, all rules, verdicts, writing
the result and reading it back. Against it, in the same run, the authors' way for the paper's rule
alone: SciPy's ``cdist`` of training to validation and to synthetic, and two sorts of every row.
Each size and side runs in a process of its own, so that its peak memory is its own.

    python benchmarks/scale.py [--training 10000] [--synthetic 10000] [--validation 2000 10000]
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np


def vectors(n: int, dim: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, dim), dtype=np.float32)


def peak() -> float:
    """Return this process's largest memory so far in MB; ru_maxrss counts its parent's too."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(x.split()[1]) for x in status.splitlines() if x.startswith("VmHWM")) / 1024


class Embedder:
    """Says what made the vectors."""

    name, hash, dim, input_shape = "given", "0" * 16, 0, None


def memscan(training: np.ndarray, validation: np.ndarray, synthetic: np.ndarray, k: int) -> dict:
    from napari_memscan.detection.results.scan_result import ScanResult
    from napari_memscan.detection.scan import scan_vectors

    def paths(split: str, vectors: np.ndarray) -> list[str]:
        return [f"/data/cohort/{split}/volume-{i:06d}.nii.gz" for i in range(len(vectors))]

    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        result = scan_vectors(
            training,
            validation,
            synthetic,
            training_names=paths("training", training),
            synthetic_names=paths("synthetic", synthetic),
            validation_names=paths("validation", validation),
            embedder=Embedder(),
            k=k,
        )
        seconds["scan"] = time.perf_counter() - start
        start = time.perf_counter()
        result.save(folder)
        seconds["save"] = time.perf_counter() - start
        start = time.perf_counter()
        loaded = ScanResult.load(folder)
        seconds["load"] = time.perf_counter() - start
    if loaded.samples != result.samples or loaded.null != result.null:
        raise SystemExit("what was read differs from what was written")
    paper = next(rule for rule in result.rules if rule.name == "dar2024")
    return seconds | {"counts": (paper.n_copies, round(paper.mem_share * len(training)))}


def authors(training: np.ndarray, validation: np.ndarray, synthetic: np.ndarray, k: int) -> dict:
    from scipy.spatial.distance import cdist

    start = time.perf_counter()
    nearest = np.sort(cdist(training, validation, "correlation"), axis=1)[:, 0]
    tau = np.percentile(nearest, 5)
    distances = cdist(training, synthetic, "correlation")
    np.argsort(distances, axis=1)
    n_mem = int((np.sort(distances, axis=1)[:, 0] < tau).sum())
    np.argsort(distances.T, axis=1)
    n_copies = int((np.sort(distances.T, axis=1)[:, 0] < tau).sum())
    return {"scan": time.perf_counter() - start, "counts": (n_copies, n_mem)}


def measure(pipe, name: str, sizes: tuple[int, int, int], dim: int, k: int) -> None:
    run = {"memscan": memscan, "authors": authors}[name]
    small = [vectors(30, dim, seed) for seed in range(3)]
    run(*small, k)  # imports are not part of the claim
    given = [vectors(n, dim, seed) for seed, n in enumerate(sizes)]
    start = time.perf_counter()
    values = run(*given, k)
    pipe.send(values | {"total": time.perf_counter() - start, "peak": peak()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--training", type=int, default=10_000)
    parser.add_argument("--synthetic", type=int, default=10_000)
    parser.add_argument("--validation", type=int, nargs="+", default=[2_000, 10_000])
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("-k", type=int, default=5)
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    print(
        f"{options.training} training, {options.synthetic} synthetic, {options.dim} dimensions, "
        f"{options.k} neighbours; seconds"
    )
    parts = ("scan", "save", "load", "total")
    print(f"{'validation':>10}  {'':8}" + "".join(f"{p:>8}" for p in parts) + f"{'peak MB':>9}")
    for validation in options.validation:
        rows = {}
        for name in ("authors", "memscan"):
            receive, send = spawn.Pipe()
            sizes = (options.training, validation, options.synthetic)
            process = spawn.Process(
                target=measure, args=(send, name, sizes, options.dim, options.k)
            )
            process.start()
            send.close()
            row = rows[name] = receive.recv()
            process.join()
            figures = "".join(f"{row[p]:8.2f}" if p in row else f"{'':8}" for p in parts)
            print(f"{validation:10}  {name:8}{figures}{row['peak']:9.0f}", flush=True)
        faster = rows["authors"]["total"] / rows["memscan"]["total"]
        leaner = rows["authors"]["peak"] / rows["memscan"]["peak"]
        counts = rows["memscan"]["counts"]
        same = "the same" if counts == rows["authors"]["counts"] else "DIFFERENT"
        print(
            f"{validation:10}  ratio: {faster:.1f}x faster, {leaner:.1f}x leaner; "
            f"N_copies, N_mem by the paper's rule {counts}, {same} both ways"
        )


if __name__ == "__main__":
    main()
