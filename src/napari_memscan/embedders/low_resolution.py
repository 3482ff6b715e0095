"""A training-free embedder: the volume itself, small and with its intensities normalised."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_memscan.errors import BadInput
from napari_memscan.files import hash_json


def check_batch(
    batch: NDArray[np.float32], shape: tuple[int, int, int] | None
) -> NDArray[np.float32]:
    """Return the batch if it is (N, 1, X, Y, Z), finite and, where given, of `shape`."""
    batch = np.asarray(batch, np.float32)
    if batch.ndim != 5 or batch.shape[1] != 1:
        raise BadInput(f"an embedder takes (N, 1, X, Y, Z); this batch is {batch.shape}.")
    if shape is not None and batch.shape[2:] != tuple(shape):
        raise BadInput(
            f"this embedder takes volumes of {' x '.join(map(str, shape))}, these are "
            f"{' x '.join(map(str, batch.shape[2:]))}. Set preprocessing.shape to what it takes, "
            "or use another embedder."
        )
    if not np.isfinite(batch).all():
        raise BadInput("a volume to embed holds NaN or infinity.")
    return batch


class LowResolutionEmbedder:
    """Averages a volume over a coarse grid, and brings it to zero mean and unit variance.

    Needs no training and no weights; sees coarse structure only. The correlation of two such
    vectors is the correlation of the two small images, so brightness and contrast do not count.

    Parameters
    ----------
    size : (int, int, int)
        Cells along X, Y, Z.
    """

    input_shape: tuple[int, int, int] | None = None

    def __init__(self, size: tuple[int, int, int] = (12, 12, 12)) -> None:
        self.size = size
        self.name = f"low-resolution {size[0]}x{size[1]}x{size[2]} (training-free)"
        self.dim = int(np.prod(size))
        self.hash = hash_json({"embedder": "low-resolution", "version": 1, "size": list(size)})

    def embed(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map (N, 1, X, Y, Z) to (N, dim); see `Embedder.embed`."""
        batch = check_batch(batch, None)
        if any(n < s for n, s in zip(batch.shape[2:], self.size, strict=True)):
            raise BadInput(
                f"volumes of {batch.shape[2:]} are smaller than the embedder's grid {self.size}."
            )
        # One at a time, so that nothing can be rounded differently beside other volumes.
        vectors = [self._vector(volume) for volume in batch[:, 0]]
        return np.array(vectors, np.float32).reshape(-1, self.dim)

    def _vector(self, volume: NDArray[np.float32]) -> NDArray[np.float64]:
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
