"""A training-free embedder: the volume itself, small and with its intensities normalised."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_memscan.embedders.interface import BaseEmbedder
from napari_memscan.errors import BadInput
from napari_memscan.files import hash_json


class LowResolutionEmbedder(BaseEmbedder):
    """Averages a volume over a coarse grid, and brings it to zero mean and unit variance.

    Needs no training and no weights; sees coarse structure only. The correlation of two such
    vectors is the correlation of the two small images, so brightness and contrast do not count.

    Parameters
    ----------
    size : (int, int, int)
        Cells along X, Y, Z.
    """

    training_free = True
    VERSION = 1
    """Changes whenever the same volume would get another vector; part of the hash."""

    def __init__(self, size: tuple[int, int, int] = (12, 12, 12)) -> None:
        self.size = size
        self.name = f"low-resolution {size[0]}x{size[1]}x{size[2]} (training-free)"
        self.dim = int(np.prod(size))
        self.hash = hash_json(
            {"embedder": "low-resolution", "version": self.VERSION, "size": list(size)}
        )

    def _embed_volume(self, volume: NDArray[np.float32]) -> NDArray[np.float64]:
        if any(n < s for n, s in zip(volume.shape, self.size, strict=True)):
            raise BadInput(
                f"volumes of {volume.shape} are smaller than the embedder's grid {self.size}."
            )
        cells = volume.astype(np.float64)
        for axis, size in enumerate(self.size):
            cells = _average_axis(cells, axis, size)
        vector = cells.ravel() - cells.mean()
        spread = vector.std()
        # What is left of a constant volume is rounding: zeros say so, noise would correlate.
        if spread <= 1e-9 * np.abs(cells).max(initial=1e-3):
            return np.zeros_like(vector)
        result: NDArray[np.float64] = vector / spread
        return result


def _average_axis(data: NDArray[np.float64], axis: int, size: int) -> NDArray[np.float64]:
    """Average along one axis into `size` cells of equal width, cutting voxels where needed."""
    n = data.shape[axis]
    edges = np.linspace(0, n, size + 1)
    left = np.maximum(np.arange(n)[None], edges[:-1, None])
    right = np.minimum(np.arange(1, n + 1)[None], edges[1:, None])
    weights = np.clip(right - left, 0, None) * size / n
    # Summed in one fixed order: a matrix product may round differently elsewhere.
    moved = np.moveaxis(data, axis, 0)
    cells = np.stack(
        [
            np.add.reduce([w * moved[j] for j, w in enumerate(row) if w > 0], axis=0)
            for row in weights
        ]
    )
    return np.moveaxis(cells, 0, axis)
