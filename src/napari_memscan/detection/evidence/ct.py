"""C_T: whether synthetic volumes are nearer to training than validation volumes are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_memscan.detection.evidence.arrays import Float, check_vectors, find_nearest
from napari_memscan.errors import BadInput

CELLS, DIMENSIONS, LEAST_IN_CELL = 3, 64, 20


@dataclass(frozen=True)
class DataCopyingStatistic:
    """The statistic and what it is made of.

    Attributes
    ----------
    c_t : float
        Mean z of the cells in use, weighted by their validation volumes.
    z : tuple of float
        Of each cell in use.
    validation, synthetic : tuple of int
        Volumes in each cell in use.
    cells : int
        Cells in all.
    """

    c_t: float
    z: tuple[float, ...]
    validation: tuple[int, ...]
    synthetic: tuple[int, ...]
    cells: int


def compute_z_score(synthetic: ArrayLike, validation: ArrayLike) -> float:
    """Return the z-scored Mann-Whitney U of distances to the nearest training volume.

    ``(U - m n / 2 + 0.5) / sqrt(m n (m + n + 1) / 12)`` with U the number of pairs in which the
    synthetic distance is the larger one, a tie counting half. Strongly negative = copying.

    Parameters
    ----------
    synthetic, validation : arrays (m,), (n,)
        Distances.
    """
    from scipy.stats import mannwhitneyu

    a, b = np.asarray(synthetic, np.float64), np.asarray(validation, np.float64)
    m, n = len(a), len(b)
    u = float(mannwhitneyu(a, b, alternative="less", method="asymptotic").statistic)
    return float((u - m * n / 2 + 0.5) / np.sqrt(m * n * (m + n + 1) / 12))


def compute_data_copying(
    training: ArrayLike,
    validation: ArrayLike,
    synthetic: ArrayLike,
    *,
    cells: int = CELLS,
    least: int = LEAST_IN_CELL,
    seed: int = 0,
) -> DataCopyingStatistic:
    """Return the data-copying statistic C_T.

    Space is cut into k-means cells of the training vectors. In each, distances to the nearest
    training volume of the same cell are compared between synthetic and validation volumes::

        C_T = sum_cells P_n(cell) z(cell) / sum_cells P_n(cell)

    with z of `compute_z_score` and P_n the share of validation volumes, over cells with more than
    `least` synthetic volumes. Far below 0 = copying; far above 0 = underfitting; about a standard
    normal in each cell when neither. Source: Meehan, Chaudhuri and Dasgupta 2020 (arXiv
    2004.05675), with the conventions of dgm-eval: 3 cells, more than 20 synthetic volumes, 64
    principal components of training where vectors are longer.

    Raises
    ------
    BadInput
        Fewer training vectors than cells, no cell with enough synthetic and any validation
        volumes, or unsound vectors.
    """
    real, held, made = check_vectors(
        {"training": max(cells, 2)}, training=training, validation=validation, synthetic=synthetic
    )
    real, held, made = _reduce_dimensions(real, held, made)
    of_real, of_held, of_made = _assign_cells(real, held, made, cells, seed)
    z, n_held, n_made = [], [], []
    for cell in range(cells):
        inside = (of_real == cell, of_held == cell, of_made == cell)
        if inside[2].sum() <= least or not inside[1].any():
            continue
        z.append(
            compute_z_score(
                find_nearest(made[inside[2]], real[inside[0]])[0][:, 0],
                find_nearest(held[inside[1]], real[inside[0]])[0][:, 0],
            )
        )
        n_held.append(int(inside[1].sum()))
        n_made.append(int(inside[2].sum()))
    if not z:
        raise BadInput(
            f"none of {cells} cells holds more than {least} synthetic volumes and a validation "
            f"volume ({len(made)} synthetic, {len(held)} validation in all). Generate more."
        )
    weights = np.array(n_held) / sum(n_held)
    return DataCopyingStatistic(float(weights @ z), tuple(z), tuple(n_held), tuple(n_made), cells)


def _reduce_dimensions(real: Float, held: Float, made: Float) -> tuple[Float, Float, Float]:
    if real.shape[1] <= DIMENSIONS:
        return real, held, made
    from sklearn.decomposition import PCA

    pca = PCA(min(DIMENSIONS, len(real)), svd_solver="full").fit(real)
    return pca.transform(real), pca.transform(held), pca.transform(made)


def _assign_cells(
    real: Float, held: Float, made: Float, cells: int, seed: int
) -> list[NDArray[np.int32]]:
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # Sums of another number of threads round in another order.
        means = KMeans(cells, n_init=10, random_state=seed).fit(real)
        return [means.predict(vectors) for vectors in (real, held, made)]
