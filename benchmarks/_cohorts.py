"""Cohorts of `benchmarks/detection.py`, split by subject, and queries whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from napari_memscan.demo.phantoms import HU_WINDOW, draw_phantom
from napari_memscan.detection.planting.plants import draw_planted_volumes
from napari_memscan.volumes.importers import import_cohort
from napari_memscan.volumes.preprocessing import Percentile, Preprocessing, Window

SETTINGS = {
    "registered": ("registered copy", "registered near-duplicate"),
    "perturbed": ("all at once", "elastic, all at once"),
}
"""Setting to the kinds of its copies and near-duplicates; novel ones are changed as copies are."""

SPACING = (1.0, 1.0, 1.0)
"""In mm; all cohorts are isotropic, and nothing depends on the unit."""

SET_ASIDE = 20_260
"""Seed of the subjects that settings are chosen on: the same whatever `--seeds` says."""


@dataclass(frozen=True)
class Sizes:
    """Volumes of each split, and queries of each class and setting."""

    training: int
    validation: int
    unseen: int
    memorised: int
    queries: int
    planted: int

    @property
    def generated(self) -> int:
        """Samples of each of the two generators."""
        return self.queries


@dataclass(frozen=True)
class SplitVolumes:
    """Volumes (n, X, Y, Z) of a split and whose they are."""

    volumes: np.ndarray
    subjects: list[str]


@dataclass(frozen=True)
class Split:
    """One study: no subject is in two parts.

    `training`, `validation` (the null) and `unseen` (honest novel ones); `apart` is in none of
    them and teaches the generator of honest novel samples. Validation and planted volumes go
    through `decode`, if it is there: what is asked about comes out of that decoder.
    """

    cohort: str
    seed: int
    training: SplitVolumes
    validation: SplitVolumes
    unseen: SplitVolumes
    apart: SplitVolumes
    decode: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of every volume."""
        return self.training.volumes.shape[1:]

    @property
    def memorised(self) -> list[int]:
        """Training volumes that may be taught to a generator: one a subject, in order."""
        subjects = self.training.subjects
        return [i for i, name in enumerate(subjects) if subjects.index(name) == i]

    def __str__(self) -> str:
        parts = {"training": self.training, "validation": self.validation, "unseen": self.unseen}
        parts["apart"] = self.apart
        return ", ".join(
            f"{name} {len(p.volumes)} of {len(set(p.subjects))} subjects"
            for name, p in parts.items()
        )


@dataclass(frozen=True)
class Batch:
    """Queries that are judged together: truth and, unless novel, the training volume behind it."""

    name: str
    volumes: list[np.ndarray]
    truth: list[str]
    kinds: list[str]
    sources: list[int]


def split(cohort: str, seed: int, sizes: Sizes, folder: Path, tuning: bool = False) -> Split:
    """Make or read a cohort and split it by subject.

    `tuning` takes the subjects that are set aside for choosing settings, and only those; without
    it none of them is touched.
    """
    if cohort == "hippocampus":
        return _split_hippocampus(seed, sizes, folder, tuning)
    counts = {
        "training": sizes.training,
        "validation": sizes.validation,
        "unseen": sizes.unseen,
        "apart": sizes.memorised,
    }
    own = (SET_ASIDE, seed) if tuning else (seed,)
    parts = {}
    for number, (name, n) in enumerate(counts.items()):
        draw = _phantom if cohort == "phantoms" else Bodies(own)
        volumes = [draw((*own, number, i)) for i in range(n)]
        parts[name] = SplitVolumes(np.stack(volumes), [f"{name}{i}" for i in range(n)])
    return Split(cohort, seed, **parts)


def _phantom(seed: tuple[int, ...], shape: tuple[int, int, int] = (32, 32, 32)) -> np.ndarray:
    recipe = Preprocessing(shape=shape, intensity=Window(low=HU_WINDOW[0], high=HU_WINDOW[1]))
    return recipe.apply(draw_phantom(seed, shape))


class Bodies:
    """Homogeneous anatomy: one template, and individuals that are smooth deformations of it.

    Twelve organs, ellipsoids with smooth borders, lie in a body; where they lie and what they
    measure on average is the template's, the same for everybody. An individual is that body, moved
    by a random smooth field of up to three voxels, with organs up to 12 % larger or smaller and 6 %
    brighter or darker, and fine texture of its own.
    """

    def __init__(
        self,
        seed: tuple[int, ...],
        shape: tuple[int, int, int] = (32, 32, 32),
        texture: float = 0.05,
    ) -> None:
        random = np.random.default_rng([*seed, 99])
        self.shape, self.texture = shape, texture
        n = 12
        self.centres = random.uniform(-0.55, 0.55, (n, 3))
        self.radii = random.uniform(0.12, 0.38, (n, 3))
        self.turns = np.stack([np.linalg.qr(random.normal(size=(3, 3)))[0] for _ in range(n)])
        self.values = random.uniform(0.15, 0.95, n)

    def __call__(self, seed: tuple[int, ...]) -> np.ndarray:
        """Draw an individual (X, Y, Z) in [0, 1]."""
        random = np.random.default_rng(seed)
        axes = [np.linspace(-1, 1, n) for n in self.shape]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        body = np.linalg.norm(grid / [0.92, 0.85, 0.95], axis=-1)
        image = 0.4 * _inside(body)
        sizes = random.uniform(0.88, 1.12, (len(self.values), 3))
        values = self.values * random.uniform(0.94, 1.06, len(self.values))
        organs = zip(self.centres, self.radii * sizes, self.turns, values, strict=True)
        for centre, radii, turn, value in organs:
            inside = _inside(np.linalg.norm((grid - centre) @ turn / radii, axis=-1))
            image += inside * (value - image)
        texture = gaussian_filter(random.normal(size=self.shape), 1.0)
        image += self.texture * texture / texture.std() * _inside(body)
        field = np.stack(
            [
                gaussian_filter(random.normal(size=self.shape), [n / 8 for n in self.shape])
                for _ in range(3)
            ]
        )
        field *= 3.0 / np.linalg.norm(field, axis=0).max()
        index = np.stack(np.meshgrid(*map(np.arange, self.shape), indexing="ij")) + field
        moved = map_coordinates(image, index.reshape(3, -1), order=1, mode="nearest")
        moved = moved.reshape(self.shape) + random.normal(0, 0.01, self.shape)
        return np.clip(moved, 0, 1).astype(np.float32)


def _inside(distance: np.ndarray) -> np.ndarray:
    """Return 1 inside and 0 outside an ellipsoid, with a smooth border; `distance` 1 is on it."""
    return 1 / (1 + np.exp(np.clip((distance - 1) / 0.06, -50, 50)))


def _split_hippocampus(seed: int, sizes: Sizes, folder: Path, tuning: bool) -> Split:
    rows = import_cohort(folder).rows()
    subjects = sorted({row.subject_id for row in rows})
    order = np.random.default_rng(SET_ASIDE).permutation(subjects).tolist()
    # Two volumes a subject, mostly. A third of the subjects, for choosing settings.
    aside = len(subjects) // 3
    own = order[:aside] if tuning else order[aside:]
    own = np.random.default_rng([SET_ASIDE, seed]).permutation(own).tolist()
    by_subject = {name: [row for row in rows if row.subject_id == name] for name in own}
    recipe = Preprocessing(shape=(32, 48, 32), intensity=Percentile())
    total = sum(map(len, by_subject.values()))
    wanted = {
        "apart": sizes.memorised,
        "unseen": sizes.unseen,
        "validation": sizes.validation,
        "training": sizes.training,
    }
    if sum(wanted.values()) > total:
        # Fewer subjects than asked for, as among those set aside: the same shares of what is there.
        shrink = total / (sum(wanted.values()) + 4)
        wanted = {name: int(n * shrink) for name, n in wanted.items()}
    parts = {}
    for name, n in wanted.items():
        volumes: list[np.ndarray] = []
        names: list[str] = []
        while len(volumes) < n and own:
            subject = own.pop()
            for row in by_subject[subject][: 1 if name == "apart" else None]:
                volumes.append(recipe.apply(row.read()))
                names.append(subject)
        parts[name] = SplitVolumes(np.stack(volumes), names)
    return Split("hippocampus", seed, **parts)


def plant_batches(study: Split, sizes: Sizes) -> list[Batch]:
    """Plant copies, near-duplicates and novel volumes in both settings."""
    made = []
    training, unseen = study.training.volumes, study.unseen.volumes
    for number, (name, (copy_kind, near_kind)) in enumerate(SETTINGS.items()):
        # Not the stream that a detector plants its own from.
        seed = (study.seed, 77, number)
        plants = draw_planted_volumes(
            (copy_kind, near_kind), sizes.queries, range(len(training)), study.shape, seed
        )
        novel = draw_planted_volumes(
            (copy_kind,),
            min(sizes.queries, len(unseen)),
            range(len(unseen)),
            study.shape,
            (*seed, 1),
            "novel",
        )
        loaded = [p.load(lambda p=p: training[p.source], SPACING) for p in plants]
        loaded += [p.load(lambda p=p: unseen[p.source], SPACING) for p in novel]
        made.append(
            Batch(
                name,
                loaded,
                [p.label for p in [*plants, *novel]],
                [p.kind for p in [*plants, *novel]],
                [p.source for p in plants] + [-1] * len(novel),
            )
        )
    return made


def compute_unrelated_correlation(part: SplitVolumes) -> float:
    """Return the mean Pearson correlation of volumes of different subjects, as they lie."""
    flat = part.volumes.reshape(len(part.volumes), -1)
    names: Sequence[str] = part.subjects
    found = np.corrcoef(flat)
    other = np.array([[a != b for b in names] for a in names])
    return float(found[other].mean())
