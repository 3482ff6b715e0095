"""Procedural phantoms in the spirit of coronary CT crops; every "patient" clearly another one.

A crop holds fat, the edge of a lung, a cardiac chamber in its myocardium, and coronary vessels
with a wall, calcified and soft plaques. All positions, sizes and courses are drawn from one seed.
Nothing in it comes from a real person.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_memscan.typing import Array, Split
from napari_memscan.volumes.cohort import Cohort
from napari_memscan.volumes.importers import import_folder
from napari_memscan.volumes.reader import write_nifti
from napari_memscan.volumes.volume import Volume

Random = np.random.Generator

SPACING_MM = 0.6
"""Voxel size of a phantom along each axis."""
# Typical attenuation in a contrast-enhanced scan, in Hounsfield units.
FAT, LUNG, MYOCARDIUM, CHAMBER, WALL, LUMEN, CALCIUM, SOFT = -90, -820, 110, 330, 40, 430, 950, 10
HU_WINDOW = (-300.0, 900.0)
"""Intensity window of the demo study in HU."""


def draw_phantom(seed: int | tuple[int, ...], shape: tuple[int, int, int] = (48, 48, 48)) -> Volume:
    """Draw one phantom.

    Parameters
    ----------
    seed : int or tuple of int
        The same seed gives the same voxels.
    shape : (int, int, int)
        Voxels along X, Y, Z.

    Returns
    -------
    Volume
        Hounsfield units, float32, isotropic spacing of 0.6 mm.
    """
    random = np.random.default_rng(seed)
    axes = [np.linspace(-1, 1, n, dtype=np.float32) for n in shape]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    image = np.full(shape, FAT, np.float32)
    _add_lung(image, grid, random)
    _add_chamber(image, grid, random)
    for _ in range(2 + int(random.random() < 0.35)):
        _add_vessel(image, grid, random)
    image = gaussian_filter(image, 0.7)
    image += random.normal(0, 8, shape).astype(np.float32)
    return Volume(np.round(image).astype(np.float32), (SPACING_MM,) * 3)


def _draw_direction(random: Random) -> Array:
    vector = random.normal(size=3)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def _add_lung(image: Array, grid: Array, random: Random) -> None:
    """Cut the far side of a gently curved surface out as lung."""
    if random.random() < 0.2:
        return
    normal, offset = _draw_direction(random), random.uniform(0.5, 1.0)
    bend = random.uniform(-0.35, 0.35)
    across = np.linalg.norm(grid - (grid @ normal)[..., None] * normal, axis=-1)
    image[grid @ normal + bend * across**2 > offset] = LUNG


def _add_chamber(image: Array, grid: Array, random: Random) -> None:
    """Place an ellipsoid of blood in a shell of muscle towards a random side."""
    centre = _draw_direction(random) * random.uniform(0.45, 1.15)
    rotation = np.linalg.qr(random.normal(size=(3, 3)))[0].astype(np.float32)
    radii = random.uniform(0.4, 0.9, 3).astype(np.float32)
    local = (grid - centre) @ rotation
    distance = np.linalg.norm(local / radii, axis=-1)
    thickness = random.uniform(0.15, 0.4)
    image[distance < 1 + thickness] = MYOCARDIUM + random.uniform(-25, 25)
    image[distance < 1] = CHAMBER + random.uniform(-90, 90)


def _draw_course(random: Random) -> Array:
    """Return points (n, 3) along a smooth course from one side of the crop to another."""
    start = _draw_direction(random) * 1.1
    turn = _draw_direction(random)
    end = -start + 0.9 * turn
    middle = random.uniform(-0.65, 0.65, 3)
    t = np.linspace(0, 1, 140)[:, None]
    wiggle = _draw_direction(random) * random.uniform(0.05, 0.2) * np.sin(t * random.uniform(4, 9))
    return ((1 - t) ** 2 * start + 2 * t * (1 - t) * middle * 1.6 + t**2 * end + wiggle).astype(
        np.float32
    )


def _carve(image: Array, points: Array, radii: Array, value: float, where: Array | None) -> None:
    """Set all voxels within `radii` of `points` to `value`, optionally only where `where`."""
    size = np.array(image.shape)
    step = 2 / (size - 1)
    for point, radius in zip(points, radii, strict=True):
        low = np.maximum(np.floor((point - radius + 1) / step).astype(int), 0)
        high = np.minimum(np.ceil((point + radius + 1) / step).astype(int) + 1, size)
        if (low >= high).any():
            continue
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        offsets = [
            (-1 + np.arange(a, b) * s - p) ** 2
            for a, b, s, p in zip(low, high, step, point, strict=True)
        ]
        squared = offsets[0][:, None, None] + offsets[1][None, :, None] + offsets[2]
        inside = squared < radius**2
        if where is not None:
            inside &= where[box]
        image[box][inside] = value


def _add_vessel(image: Array, grid: Array, random: Random) -> None:
    """Draw a tapering vessel with its wall, perhaps a branch, and plaques along it."""
    course = _draw_course(random)
    radius = random.uniform(0.13, 0.24)
    radii = np.linspace(radius, radius * random.uniform(0.55, 0.9), len(course)).astype(np.float32)
    branches = [(course, radii)]
    if random.random() < 0.6:
        at = int(random.integers(40, 100))
        reach = random.uniform(0.7, 1.3)
        t = np.linspace(0, 1, 80, dtype=np.float32)[:, None]
        away, bow = _draw_direction(random), _draw_direction(random)
        branches.append(
            (
                course[at] + t * reach * away + 0.35 * t * (1 - t) * bow,
                np.linspace(radii[at] * 0.8, radii[at] * 0.5, 80).astype(np.float32),
            )
        )
    lumen = LUMEN + random.uniform(-60, 60)
    for points, r in branches:
        _carve(image, points, r + 0.06, WALL, None)
    for points, r in branches:
        _carve(image, points, r, lumen, None)
    for _ in range(int(random.integers(1, 4))):
        points, r = branches[int(random.integers(len(branches)))]
        at = int(random.integers(8, len(points) - 8))
        side = _draw_direction(random) * r[at]
        calcified = random.random() < 0.6
        extent = r[at] * (random.uniform(0.45, 0.8) if calcified else random.uniform(0.7, 1.0))
        length = int(random.integers(4, 16))
        piece = points[at : at + length] + side
        _carve(image, piece, np.full(len(piece), extent), CALCIUM if calcified else SOFT, None)


def write_phantom_cohort(
    folder: str | Path,
    n_training: int = 64,
    n_validation: int = 48,
    n_unseen: int = 40,
    seed: int = 2024,
    shape: tuple[int, int, int] = (48, 48, 48),
) -> Cohort:
    """Write a phantom cohort: one NIfTI file a patient, and ``cohort.csv`` beside the folders.

    Parameters
    ----------
    folder : path
        Gets ``training/``, ``validation/``, ``unseen/`` and ``cohort.csv``.
    n_training, n_validation, n_unseen : int
        How many phantoms each split gets. Splits never share a phantom.
    seed : int
        Draws the whole cohort; the n-th phantom of a split does not depend on the sizes.
    shape : (int, int, int)
        Voxels along X, Y, Z.

    Returns
    -------
    Cohort
        As written; ``subject_id`` is the file name's stem.
    """
    folder = Path(folder)
    parts = []
    sizes = {Split.TRAINING: n_training, Split.VALIDATION: n_validation, Split.UNSEEN: n_unseen}
    for number, (split, n) in enumerate(sizes.items()):
        for i in range(n):
            path = folder / split / f"{split[0].upper()}{i:03d}.nii.gz"
            if not path.exists():
                write_nifti(draw_phantom((seed, number, i), shape), path)
        if n:
            parts.append(import_folder(folder / split, split, r"([A-Z]\d+)"))
    cohort = parts[0].join_cohorts(*parts[1:])
    cohort.save(folder / "cohort.csv")
    return cohort
