"""Recall of planted copies and near-duplicates: low-resolution, contrastive, structural embedder.

Trains both kinds on the training volumes of one half of a cohort's people and looks for changed
ones (`detection.planting.perturbations`) among them; each embedder in a process of its own, so
that its peak memory is its own. Settings were chosen on half 0; report half 1.

    python benchmarks/embedders.py COHORT [--half 1] [--steps 600] [--queries 60] [--seed 1]
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from napari_memscan.volumes.importers import import_cohort
from napari_memscan.volumes.preprocessing import Percentile, Preprocessing
from napari_memscan.volumes.reader import read_volume

KINDS = ("unchanged", "all at once", "elastic", "elastic, all at once")
DEPTHS = (1, 5, 20)
EMBEDDERS = ("low-resolution", "contrastive", "structural")


def half(path: Path, recipe: Preprocessing, which: int) -> np.ndarray:
    """Return the volumes of one half of the people, whatever their split."""
    cohort = import_cohort(path)
    rows = [r for s in ("training", "validation", "unseen") for r in cohort.rows(s)]
    people = sorted({row.subject_id for row in rows})
    np.random.default_rng(7).shuffle(people)
    middle = len(people) // 2
    chosen = set(people[middle:] if which else people[:middle])
    return np.stack([recipe.apply(read_volume(r.path)) for r in rows if r.subject_id in chosen])


def ranks(queries: np.ndarray, training: np.ndarray, sources: np.ndarray) -> np.ndarray:
    similarity = np.corrcoef(queries, training)[: len(queries), len(queries) :]
    own = similarity[np.arange(len(sources)), sources]
    return (similarity > own[:, None]).sum(1)


def measure(pipe, name: str, arrays: dict, recipe: Preprocessing, options) -> None:
    import torch

    from napari_memscan.detection.planting.perturbations import draw_perturbation
    from napari_memscan.embedders.loading import load_embedder
    from napari_memscan.training.run import train
    from napari_memscan.training.settings import EMBEDDER_SETTINGS as TRAINED

    torch.set_num_threads(1)
    spec, start = None, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        if name in TRAINED:
            settings = TRAINED[name](steps=options.steps, seed=options.seed)
            for _ in train("embedder", arrays, folder, settings, preprocessing=recipe):
                pass
            spec = folder
        trained = time.perf_counter() - start
        embedder = load_embedder(spec, "cpu")
    start = time.perf_counter()
    training = embedder.embed(arrays["training"][:, None])
    embedded = (time.perf_counter() - start) / len(training)
    found = {}
    for kind in KINDS:
        random = np.random.default_rng(options.seed)
        sources = random.permutation(len(training))[: options.queries]
        volumes = arrays["training"][sources]
        changed = [
            draw_perturbation(kind, recipe.shape, random).apply(volume) for volume in volumes
        ]
        found[kind] = ranks(embedder.embed(np.stack(changed)[:, None]), training, sources)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pipe.send((trained, embedded, peak, found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--half", type=int, choices=(0, 1), default=1)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--embedders", nargs="+", choices=EMBEDDERS, default=EMBEDDERS)
    parser.add_argument("--shape", type=int, nargs=3, default=(32, 48, 32))
    options = parser.parse_args()
    recipe = Preprocessing(shape=tuple(options.shape), intensity=Percentile())
    volumes = half(options.cohort, recipe, options.half)
    arrays = {"training": volumes[:-20], "validation": volumes[-20:]}
    print(
        f"{len(arrays['training'])} training volumes, {options.queries} queries a kind, "
        f"{options.steps} steps, seed {options.seed}"
    )
    head = "".join(f"{kind:>22}" for kind in KINDS)
    print(f"{'':16}{'train s':>9}{'ms each':>9}{'peak MB':>9}{head}", flush=True)
    spawn = multiprocessing.get_context("spawn")
    for name in options.embedders:
        receive, send = spawn.Pipe()
        process = spawn.Process(target=measure, args=(send, name, arrays, recipe, options))
        process.start()
        trained, embedded, peak, found = receive.recv()
        process.join()
        recall = "".join(
            f"{' / '.join(f'{np.mean(found[kind] < k):.2f}' for k in DEPTHS):>22}" for kind in KINDS
        )
        print(f"{name:16}{trained:9.0f}{1000 * embedded:9.1f}{peak:9.0f}{recall}", flush=True)
    print(f"recall@{' / @'.join(map(str, DEPTHS))}; a tie counts as found")


if __name__ == "__main__":
    main()
