"""Training-free retrieval: small images of all training volumes, held against many poses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from napari_memscan.detection.registration.register import build_rotation_matrix
from napari_memscan.errors import BadInput
from napari_memscan.files import hash_json
from napari_memscan.typing import Array, Triple
from napari_memscan.volumes.validation import check_volume

if TYPE_CHECKING:
    from napari_memscan.volumes.volume import VolumeSequence

CacheFunction = Callable[[int | None, Callable[[], Array]], Array]
"""Gives back what is kept, else makes and keeps it: the small image of a training volume by its
number, or what is learnt from all of them (None)."""

VERSION = 2
"""Changes whenever the same search would propose something else; part of the hash."""

FLIPS = tuple(product((1, -1), repeat=3))
MAX_COMPONENT_VOLUMES = 1000
"""Training volumes that the components are learnt from; more would hardly change them."""


@dataclass(frozen=True, eq=False)
class RetrievalCandidate:
    """A training volume that may be the source of a query.

    Attributes
    ----------
    index : int
        Of the training volume.
    similarity : float
        Best correlation of small images over all poses, in [-1, 1], larger is nearer.
    poses : tuple of arrays (4, 4)
        Best first, each with other flips: from points of the query to points of the training
        volume, in mm about their centres.
    """

    index: int
    similarity: float
    poses: tuple[NDArray[np.float64], ...]


class Correlator:
    """Finds training volumes that a query resembles up to flips, small rotations and shifts.

    Volumes become small images of about `cells` along their longest axis, in which contrast is
    made equal everywhere, so that bias fields and gamma hardly count, and the border fades, since a
    rotation loses it. The query's image is made in all poses of a grid; the correlation of each
    with all training images is one matrix product. It is first done in the space of the training
    images' principal components, then in full on those that are left.

    Parameters
    ----------
    cells : int
        Cells along the longest axis; the others have as many as fit.
    spacing : (float, float, float)
        Voxel size in mm along X, Y, Z.
    angle : float
        Rotations of the grid in degrees: minus this, none and this, about each axis.
    survivors : int
        Training volumes that are compared in full.
    components : int
        Principal components of the first comparison.
    n_poses : int
        Of each candidate.

    Attributes
    ----------
    images_ : array (n, cells), float32
        Of the training volumes, normalised.

    Notes
    -----
    Memory: ``4 * cells^3`` bytes a training volume for a cube (20 kB at the defaults, since what
    the border fades out is left out), and 150 MB for the poses of a query, however large volumes
    are. Results do not depend on what was asked before.
    """

    def __init__(
        self,
        cells: int = 20,
        spacing: Triple = (1.0, 1.0, 1.0),
        angle: float = 8.0,
        survivors: int = 48,
        components: int = 256,
        n_poses: int = 2,
    ) -> None:
        self.cells = cells
        self.spacing = spacing
        self.angle = angle
        self.survivors = survivors
        self.components = components
        self.n_poses = n_poses

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits that change whenever candidates would."""
        return hash_json({"version": VERSION, **self._parameters()})

    def _parameters(self) -> dict[str, object]:
        names = ("cells", "angle", "survivors", "components", "n_poses")
        return {name: getattr(self, name) for name in names} | {"spacing": list(self.spacing)}

    def fit(self, training: VolumeSequence, keep: CacheFunction | None = None) -> Correlator:
        """Learn the training volumes (X, Y, Z), all of one shape; they are read once each.

        Parameters
        ----------
        training : sequence of arrays (X, Y, Z)
        keep : callable, optional
            Then only the first volume is read, and those whose image is not kept. An image depends
            on its volume and `hash`; what is learnt on all images in their order.

        Raises
        ------
        BadInput
            None at all, different shapes, NaN, or a volume that is the same everywhere.
        """
        for _ in self.fit_steps(training, keep):
            pass
        return self

    def fit_steps(
        self, training: VolumeSequence, keep: CacheFunction | None = None
    ) -> Iterator[int]:
        """Fit, and yield the number of training volumes learnt after each."""
        if not len(training):
            raise BadInput("there are no training volumes to search among.")
        first = check_volume(training[0], "training volume 0", smallest=4)
        self.shape_ = first.shape
        self._set_grid()
        self.images_ = np.empty((len(training), len(self._kept)), np.float32)
        for i in range(len(training)):
            make = partial(self._image, training, i)
            self.images_[i] = make() if keep is None else keep(i, make)
            yield i + 1
        self.images_ *= self._root
        learnt = self._components() if keep is None else keep(None, self._components)
        self._basis, self._signs = learnt[: -len(FLIPS)], learnt[-len(FLIPS) :]
        self._rough = self.images_ @ self._basis

    def _image(self, training: VolumeSequence, i: int) -> Array:
        volume = check_volume(training[i], f"training volume {i}", self.shape_)
        window = self._sampled(self._small(volume), np.eye(3), margin=0)
        return self._normalised(window.reshape(1, -1)[:, self._kept])[0]

    def _components(self) -> Array:
        """Find principal components that a flip leaves as they are, or only turns the sign of.

        So a flipped image need not be projected anew. Returns an array (kept + flips, components):
        below each component the signs.
        """
        some = self.images_
        if len(some) > MAX_COMPONENT_VOLUMES:
            rows = np.random.default_rng(0).choice(len(some), MAX_COMPONENT_VOLUMES, replace=False)
            some = some[np.sort(rows)]
        found = []
        for parity in product((0, 1), repeat=3):
            signs = [
                (-1.0) ** sum(p for p, f in zip(parity, flip, strict=True) if f < 0)
                for flip in FLIPS
            ]
            part = np.zeros_like(some)
            for sign, places in zip(signs, self._flipped, strict=True):
                part += np.float32(sign / 8) * some[:, places]
            # From the smaller of the two sides; which sign a component has does not matter.
            values, vectors = np.linalg.eigh((part @ part.T).astype(np.float64))
            for i in np.argsort(-values)[: self.components]:
                if values[i] > 1e-6 * len(some):
                    component = part.T @ vectors[:, i] / np.sqrt(values[i])
                    found.append((values[i], component.astype(np.float32), signs))
        found.sort(key=lambda one: -one[0])
        best = found[: self.components]
        basis, below = np.stack([one[1] for one in best]), np.array([one[2] for one in best])
        result: Array = np.ascontiguousarray(np.hstack([basis, below.astype(np.float32)]).T)
        return result

    def search(
        self, query: Array, k: int = 20, include: Sequence[int] = (), exclude: Sequence[int] = ()
    ) -> list[RetrievalCandidate]:
        """Return the k best candidates, best first, and those of `include`.

        Parameters
        ----------
        query : array (X, Y, Z)
            Of the training volumes' shape.
        k : int
            Candidates; fewer when there are fewer training volumes.
        include : sequence of int
            Training volumes that are candidates in any case, such as those an embedder proposes.
        exclude : sequence of int
            Training volumes that are none in any case.

        Raises
        ------
        BadInput
            Another shape, NaN, the same value everywhere, or no such training volume.
        """
        volume = check_volume(query, "the query", self.shape_)
        n = len(self.images_)
        wrong = [i for i in (*include, *exclude) if not 0 <= i < n]
        if wrong:
            raise BadInput(f"there is no training volume {wrong[0]}; there are {n}, from 0.")
        allowed = np.ones(n, np.bool_)
        allowed[list(exclude)] = False
        rows = self._rows(volume)
        best = np.zeros(n, np.float32)
        if n > self.survivors:
            projected = rows @ self._basis
            best[:] = -np.inf
            for signs in self._signs:
                np.maximum(best, ((projected * signs) @ self._rough.T).max(axis=0), out=best)
        best[~allowed] = -np.inf
        left = np.argsort(-best, kind="stable")[: max(self.survivors, k)]
        chosen = np.unique([*left, *include]).astype(np.int64)
        chosen = chosen[allowed[chosen]]
        if not len(chosen):
            return []
        # A flipped query on an image is the query on the flipped image. (chosen, flips, rows)
        images = self.images_[chosen]
        full = np.stack([images[:, flip] @ rows.T for flip in self._flipped], axis=1)
        full = full.reshape(len(chosen), len(FLIPS), len(self._turns), -1)
        # Rounded: the last digits of a product depend on how many volumes are in it.
        similarities = np.clip(full.max(axis=(1, 2, 3)), -1, 1).round(6)
        order = np.lexsort((chosen, -similarities))
        taken = {int(chosen[i]) for i in order[:k]} | (set(include) - set(exclude))
        return [
            RetrievalCandidate(int(chosen[i]), float(similarities[i]), self._poses(full[i]))
            for i in order
            if int(chosen[i]) in taken
        ]

    def _set_grid(self) -> None:
        extent = np.multiply(self.shape_, self.spacing)
        # Not finer than the voxels: there is nothing more to see.
        self._cell = float(max(extent.max() / self.cells, min(self.spacing)))
        self._size = [max(3, round(float(e) / self._cell)) for e in extent]
        weight = np.ones(self._size)
        for axis, n in enumerate(self._size):
            edge = np.minimum(np.arange(n) + 0.5, n - np.arange(n) - 0.5) / n
            fade = np.sin(np.pi / 2 * np.minimum(edge / 0.35, 1)) ** 2
            weight *= fade.reshape([-1 if i == axis else 1 for i in range(3)])
        # What counts less than a hundredth of the centre costs time and changes nothing.
        self._kept = np.flatnonzero(weight > 0.02 * weight.max())
        kept = weight.ravel()[self._kept]
        places = np.full(weight.shape, -1)
        places.ravel()[self._kept] = np.arange(len(self._kept))
        self._flipped = [places[::x, ::y, ::z].ravel()[self._kept] for x, y, z in FLIPS]
        self._weight = (kept / kept.sum()).astype(np.float32)
        self._root = np.sqrt(self._weight)
        steps = (-self.angle, 0.0, self.angle) if self.angle else (0.0,)
        self._turns = [build_rotation_matrix(angles) for angles in product(steps, repeat=3)]

    def _small(self, volume: Array) -> Array:
        """Return the volume on a grid of half cells, with equal contrast everywhere."""
        from scipy.ndimage import gaussian_filter

        spacing = np.array(self.spacing)
        smooth = gaussian_filter(volume, 0.5 * self._cell / spacing, mode="nearest")
        # Twice as fine as the cells, so that turning it blurs little; a margin of a cell.
        half = self._grid([2 * n + 4 for n in self._size], self._cell / 2)
        fine = _interpolate(smooth, half / spacing[:, None], "nearest").reshape(
            [2 * n + 4 for n in self._size]
        )
        inside = (np.abs(half) <= (np.multiply(self.shape_, spacing) / 2)[:, None]).all(axis=0)
        inside = inside.reshape(fine.shape)
        sigma = 0.4 * max(self._size)
        high = fine - gaussian_filter(fine, sigma, mode="nearest")
        contrast = np.sqrt(gaussian_filter(high * high, sigma, mode="nearest"))
        result: Array = high / (contrast + 0.2 * high.std() + 1e-6) * inside
        return result

    @staticmethod
    def _grid(size: Sequence[int], step: float) -> NDArray[np.float64]:
        """Return points (3, n) in mm about the centre."""
        axes = [(np.arange(n) - (n - 1) / 2) * step for n in size]
        return np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1)

    def _sampled(self, small: Array, turn: NDArray[np.float64], margin: int) -> Array:
        size = [n + 2 * margin for n in self._size]
        points = turn @ self._grid(size, self._cell)
        return _interpolate(small, points / (self._cell / 2), "constant").reshape(size)

    def _rows(self, volume: Array) -> Array:
        """Return the query's images (turns * shifts, kept), normalised, none of them flipped."""
        small, rows = self._small(volume), []
        for turn in self._turns:
            windows = sliding_window_view(self._sampled(small, turn, margin=1), self._size)
            rows.append(windows.reshape(-1, int(np.prod(self._size)))[:, self._kept])
        result: Array = self._normalised(np.concatenate(rows))
        result *= self._root
        return result

    def _normalised(self, rows: Array) -> Array:
        """Return rows with weighted mean 0 and weighted length 1; constant ones become zeros."""
        centred = rows - (rows @ self._weight)[:, None]
        power = (centred * centred) @ self._weight
        scale = np.where(power > 1e-9, 1 / np.sqrt(np.maximum(power, 1e-9)), 0)
        centred *= scale[:, None].astype(np.float32)
        return centred

    def _poses(self, values: Array) -> tuple[NDArray[np.float64], ...]:
        """Return the best poses, given correlations (flips, turns, shifts), each of other flips."""
        best = values.max(axis=(1, 2))
        poses = []
        for flip in np.argsort(-best, kind="stable")[: self.n_poses]:
            turn, shift = np.unravel_index(values[flip].argmax(), values[flip].shape)
            mirrored = np.diag(FLIPS[int(flip)]).astype(np.float64)
            offset = (np.array(np.unravel_index(shift, (3, 3, 3))) - 1) * self._cell
            pose = np.eye(4)
            # The flipped image at a point h is the query at turn @ (flip @ h + offset).
            pose[:3, :3] = mirrored @ np.linalg.inv(self._turns[int(turn)])
            pose[:3, 3] = -mirrored @ offset
            poses.append(pose)
        return tuple(poses)


def _interpolate(
    image: Array, points: NDArray[np.float64], mode: Literal["nearest", "constant"]
) -> Array:
    """Return values at points (3, n), in voxels about the centre; linear."""
    from scipy.ndimage import map_coordinates

    centre = (np.array(image.shape) - 1) / 2
    values: Array = map_coordinates(image, points + centre[:, None], order=1, mode=mode)
    return values
