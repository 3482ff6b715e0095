"""Verification: seconds a pair, the cache, and how far copies and others lie apart.

Classes are planted: copies altered in all ways at once (flips, rotation up to 10 degrees, shift,
zoom, blur, noise, gamma, bias field), near-duplicates that are deformed in addition, and volumes of
others ("novel"), altered as the copies are and held against their nearest training volumes. All
start from poses of the correlator; a copy's source is always among what is registered, since this
measures the proof and not the search.

    python benchmarks/verification.py [--n 20] [--seed 1] [--hippocampus FOLDER]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from napari_memscan.demo.phantoms import HU_WINDOW, phantom
from napari_memscan.detection.correlator import Correlator
from napari_memscan.detection.perturbations import draw
from napari_memscan.detection.verification import Evidence, Verifier
from napari_memscan.volumes.cache import ArrayCache

MEASURES = ("score", "correlation", "ssim", "worst", "displacement")
"""Of the last one smaller is nearer."""
CLASSES = {"copy": "all at once", "near-duplicate": "elastic, all at once", "novel": "all at once"}


def unit(seed: tuple[int, ...], shape: tuple[int, int, int]) -> np.ndarray:
    low, high = HU_WINDOW
    return np.clip((phantom(seed, shape).data - low) / (high - low), 0, 1).astype(np.float32)


def pairs(shape: tuple[int, int, int], n: int) -> list:
    """Return pairs of altered phantoms and their sources, with two starts a little off."""
    rng, made = np.random.default_rng(0), []
    for i in range(n):
        volume = unit((5, i), shape)
        changed = draw("all at once", shape, rng)
        pose = changed.pose()
        pose[:3, 3] += rng.uniform(-1, 1, 3)
        mirrored = pose @ np.diag([-1.0, 1, 1, 1])
        query = changed.apply(volume)
        made.append((i, lambda q=query: q, lambda t=volume: t, [pose, mirrored]))
    return made


def clock(run: Callable[[], object]) -> tuple[float, float]:
    """Return seconds by the clock, and seconds of processor time of all threads."""
    start = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def speed(rounds: int, n: int) -> None:
    verifier = Verifier()
    head = "shape", "core s", "s a pair", "cached", "gain"
    print(
        f"medians of {rounds} rounds of {n} pairs, two starts each; load {os.getloadavg()[0]:.1f}"
    )
    print(f"{head[0]:>14}" + "".join(f"{h:>11}" for h in head[1:]))
    for shape in ((32, 48, 32), (48, 48, 48), (64, 64, 64)):
        work = pairs(shape, n)
        rows = []
        for _ in range(rounds):
            one, core = clock(
                lambda w=work: [verifier.verify(q(), t(), poses) for _, q, t, poses in w]
            )
            with tempfile.TemporaryDirectory() as folder:
                cache = ArrayCache(folder)
                for key, query, training, poses in work:
                    found = verifier.verify(query(), training(), poses)
                    cache.get(f"{verifier.hash}{key}", found.to_array)
                kept, _ = clock(
                    lambda c=cache, w=work: [
                        Evidence.from_array(c.get(f"{verifier.hash}{key}", np.empty))
                        for key, *_ in w
                    ]
                )
            rows.append((core / n, one / n, kept / n))
        core, one, kept = np.median(rows, axis=0)
        name = "x".join(map(str, shape))
        times = f"{core:11.3f}{one:11.3f}"
        print(f"{name:>14}{times}{kept:11.5f}{one / kept:11.0f}")


def evidence(training: list, others: list, n: int, seed: int) -> dict[str, list[Evidence]]:
    """Return for each class the evidence of the best pair of every query."""
    rng, verifier = np.random.default_rng(seed), Verifier()
    correlator = Correlator().fit(training)
    sources = rng.permutation(len(training))[:n]
    found: dict[str, list[Evidence]] = {}
    for label, kind in CLASSES.items():
        found[label] = []
        for i in range(n):
            volume = others[i] if label == "novel" else training[sources[i]]
            query = draw(kind, volume.shape, rng).apply(volume)
            if label == "novel":
                candidates = correlator.search(query, k=3)
            else:
                own = int(sources[i])
                candidates = [
                    c for c in correlator.search(query, k=1, include=(own,)) if c.index == own
                ]
            every = [verifier.verify(query, training[c.index], c.poses) for c in candidates]
            found[label].append(max(every, key=lambda e: e.score))
    return found


def auc(higher: np.ndarray, lower: np.ndarray) -> float:
    above = higher[:, None] > lower
    return float((above + 0.5 * (higher[:, None] == lower)).mean())


def separation(name: str, training: list, others: list, n: int, seed: int) -> None:
    n = min(n, len(training), len(others))
    found = evidence(training, others, n, seed)
    print(f"\n{name}: {len(training)} training volumes, {n} queries a class, seed {seed}")
    print("mean (min-max)")
    titles = "".join(f"{label:>24}" for label in CLASSES)
    print(f"{'':12}{titles}{'AUC copy/near':>15}{'near/novel':>12}{'copy/novel':>12}")
    for measure in MEASURES:
        values = {k: np.array([getattr(e, measure) for e in v]) for k, v in found.items()}
        cells = "".join(
            f"{f'{v.mean():.3f} ({v.min():.3f} to {v.max():.3f})':>24}" for v in values.values()
        )
        sign = -1 if measure == "displacement" else 1
        copy, near, novel = (sign * v for v in values.values())
        print(
            f"{measure:12}{cells}{auc(copy, near):15.3f}{auc(near, novel):12.3f}"
            f"{auc(copy, novel):12.3f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=20, help="queries a class")
    parser.add_argument("--pairs", type=int, default=6, help="pairs whose time is taken")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hippocampus", type=Path, help="folder of MSD Task04, as imported")
    options = parser.parse_args()
    speed(options.rounds, options.pairs)
    shape = (48, 48, 48)
    seed = options.seed
    separation(
        "phantoms 48x48x48",
        [unit((seed, 0, i), shape) for i in range(64)],
        [unit((seed, 1, i), shape) for i in range(options.n)],
        options.n,
        seed,
    )
    if options.hippocampus:
        from napari_memscan.volumes.importers import import_any
        from napari_memscan.volumes.preprocessing import Percentile, Preprocessing
        from napari_memscan.volumes.reader import read_volume

        recipe = Preprocessing(shape=(32, 48, 32), intensity=Percentile())
        cohort = import_any(options.hippocampus)
        training, others = (
            [recipe.apply(read_volume(row.path)) for row in cohort.rows(split)]
            for split in ("training", "unseen")
        )
        separation("hippocampus 32x48x32", training, others[::-1], options.n, seed)


if __name__ == "__main__":
    main()
