"""Verification: seconds a pair, the cache, and how far copies and others lie apart.

Classes are planted: copies altered in all ways at once (flips, rotation up to 10 degrees, shift,
zoom, blur, noise, gamma, bias field), near-duplicates that are deformed in addition, and volumes of
others ("novel"), altered as the copies are and held against their nearest training volumes. All
start from poses of the correlator; a copy's source is always among what is registered, since this
measures the proof and not the search.

With --simpleitk nothing but this is measured: registration by SimpleITK instead of the own one, on
the same images, pairs and starts: Euler3D from each start on the coarse level, Similarity3D from
the best on the fine one, correlation as metric, regular step gradient descent.

    python benchmarks/verification.py [--n 20] [--seed 1] [--hippocampus FOLDER] [--simpleitk]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np

from napari_memscan.demo.phantoms import HU_WINDOW, draw_phantom
from napari_memscan.detection.planting.perturbations import draw_perturbation
from napari_memscan.detection.registration import verifier as verification
from napari_memscan.detection.registration.verifier import PairEvidence, Verifier
from napari_memscan.detection.retrieval.correlator import Correlator
from napari_memscan.volumes.cache import ArrayCache

MEASURES = ("score", "correlation", "ssim", "worst", "displacement")
"""Of the last one smaller is nearer."""
CLASSES = {"copy": "all at once", "near-duplicate": "elastic, all at once", "novel": "all at once"}


def unit(seed: tuple[int, ...], shape: tuple[int, int, int]) -> np.ndarray:
    low, high = HU_WINDOW
    return np.clip((draw_phantom(seed, shape).data - low) / (high - low), 0, 1).astype(np.float32)


def pairs(shape: tuple[int, int, int], n: int) -> list:
    """Return pairs of altered phantoms and their sources, two starts a little off, and the pose."""
    rng, made = np.random.default_rng(0), []
    for i in range(n):
        volume = unit((5, i), shape)
        changed = draw_perturbation("all at once", shape, rng)
        pose = changed.pose()
        pose[:3, 3] += rng.uniform(-1, 1, 3)
        mirrored = pose @ np.diag([-1.0, 1, 1, 1])
        query = changed.apply(volume)
        starts = [pose, mirrored]
        made.append((i, lambda q=query: q, lambda t=volume: t, starts, changed.pose()))
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
                lambda w=work: [verifier.verify(q(), t(), poses) for _, q, t, poses, _ in w]
            )
            with tempfile.TemporaryDirectory() as folder:
                cache = ArrayCache(folder)
                for key, query, training, poses, _ in work:
                    found = verifier.verify(query(), training(), poses)
                    cache.get(f"{verifier.hash}{key}", found.to_array)
                kept, _ = clock(
                    lambda c=cache, w=work: [
                        PairEvidence.from_array(c.get(f"{verifier.hash}{key}", np.empty))
                        for key, *_ in w
                    ]
                )
            rows.append((core / n, one / n, kept / n))
        core, one, kept = np.median(rows, axis=0)
        name = "x".join(map(str, shape))
        times = f"{core:11.3f}{one:11.3f}"
        print(f"{name:>14}{times}{kept:11.5f}{one / kept:11.0f}")


def evidence(training: list, others: list, n: int, seed: int) -> dict[str, list[PairEvidence]]:
    """Return for each class the evidence of the best pair of every query."""
    rng, verifier = np.random.default_rng(seed), Verifier()
    correlator = Correlator().fit(training)
    sources = rng.permutation(len(training))[:n]
    found: dict[str, list[PairEvidence]] = {}
    for label, kind in CLASSES.items():
        found[label] = []
        for i in range(n):
            volume = others[i] if label == "novel" else training[sources[i]]
            query = draw_perturbation(kind, volume.shape, rng).apply(volume)
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


def simpleitk_registered(query: list, training: list, poses: list) -> tuple[np.ndarray, str]:
    """Do what `register.register_pair` does, by SimpleITK."""
    import SimpleITK as sitk  # noqa: N813

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)

    def image(level):
        made = sitk.GetImageFromArray(level.image.transpose(2, 1, 0))
        made.SetSpacing(level.spacing)
        sizes = zip(level.image.shape, level.spacing, strict=True)
        made.SetOrigin([-(n - 1) / 2 * s for n, s in sizes])
        return made

    def refined(level: int, start: np.ndarray, transform) -> tuple[np.ndarray, float]:
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsCorrelation()
        method.SetInterpolator(sitk.sitkLinear)
        # No step below 0.03 voxels, as with the own way.
        voxel = min(query[level].spacing)
        method.SetOptimizerAsRegularStepGradientDescent(voxel, 0.03 * voxel, 100)
        method.SetOptimizerScalesFromPhysicalShift()
        # A flip is part of where it starts; what is optimised is applied before.
        first = sitk.AffineTransform(3)
        first.SetMatrix(start[:3, :3].ravel().tolist())
        first.SetTranslation(start[:3, 3].tolist())
        method.SetMovingInitialTransform(first)
        method.SetInitialTransform(transform, inPlace=True)
        method.Execute(image(query[level]), image(training[level]))
        moved = np.eye(4)
        moved[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
        moved[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
        return start @ moved, method.GetMetricValue()

    coarse = [refined(0, np.asarray(pose), sitk.Euler3DTransform()) for pose in poses]
    best, _ = min(coarse, key=lambda one: one[1])
    return refined(1, best, sitk.Similarity3DTransform())[0], "similarity"


def away(pose: np.ndarray, true: np.ndarray, shape: tuple[int, ...]) -> float:
    """Return how far off a pose moves the corners of a volume, on average, in mm."""
    corners = np.array(list(product((-0.5, 0.5), repeat=3))) * shape
    off = corners @ (pose - true)[:3, :3].T + (pose - true)[:3, 3]
    return float(np.linalg.norm(off, axis=1).mean())


def against_simpleitk(n: int, n_pairs: int, seed: int) -> None:
    """Measure both ways to register: time and pose on pairs, AUC on queries of each class."""
    shape, own, spent = (48, 48, 48), verification.register_pair, []
    work = pairs(shape, n_pairs)
    training = [unit((seed, 0, i), shape) for i in range(3 * n)]
    others = [unit((seed, 1, i), shape) for i in range(n)]
    print(
        f"phantoms of 48^3; {n_pairs} pairs of two starts: processor time and how far the pose is"
    )
    print(f"off, medians; {n} queries a class: AUC of the score, copy/near of the displacement")
    titles = (
        "s registering",
        "s a pair",
        "mm off",
        "largest",
        "copy/near",
        "near/novel",
        "copy/novel",
    )
    print(f"{'':12}" + "".join(f"{title:>14}" for title in titles))
    for name, way in (("own", own), ("SimpleITK", simpleitk_registered)):

        def timed(*args, way=way):
            start = time.process_time()
            found = way(*args)
            spent.append(time.process_time() - start)
            return found

        verification.register_pair, off, whole = timed, [], []
        spent.clear()
        for _, query, source, starts, true in work:
            start = time.process_time()
            pose = Verifier().verify(query(), source(), starts).transform
            whole.append(time.process_time() - start)
            off.append(away(pose, true, shape))
        registering = np.median(spent)
        copy, near, novel = evidence(training, others, n, seed).values()
        score = [np.array([e.score for e in of]) for of in (copy, near, novel)]
        moved = [np.array([e.displacement for e in of]) for of in (copy, near)]
        numbers = (
            *(registering, np.median(whole), np.median(off), max(off)),
            *(auc(moved[1], moved[0]), auc(score[1], score[2]), auc(score[0], score[2])),
        )
        print(f"{name:12}" + "".join(f"{number:14.3f}" for number in numbers), flush=True)
    verification.register_pair = own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=20, help="queries a class")
    parser.add_argument("--pairs", type=int, default=6, help="pairs whose time is taken")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hippocampus", type=Path, help="folder of MSD Task04, as imported")
    parser.add_argument("--simpleitk", action="store_true", help="registration by SimpleITK")
    options = parser.parse_args()
    if options.simpleitk:
        against_simpleitk(options.n, options.pairs, options.seed)
        return
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
        from napari_memscan.volumes.importers import import_cohort
        from napari_memscan.volumes.preprocessing import Percentile, Preprocessing
        from napari_memscan.volumes.reader import read_volume

        recipe = Preprocessing(shape=(32, 48, 32), intensity=Percentile())
        cohort = import_cohort(options.hippocampus)
        training, others = (
            [recipe.apply(read_volume(row.path)) for row in cohort.rows(split)]
            for split in ("training", "unseen")
        )
        separation("hippocampus 32x48x32", training, others[::-1], options.n, seed)


if __name__ == "__main__":
    main()
