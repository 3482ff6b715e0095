"""Pictures of a pair that are made voxel by voxel, and lines in slices. No Qt, no napari."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from napari_memscan.typing import Array

CHECKERBOARD_FIELDS = 8
"""Fields of a checkerboard along the longest axis."""
MAP_LEVEL = 0.5
"""Local similarity at which the line of the map is drawn."""


def replace_nan(array: Array) -> Array:
    """Return an array with 0 where it is NaN: what a volume does not cover is black."""
    result: Array = np.nan_to_num(array, nan=0.0)
    return result


def make_checkerboard(one: Array, other: Array) -> Array:
    """Return two volumes (X, Y, Z) in alternating fields; 0 where the other is NaN."""
    return np.where(_make_board_mask(one.shape), one, replace_nan(other))


@lru_cache(maxsize=2)
def _make_board_mask(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    size = max(1, -(-max(shape) // CHECKERBOARD_FIELDS))
    x, y, z = np.ogrid[tuple(slice(n) for n in shape)]
    board: NDArray[np.bool_] = (x // size + y // size + z // size) % 2 == 0
    return board


def compute_symmetric_limit(difference: Array) -> float:
    """Return the end of a scale about 0 that holds 99.5 % of the differences, at least 0.05."""
    values = np.abs(difference[::2, ::2, ::2])
    values = values[np.isfinite(values)]
    limit = float(np.percentile(values, 99.5)) if values.size else 0.0
    return max(0.05, round(limit, 2))


def smooth_slice(image: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return a slice with its noise smoothed, so that lines are few; NaN counts as 0."""
    from scipy.ndimage import gaussian_filter

    result: NDArray[np.floating] = gaussian_filter(np.nan_to_num(image), 0.8)
    return result


def find_contour(image: NDArray[np.floating], level: float) -> NDArray[np.float64]:
    """Return where an image crosses a level, as line segments.

    Every square of four pixels is cut into two triangles; a triangle is crossed once or not.

    Parameters
    ----------
    image : array (rows, columns)
        Lines end where it is NaN.
    level : float

    Returns
    -------
    array (n, 2, 2)
        Both ends of each segment as row and column.
    """
    image = np.asarray(image, np.float64)
    if min(image.shape) < 2:
        return np.zeros((0, 2, 2))
    rows, columns = np.indices((image.shape[0] - 1, image.shape[1] - 1))
    base = np.stack([rows.ravel(), columns.ravel()], axis=1)
    found = []
    for corners in (((0, 0), (0, 1), (1, 1)), ((0, 0), (1, 1), (1, 0))):
        places = np.stack([base + corner for corner in corners], axis=1)
        values = image[places[..., 0], places[..., 1]]
        above = values > level
        crossed = np.isfinite(values).all(axis=1) & (above.any(axis=1) != above.all(axis=1))
        places, values, above = places[crossed], values[crossed], above[crossed]
        # The corner that is alone on its side: both crossings lie on its edges.
        alone = np.where(above.sum(axis=1) == 1, above.argmax(axis=1), (~above).argmax(axis=1))
        at = np.arange(len(alone))
        ends = []
        for step in (1, 2):
            other = (alone + step) % 3
            start, stop = values[at, alone], values[at, other]
            share = ((level - start) / (stop - start))[:, None]
            ends.append(places[at, alone] * (1 - share) + places[at, other] * share)
        found.append(np.stack(ends, axis=1))
    result: NDArray[np.float64] = np.concatenate(found)
    return result


def convert_segments(
    segments: NDArray[np.float64], axes: tuple[int, int, int], index: float
) -> NDArray[np.float64]:
    """Return segments of a slice as napari's vectors (n, 2, 3): start and direction.

    Parameters
    ----------
    segments : array (n, 2, 2)
        From `find_contour` of a slice whose rows and columns are the last two of `axes`.
    axes : (int, int, int)
        The axis sliced, the rows, the columns.
    index : float
        Of the slice.
    """
    result = np.zeros((len(segments), 2, 3))
    result[:, 0, axes[0]] = index
    for place, axis in enumerate(axes[1:]):
        result[:, 0, axis] = segments[:, 0, place]
        result[:, 1, axis] = segments[:, 1, place] - segments[:, 0, place]
    return result


def take_slice(volume: Array, axes: tuple[int, int, int], index: int) -> Array:
    """Return a slice as a view, its rows and columns along the last two of `axes`."""
    return volume.transpose(axes)[index]
