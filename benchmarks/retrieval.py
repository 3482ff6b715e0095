"""Retrieval without training: recall of planted sources, seconds a query, memory.

Copies and elastic near-duplicates with all changes at once (`perturbations.KINDS`) are sought among
the volumes they were made from: by the correlator, by plain correlation of pixels of low-resolution
images, and by both together (a quarter of the candidates from pixels, as an embedder proposes them,
the others from the correlator), in the same run. Speed and memory are those of a process of its own
on one thread, the query's preparation included. What all shifts would cost by FFT, instead of a
grid of them by matrix products, is measured on arrays of the same size.

    OMP_NUM_THREADS=1 python benchmarks/retrieval.py [--hippocampus FOLDER] [--queries 100]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import time
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402 (threads are set before)

RECALL, SECONDS = 0.99, 0.3
"""Goals: of a planted source among 20 candidates; and at most, for a query of 1,000 volumes."""
CLASSES = {"copy": "all at once", "near-duplicate": "elastic, all at once"}
DEPTHS = (1, 5, 10, 20)


def phantoms(n: int, seed: int, side: int) -> np.ndarray:
    from napari_memscan.demo.phantoms import HU_WINDOW, draw_phantom

    low, high = HU_WINDOW
    volumes = [draw_phantom((seed, i), (side,) * 3).data for i in range(n)]
    return np.clip((np.stack(volumes) - low) / (high - low), 0, 1).astype(np.float32)


def hippocampus(folder: Path, splits: tuple[str, ...]) -> np.ndarray:
    from napari_memscan.volumes.importers import import_cohort
    from napari_memscan.volumes.preprocessing import Percentile, Preprocessing
    from napari_memscan.volumes.reader import read_volume

    recipe = Preprocessing(shape=(32, 48, 32), intensity=Percentile())
    cohort = import_cohort(folder)
    rows = [row for split in splits for row in cohort.rows(split)]
    return np.stack([recipe.apply(read_volume(row.path)) for row in rows])


def pixel_ranks(training: np.ndarray, queries: list[np.ndarray], sources: np.ndarray) -> list[int]:
    """Rank sources by correlation of small images as they stand."""
    from napari_memscan.detection.retrieval.neighbours import NeighbourIndex
    from napari_memscan.embedders.low_resolution import LowResolutionEmbedder

    embedder = LowResolutionEmbedder((12, 12, 12))
    index = NeighbourIndex().fit(embedder.embed(training[:, None]))
    _, found = index.kneighbors(embedder.embed(np.stack(queries)[:, None]), len(training))
    return [
        int(np.flatnonzero(row == source)[0]) for row, source in zip(found, sources, strict=True)
    ]


def recall(name: str, training: np.ndarray, n_queries: int, seed: int, options: dict) -> None:
    from napari_memscan.detection.planting.perturbations import draw_perturbation
    from napari_memscan.detection.retrieval.correlator import Correlator

    correlator = Correlator(**options).fit(training)
    for label, kind in CLASSES.items():
        random = np.random.default_rng(seed)
        sources = random.integers(len(training), size=n_queries)
        queries = [
            draw_perturbation(kind, training.shape[1:], random).apply(training[i]) for i in sources
        ]
        ranks: dict[str, list[int]] = {"pixels": pixel_ranks(training, queries, sources)}
        ranks["correlator"] = []
        for query, source in zip(queries, sources, strict=True):
            found = [c.index for c in correlator.search(query, max(DEPTHS))]
            ranks["correlator"].append(found.index(source) if source in found else 10**6)
        among = {way: [np.array(of) < k for k in DEPTHS] for way, of in ranks.items()}
        pixels, own = (np.array(of) for of in ranks.values())
        among["both"] = [(pixels < k // 4) | (own < k - k // 4) for k in DEPTHS]
        for way, found in among.items():
            shares = "".join(f"{one.mean():8.3f}" for one in found)
            print(f"{name:12}{label:16}{way:12}{shares}", flush=True)
        for way in ("correlator", "both"):
            share = among[way][-1].mean()
            word = "PASS" if share >= RECALL else "FAIL"
            print(f"{word}: recall@{DEPTHS[-1]} of {way} {share:.3f} (goal: {RECALL})", flush=True)


class _Repeated:
    """Many volumes without the memory of many: what is measured is the correlator's own."""

    def __init__(self, volumes: list[np.ndarray], n: int) -> None:
        self.volumes, self.n = volumes, n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> np.ndarray:
        # A roll, so that no two are alike.
        return np.roll(self.volumes[i % len(self.volumes)], i // len(self.volumes), axis=i % 3)


def speed(pipe, n: int, side: int, rounds: int, options: dict) -> None:
    from scipy.ndimage import gaussian_filter

    from napari_memscan.detection.retrieval.correlator import Correlator

    random = np.random.default_rng(0)
    volumes = [gaussian_filter(random.random((side,) * 3), 2).astype(np.float32) for _ in range(24)]
    Correlator(**options).fit(volumes).search(volumes[0])  # imports are no part of the claim
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    correlator = Correlator(**options).fit(_Repeated(volumes, n))
    fit = (time.process_time() - start) / n
    fitted = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for i in range(rounds):
        query = volumes[i % 24] + 0.05 * volumes[(i + 1) % 24]
        start = time.process_time()
        correlator.search(query, 20)
        seconds.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kept = sum(v.nbytes for v in vars(correlator).values() if isinstance(v, np.ndarray)) / n
    pipe.send((fit, seconds, kept, (fitted - before) / 1024, (peak - before) / 1024))


def shifts(n: int = 200, side: int = 20) -> tuple[float, float]:
    """Return seconds a training volume in 8 flips and 27 turns: 27 shifts by products, all by FFT.

    Without the components that let the correlator compare few volumes in full.
    """
    from scipy.fft import irfftn, rfftn

    random, axes = np.random.default_rng(0), (1, 2, 3)
    poses = random.random((27 * 27, side**3), np.float32)
    training = random.random((n, side**3), np.float32)
    start = time.process_time()
    for _ in range(8):
        (poses @ training.T).max(axis=0)
    products = time.process_time() - start
    turned = rfftn(random.random((8 * 27, side, side, side), np.float32), axes=axes)
    seen = rfftn(training.reshape(n, side, side, side), axes=axes).conj()
    start = time.process_time()
    for one in seen:
        irfftn(turned * one, axes=axes).max()
    return products / n, (time.process_time() - start) / n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hippocampus", type=Path, help="folder of that cohort; optional")
    parser.add_argument("--splits", nargs="+", default=["validation", "unseen"])
    parser.add_argument("--references", type=int, default=1000, help="phantoms")
    parser.add_argument("--shape", type=int, default=32, help="their voxels along an axis")
    parser.add_argument("--queries", type=int, default=100, help="a class and cohort")
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("--survivors", type=int, help="instead of the default")
    parser.add_argument("--training", type=int, default=1000, help="volumes, for the speed")
    parser.add_argument("--side", type=int, default=64, help="their voxels along an axis")
    parser.add_argument("--rounds", type=int, default=10)
    asked = parser.parse_args()
    options = {} if asked.survivors is None else {"survivors": asked.survivors}

    spawn = multiprocessing.get_context("spawn")
    receive, send = spawn.Pipe()
    size = (asked.training, asked.side, asked.rounds, options)
    process = spawn.Process(target=speed, args=(send, *size))
    process.start()
    send.close()
    fit, seconds, kept, fitted, peak = receive.recv()
    process.join()
    print(f"{asked.training} training volumes of {asked.side}^3, one thread, processor time")
    print(
        f"  seconds a query    {np.median(seconds):.3f} (largest of {asked.rounds}: "
        f"{max(seconds):.3f})"
    )
    word = "PASS" if np.median(seconds) <= SECONDS else "FAIL"
    print(f"{word}: a query takes {np.median(seconds):.3f} s (goal: {SECONDS})")
    print(f"  seconds to fit one {fit:.4f}")
    print(
        "  a training volume in all flips and turns: {:.5f} s by products (27 shifts), "
        "{:.5f} s by FFT (all shifts)".format(*shifts())
    )
    print(f"  bytes a volume     {kept:.0f} (the volume: {4 * asked.side**3})")
    print(f"  peak memory        {fitted:.0f} MB more after fit, {peak:.0f} MB more in all\n")

    print(f"{'cohort':12}{'class':16}{'by':12}" + "".join(f"{f'@{k}':>8}" for k in DEPTHS))
    cohorts = {"phantoms": phantoms(asked.references, asked.seed, asked.shape)}
    if asked.hippocampus:
        cohorts["hippocampus"] = hippocampus(asked.hippocampus, tuple(asked.splits))
    for name, training in cohorts.items():
        recall(name, training, asked.queries, asked.seed, options)


if __name__ == "__main__":
    main()
