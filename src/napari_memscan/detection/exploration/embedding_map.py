"""A map of the embedding in two dimensions: for looking, never for deciding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_memscan.detection.retrieval.neighbours import standardise_vectors
from napari_memscan.errors import BadInput

Points = NDArray[np.float64]

UMAP_NEIGHBOURS = 15
"""Of UMAP: its own default."""


@dataclass(frozen=True, eq=False)
class EmbeddingMap:
    """Volumes on a map.

    Attributes
    ----------
    method : str
        ``PCA`` or ``UMAP``.
    training, validation, synthetic : arrays (n, 2)
        In the order of the vectors.
    axes : (str, str)
        What the axes are, for people.
    provenance : str
        How it was made, and what it does not show.
    """

    method: str
    training: Points
    validation: Points
    synthetic: Points
    axes: tuple[str, str]
    provenance: str


def list_map_methods() -> tuple[str, ...]:
    """Return the methods that can be used here: UMAP only where ``umap-learn`` is installed."""
    return ("PCA", "UMAP") if find_spec("umap") is not None else ("PCA",)


def fit_embedding_map(
    training: ArrayLike,
    validation: ArrayLike,
    synthetic: ArrayLike,
    method: str = "PCA",
    seed: int = 0,
) -> EmbeddingMap:
    """Fit a map on training vectors and put the others on it.

    Vectors are standardised first, one by one, so that distances in the embedding follow the
    Pearson correlation that neighbours are found by: ``|a - b|^2 = 2 - 2 corr``. The map is
    learnt from training volumes alone: whatever the synthetic ones are, it stays the same.

    Parameters
    ----------
    training, validation, synthetic : arrays (n, d)
        Vectors of one embedder; at least three of training, the others may be empty.
    method : {"PCA", "UMAP"}
        See `list_map_methods`.
    seed : int
        The same seed gives the same map.

    Raises
    ------
    BadInput
        The method is not known or not installed, or there are too few training volumes.
    """
    if method not in MAP_FITTERS:
        raise BadInput(f"map '{method}': choose {' or '.join(list_map_methods())}.")
    real = standardise_vectors(np.asarray(training), "training")
    if len(real) < 3:
        raise BadInput(f"a map needs at least three training volumes; there are {len(real)}.")
    place, axes, provenance = MAP_FITTERS[method](real, seed)

    def others(vectors: ArrayLike, name: str) -> Points:
        array = np.asarray(vectors)
        return place(standardise_vectors(array, name)) if len(array) else np.zeros((0, 2))

    return EmbeddingMap(
        method,
        place(None),
        others(validation, "validation"),
        others(synthetic, "synthetic"),
        axes,
        provenance,
    )


MapFunction = Callable[[Any], Points]
"""Puts vectors on the map; None stands for those it was fitted on."""


def _fit_pca(training: NDArray[np.float32], seed: int) -> tuple[MapFunction, tuple[str, str], str]:
    from sklearn.decomposition import PCA

    model = PCA(
        2, svd_solver="full" if min(training.shape) <= 500 else "randomized", random_state=seed
    ).fit(training)
    shares = model.explained_variance_ratio_

    def place(vectors: Any) -> Points:
        points: Points = model.transform(training if vectors is None else vectors).astype(float)
        return points

    axes = tuple(f"component {i} ({share:.0%} of variance)" for i, share in enumerate(shares, 1))
    text = (
        f"PCA of {len(training)} training vectors; the two components hold {sum(shares):.0%} of "
        "their variance, so near on the map is not always near in the embedding"
    )
    return place, (axes[0], axes[1]), text


def _fit_umap(training: NDArray[np.float32], seed: int) -> tuple[MapFunction, tuple[str, str], str]:
    if "UMAP" not in list_map_methods():
        raise BadInput("UMAP is not installed here. Install umap-learn, or choose PCA.")
    n = min(UMAP_NEIGHBOURS, len(training) - 1)
    # One thread: with more the same seed does not give the same map.
    model = (
        import_module("umap")
        .UMAP(
            n_components=2,
            n_neighbors=n,
            metric="euclidean",
            random_state=seed,
            n_jobs=1,
            init="random" if len(training) < 5 else "spectral",
        )
        .fit(training)
    )

    def place(vectors: Any) -> Points:
        return np.asarray(model.embedding_ if vectors is None else model.transform(vectors), float)

    text = (
        f"UMAP of {len(training)} training vectors with {n} neighbours and seed {seed}: groups "
        "are kept, distances between groups mean little"
    )
    return place, ("UMAP 1", "UMAP 2"), text


MAP_FITTERS = {"PCA": _fit_pca, "UMAP": _fit_umap}
