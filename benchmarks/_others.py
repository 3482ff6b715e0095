"""Near-duplicates that no class limit is learnt from, for `benchmarks/detection.py`.

Limits are learnt, and the detector's settings were chosen, on smooth fields of 7.5 to 10 % of the
mean axis, a sixth of an axis wide. These are changed in other ways, and only ever reported on.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from _cohorts import SPACING, Batch, Split
from napari_memscan.detection.planting.perturbations import draw_perturbation

Change = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


def deform_narrowly(volume: np.ndarray, _: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Move everything by a field half as wide, of 5 to 7.5 % of the mean axis."""
    return _moved(volume, _field(volume.shape, 1 / 12, random), random.uniform(0.05, 0.075))


def deform_region(volume: np.ndarray, _: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Move one region by up to 10 to 15 % of the mean axis; the rest stays where it is."""
    field = _field(volume.shape, 1 / 8, random)
    field *= np.exp(-0.5 * (_measure_distances(volume.shape, random) / 0.15) ** 2)
    return _moved(volume, field, random.uniform(0.1, 0.15))


def replace_part(
    volume: np.ndarray, stranger: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Put a ball of another training volume in, 25 to 35 % of an axis in radius."""
    distance = _measure_distances(volume.shape, random) - random.uniform(0.25, 0.35)
    inside = 1 / (1 + np.exp(np.clip(distance / 0.02, -50, 50)))
    return (volume + inside * (stranger - volume)).astype(np.float32)


CHANGES: dict[str, Change] = {
    "narrower field": deform_narrowly,
    "one region": deform_region,
    "part replaced": replace_part,
}


def _field(
    shape: tuple[int, ...], width: float, random: np.random.Generator
) -> np.ndarray:  # (3, X, Y, Z)
    noise = random.normal(size=(3, *shape))
    return np.stack([gaussian_filter(part, [width * n for n in shape]) for part in noise])


def _measure_distances(shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Return distances (X, Y, Z) from a point of the central half, in shares of each axis."""
    axes = [np.linspace(0, 1, n) - random.uniform(0.3, 0.7) for n in shape]
    return np.linalg.norm(np.stack(np.meshgrid(*axes, indexing="ij")), axis=0)


def _moved(volume: np.ndarray, field: np.ndarray, share: float) -> np.ndarray:
    """Move by a field whose largest displacement is this share of the mean axis."""
    field = field * share * np.mean(volume.shape) / np.linalg.norm(field, axis=0).max()
    grid = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"))
    moved = map_coordinates(volume, (grid + field).reshape(3, -1), order=1, mode="nearest")
    return moved.reshape(volume.shape)


def plant_others(study: Split, n: int, made: list[Batch]) -> Batch:
    """Return n other near-duplicates (a few more, for equal parts) among copies and novel volumes.

    Half lie where their source lies, half are moved; so do the copies and novel volumes, which are
    halves of those in `made`.
    """
    random = np.random.default_rng([study.seed, 77, len(made)])
    training, subjects = study.training.volumes, study.training.subjects
    each = -(-n // len(CHANGES))
    queries = []
    for kind, change in CHANGES.items():
        for number, source in enumerate(random.choice(len(training), each, len(training) < each)):
            foreign = [i for i, name in enumerate(subjects) if name != subjects[source]]
            changed = change(training[source], training[random.choice(foreign)], random)
            pose = draw_perturbation(
                ("registered copy", "all at once")[number % 2], study.shape, random
            )
            queries.append((pose.apply(changed, SPACING), "near-duplicate", kind, int(source)))
    for half, batch in enumerate(made):
        rows = zip(batch.volumes, batch.truth, batch.kinds, batch.sources, strict=True)
        queries += [
            row for i, row in enumerate(rows) if row[1] != "near-duplicate" and i % 2 == half
        ]
    return Batch("other", *map(list, zip(*queries, strict=True)))
