"""Planted copies and near-duplicates: a training volume, changed in a known way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_memscan.detection.registration.register import build_rotation_matrix
from napari_memscan.errors import BadInput
from napari_memscan.typing import Array, Triple

VERSION = 1
"""Changes whenever the same perturbation would give other voxels; part of the key of these."""

COPY_KINDS: dict[str, tuple[str, ...]] = {
    "unchanged": (),
    "flip": ("flip",),
    "rotation": ("rotation",),
    "shift": ("shift",),
    "zoom": ("zoom",),
    "blur": ("blur",),
    "noise": ("noise",),
    "gamma": ("gamma",),
    "bias field": ("bias",),
    "partial": ("partial",),
    "registered copy": ("blur", "noise"),
    "all at once": ("flip", "rotation", "shift", "zoom", "blur", "noise", "gamma", "bias"),
}
"""Changes after which a volume is still a copy, by name."""

NEAR_KINDS: dict[str, tuple[str, ...]] = {
    "elastic": ("elastic",),
    "registered near-duplicate": ("elastic", "blur", "noise"),
    "elastic, all at once": ("elastic", *COPY_KINDS["all at once"]),
}
"""Changes after which a volume is a near-duplicate: recognisable, but anatomy has moved."""

KINDS = COPY_KINDS | NEAR_KINDS

RANGES = {
    "rotation": (10.0, "{:.0f} degrees an axis"),
    "shift": (6.0, "{:.0f} % of an axis"),
    "zoom": (5.0, "{:.0f} %"),
    "blur": (0.8, "{:.1f} voxels"),
    "noise": (0.03, "{:.2f} of the range"),
    "gamma": (1.4, "{:.1f}"),
    "bias field": (20.0, "{:.0f} % an axis"),
    "partial": (30.0, "{:.0f} % of an axis lost"),
    "elastic": (10.0, "{:.0f} % of the mean axis"),
}
"""The largest value of each kind that can be stronger, at strength 1, and how it is said."""
MAX_STRENGTH = 3.0
"""Beyond this nothing of a volume may be left."""


@dataclass(frozen=True)
class Perturbation:
    """One way to change a volume; what it is not told stays as it is.

    The result at a point is the volume at `pose` of that point, moved by the elastic field, then
    blurred, and with its intensities changed.

    Attributes
    ----------
    shape : (int, int, int)
        Of the volumes it is for.
    flips : (bool, bool, bool)
        Axes that are turned round.
    rotation : (float, float, float)
        Degrees about X, then Y, then Z.
    shift : (float, float, float)
        Voxels along X, Y, Z.
    zoom : float
        Larger than 1 magnifies.
    blur : float
        Sigma of a Gaussian in voxels.
    noise : float
        Standard deviation of white noise, of an intensity range of 1.
    gamma : float
        Exponent of the intensities.
    bias : (float, float, float)
        Intensities are multiplied by a ramp from 1 - b to 1 + b along each axis.
    partial : (int, float)
        Axis and share of it that is lost: positive at its end, negative at its start.
    elastic : float
        Largest displacement in voxels of a smooth random field.
    seed : int
        Of the noise and the field.
    """

    shape: tuple[int, int, int]
    flips: tuple[bool, bool, bool] = (False, False, False)
    rotation: Triple = (0.0, 0.0, 0.0)
    shift: Triple = (0.0, 0.0, 0.0)
    zoom: float = 1.0
    blur: float = 0.0
    noise: float = 0.0
    gamma: float = 1.0
    bias: Triple = (0.0, 0.0, 0.0)
    partial: tuple[int, float] = (0, 0.0)
    elastic: float = 0.0
    seed: int = 0

    def pose(self, spacing: Triple = (1.0, 1.0, 1.0)) -> NDArray[np.float64]:
        """Return the matrix (4, 4) from points of the result to points of the volume.

        Both in millimetres about the centre of the volume; `spacing` in mm a voxel.
        """
        turn = build_rotation_matrix(self.rotation)
        matrix = np.eye(4)
        matrix[:3, :3] = np.diag(np.where(self.flips, -1.0, 1.0)) @ turn / self.zoom
        matrix[:3, 3] = np.multiply(self.shift, spacing)
        return matrix

    def apply(self, volume: Array, spacing: Triple = (1.0, 1.0, 1.0)) -> Array:
        """Change a volume (X, Y, Z) in [0, 1]; the same call gives the same voxels.

        Raises
        ------
        BadInput
            The volume has another shape than the perturbation is for.
        """
        from scipy.ndimage import gaussian_filter

        if volume.shape != self.shape:
            raise BadInput(
                f"a perturbation for volumes of {self.shape} was given one of {volume.shape}. "
                "Bring all volumes to one shape first."
            )
        random = np.random.default_rng(self.seed)
        result = self._moved(volume, spacing, random).astype(np.float64)
        if self.blur:
            result = gaussian_filter(result, self.blur, mode="nearest")
        result = np.clip(result, 0, 1) ** self.gamma
        for axis, (n, slope) in enumerate(zip(self.shape, self.bias, strict=True)):
            ramp = 1 + slope * np.linspace(-1, 1, n)
            result *= ramp.reshape([-1 if i == axis else 1 for i in range(3)])
        if self.noise:
            result += random.normal(0, self.noise, self.shape)
        self._cut(result)
        return np.clip(result, 0, 1).astype(np.float32)

    def _moved(self, volume: Array, spacing: Triple, random: np.random.Generator) -> Array:
        from scipy.ndimage import map_coordinates

        pose = self.pose(spacing)
        if not self.elastic and np.allclose(np.abs(pose), np.eye(4)):
            axes = tuple(axis for axis, flip in enumerate(self.flips) if flip)
            return np.flip(volume, axes)
        size, mm = np.array(self.shape), np.array(spacing)
        grid = np.stack(np.meshgrid(*map(np.arange, self.shape), indexing="ij")).reshape(3, -1)
        centre = ((size - 1) / 2)[:, None]
        points = pose[:3, :3] @ ((grid - centre) * mm[:, None]) + pose[:3, 3:]
        index = points / mm[:, None] + centre
        if self.elastic:
            index = index + self._field(random).reshape(3, -1)
        moved: Array = map_coordinates(volume, index, order=1, mode="constant", cval=0.0)
        return moved.reshape(self.shape)

    def _field(self, random: np.random.Generator) -> NDArray[np.float64]:
        """Return a smooth displacement (3, X, Y, Z) in voxels, `elastic` at its largest."""
        from scipy.ndimage import gaussian_filter

        sigma = [n / 6 for n in self.shape]
        noise = random.normal(size=(3, *self.shape))
        field = np.stack([gaussian_filter(part, sigma, mode="reflect") for part in noise])
        # What moves the whole volume is a shift, and no deformation.
        field -= field.mean(axis=(1, 2, 3), keepdims=True)
        result: NDArray[np.float64] = field * self.elastic / np.linalg.norm(field, axis=0).max()
        return result

    def _cut(self, result: NDArray[np.float64]) -> None:
        axis, share = self.partial
        lost = round(abs(share) * self.shape[axis])
        if lost:
            part: list[slice] = [slice(None)] * 3
            part[axis] = slice(-lost, None) if share > 0 else slice(0, lost)
            result[tuple(part)] = 0


def describe_largest(kind: str, strength: float) -> str:
    """Return the most that a kind of `RANGES` does at a strength: ``up to 20 degrees an axis``."""
    value, text = RANGES[kind]
    return "up to " + text.format(value**strength if kind == "gamma" else value * strength)


def draw_perturbation(
    kind: str, shape: tuple[int, int, int], random: np.random.Generator, strength: float = 1.0
) -> Perturbation:
    """Draw a perturbation of a kind.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    shape : (int, int, int)
        Of the volumes it is for.
    random : numpy.random.Generator
        Where its numbers come from.
    strength : float
        Everything but flips is so many times as strong; up to `MAX_STRENGTH`.

    Returns
    -------
    Perturbation
        Each axis flipped with probability 0.5 (one at least where ``flip`` stands alone);
        rotations up to 10 degrees; shifts up to 6 % of an axis; zoom 0.95 to 1.05; blur 0.3 to
        0.8 voxels; noise 0.03; gamma 0.7 to 1.4; bias up to 20 % an axis; 15 to 30 % of an axis
        lost; a field of 7.5 to 10 % of the mean axis. Sources of these ranges: `Dar et al. 2023`
        (flips, rotations) and DeepSSIM++ section 3 (bias field, noise, contrast, zoom).

    Raises
    ------
    BadInput
        No such kind, or strength.
    """
    if not 0 < strength <= MAX_STRENGTH:
        raise BadInput(
            f"strength {strength:g}: more than 0 and at most {MAX_STRENGTH:g} is expected."
        )
    if kind not in KINDS:
        raise BadInput(f"perturbation {kind!r}: one of {', '.join(KINDS)} is expected.")
    parts = KINDS[kind]

    def triple(most: float) -> Triple:
        x, y, z = random.uniform(-most, most, 3) * strength
        return float(x), float(y), float(z)

    # All numbers are always drawn, so that one part does not change what another part gets.
    flips = random.random(3) < 0.5
    if kind == "flip" and not flips.any():
        flips[random.integers(3)] = True
    rotation, shift, zoom = triple(10), triple(0.06), random.uniform(0.95, 1.05)
    zoom = zoom if strength == 1 else 1 + (zoom - 1) * strength
    blur, gamma = random.uniform(0.3, 0.8), np.exp(random.uniform(np.log(0.7), np.log(1.4)))
    bias, lost = triple(0.2), random.uniform(0.15, 0.3) * random.choice([-1, 1])
    axis, elastic = int(random.integers(3)), random.uniform(0.075, 0.1) * np.mean(shape)
    seed = int(random.integers(2**31))
    x, y, z = (float(s * n) for s, n in zip(shift, shape, strict=True))
    values: dict[str, dict[str, object]] = {
        "flip": {"flips": (bool(flips[0]), bool(flips[1]), bool(flips[2]))},
        "rotation": {"rotation": rotation},
        "shift": {"shift": (x, y, z)},
        "zoom": {"zoom": float(zoom)},
        "blur": {"blur": float(blur * strength)},
        "noise": {"noise": 0.03 * strength},
        "gamma": {"gamma": float(gamma**strength)},
        "bias": {"bias": bias},
        "partial": {"partial": (axis, float(lost * strength))},
        "elastic": {"elastic": float(elastic * strength)},
    }
    chosen: dict[str, object] = {"shape": shape, "seed": seed}
    for part in parts:
        chosen |= values[part]
    return Perturbation(**chosen)  # type: ignore[arg-type]
