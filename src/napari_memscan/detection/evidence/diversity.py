"""How alike synthetic volumes are to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_memscan.detection.retrieval.neighbours import standardise_vectors
from napari_memscan.errors import BadInput
from napari_memscan.volumes.validation import check_volume

PAIRS = 100
KERNEL = 11
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
BLOCK = 256


def draw_pairs(n: int, count: int, seed: int) -> list[tuple[int, int]]:
    """Return `count` different pairs of `n` things, drawn at random; all where there are fewer."""
    every = n * (n - 1) // 2
    if every <= count:
        return [(i, j) for i in range(n) for j in range(i + 1, n)]
    random, drawn = np.random.default_rng(seed), set[tuple[int, int]]()
    while len(drawn) < count:
        i, j = sorted(int(x) for x in random.choice(n, 2, replace=False))
        drawn.add((i, j))
    return sorted(drawn)


def choose_scales(shape: Sequence[int]) -> tuple[int, int]:
    """Return the width of the window and how many of the five scales fit into a volume."""
    smallest = min(shape)
    width = min(KERNEL, smallest - 1 + smallest % 2)
    if width < 3:
        raise BadInput(f"volumes of {tuple(shape)}: MS-SSIM needs at least 3 voxels a side.")
    scales = 1
    # The second condition is MONAI's own.
    while (
        scales < len(WEIGHTS)
        and smallest // 2**scales >= width
        and smallest // scales**2 > width - 1
    ):
        scales += 1
    return width, scales


def compute_ms_ssim(
    volumes: Sequence[NDArray[np.float32]],
    pairs: Sequence[tuple[int, int]],
    what: str = "synthetic",
) -> NDArray[np.float64]:
    """Return the MS-SSIM of pairs of volumes; higher = less diverse, 1 = equal.

    Product over scales of contrast-structure terms, the last with luminance, to the published
    powers. Of the five scales as many are used as fit, powers scaled to sum 1. Source: Wang,
    Simoncelli and Bovik 2003; MONAI's implementation; as a diversity Odena et al. 2017.

    Parameters
    ----------
    volumes : sequence of arrays (X, Y, Z)
        In [0, 1], of one shape; read one pair at a time.
    pairs : sequence of (int, int)
        See `draw_pairs`.
    what : str
        For messages.

    Returns
    -------
    array (n_pairs,)

    Raises
    ------
    BadInput
        A volume holds NaN or has another shape, or is smaller than 3 voxels; says which.
    """
    import torch
    from monai.metrics import MultiScaleSSIMMetric

    if not pairs:
        raise BadInput(f"{len(volumes)} {what} volumes; at least 2 are needed for a pair.")
    shape = volumes[0].shape
    width, scales = choose_scales(shape)
    weights = np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales])
    metric = MultiScaleSSIMMetric(3, kernel_size=width, weights=weights.tolist(), reduction="none")
    values = []
    for pair in pairs:
        a, b = (check_volume(volumes[i], f"{what} volume {i}", shape, constant=True) for i in pair)
        tensors = (torch.from_numpy(x)[None, None] for x in (a, b))
        with torch.no_grad():
            values.append(float(metric(*tensors)))
    return np.array(values)


@dataclass(frozen=True)
class CollisionCounts:
    """Synthetic volumes that another synthetic volume repeats.

    Attributes
    ----------
    colliding : int
        Volumes with at least one other above tau.
    groups : int
        Sets of volumes linked by such pairs, directly or through others.
    largest : int
        Volumes in the largest of them; 0 where there is none.
    """

    colliding: int
    groups: int
    largest: int


def count_collisions(
    vectors: ArrayLike, threshold: float, what: str = "synthetic"
) -> CollisionCounts:
    """Return how many volumes are above tau to another of the same set.

    ``#{j : max_{l != j} corr(s_j, s_l) > tau}``; larger = more copying, since two independent draws
    that agree most likely agree in something learnt by heart. Needs no training volume. Source: the
    extraction of Carlini et al. 2023 (arXiv 2301.13188), which looks for cliques of generations.

    Parameters
    ----------
    vectors : array (n, d)
    threshold : float
        tau, a Pearson correlation.
    what : str
        For messages.

    Raises
    ------
    BadInput
        Fewer than 2 vectors, or unsound ones.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    unit = standardise_vectors(np.asarray(vectors), what)
    if len(unit) < 2:
        raise BadInput(f"{len(unit)} {what} vectors; at least 2 are needed.")
    margin = 2 * unit.shape[1] * np.finfo(np.float32).eps
    left: list[int] = []
    right: list[int] = []
    for start in range(0, len(unit), BLOCK):
        for i, j in np.argwhere(unit[start : start + BLOCK] @ unit.T > threshold - margin):
            i += start
            # Computed again as a scan does: the same however the block was cut.
            if i < j and np.float32((unit[i].astype(np.float64) * unit[j]).sum()) > threshold:
                left.append(int(i))
                right.append(int(j))
    linked = coo_array((np.ones(len(left)), (left, right)), shape=(len(unit), len(unit)))
    _, group = connected_components(linked, directed=False)
    sizes = np.bincount(group)
    sizes = sizes[sizes > 1]
    return CollisionCounts(int(sizes.sum()), len(sizes), int(sizes.max(initial=0)))
