"""What is looked at: one case, and how it is looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from napari_memscan.typing import Array, Triple

LAYOUTS = ("grid", "pair", "planes", "3D")
SIDE, BLINK, FADE, CHECKS, DIFFERENCE, CONTOURS, MAP = PAIR_MODES = (
    "side by side",
    "blink",
    "fade",
    "checkerboard",
    "difference",
    "contours",
    "similarity map",
)
RENDERINGS = ("mip", "attenuated_mip", "translucent")
"""As napari calls them."""


@dataclass(frozen=True)
class CaseVolume:
    """One volume of a case.

    Attributes
    ----------
    title : str
        What is written on its pane: neutral words where readers must not know.
    path : str
        What it is loaded by. Never part of a layer: layer list, tooltip and status show layers.
    transform : tuple of float, optional
        Of a neighbour, the pose (4, 4) row after row: from points of the synthetic volume to
        points of this one, in mm about their centres. None where the two were not registered.
    name : str
        What it is called in a sentence; the title where nothing is given.
    absent : bool
        It could not be loaded; the others are shown.
    """

    title: str
    path: str
    transform: tuple[float, ...] | None = None
    name: str = ""
    absent: bool = False

    @property
    def short(self) -> str:
        """What it is called in a sentence."""
        return self.name or self.title


@dataclass(frozen=True)
class Case:
    """A synthetic volume and the volumes it is compared with, nearest first."""

    key: str
    synthetic: CaseVolume
    neighbours: tuple[CaseVolume, ...] = ()

    @property
    def all(self) -> tuple[CaseVolume, ...]:
        """The synthetic volume, and then its neighbours."""
        return (self.synthetic, *self.neighbours)

    def partner(self, index: int) -> CaseVolume | None:
        """Return the neighbour of this index, the last one if there are fewer, None without any."""
        if not self.neighbours:
            return None
        return self.neighbours[min(max(index, 0), len(self.neighbours) - 1)]


@dataclass(frozen=True)
class ArrayKey:
    """One array that can be asked for.

    Attributes
    ----------
    kind : {"volume", "aligned", "map"}
        A volume as it is, (X, Y, Z) in [0, 1]; a training volume on the grid of a synthetic one;
        or the local similarity of the two, in [-1, 1]. The last two are NaN outside the overlap.
    path : str
        Of the volume; of the training volume.
    query : str
        Path of the synthetic volume.
    transform : tuple of float
        The pose (4, 4), row after row.
    """

    kind: str
    path: str
    query: str = ""
    transform: tuple[float, ...] = ()


@dataclass
class ViewState:
    """How the reader looks at cases; it outlives them.

    Attributes
    ----------
    point : list of int, optional
        Voxel (X, Y, Z) that is looked at; None before the first volume.
    offsets : list of int
        Slices along X, Y, Z by which an unregistered partner is ahead of the synthetic volume.
    fade : float
        Share of the partner, in [0, 1].
    flipped : bool
        Blinking shows the partner now.
    """

    layout: str = "grid"
    pair_mode: str = SIDE
    plane: str = "Axial"
    partner: int = 0
    radiological: bool = True
    fade: float = 0.5
    flipped: bool = False
    rendering: str = "mip"
    point: list[int] | None = None
    offsets: list[int] = field(default_factory=lambda: [0, 0, 0])


@dataclass(frozen=True)
class LoadedCase:
    """A case whose arrays are all there.

    Attributes
    ----------
    case : Case
    arrays : dict of ArrayKey to array
    spacing : (float, float, float)
        Voxel size of all its volumes in mm.
    """

    case: Case
    arrays: dict[ArrayKey, Array]
    spacing: Triple

    def volume(self, shown: CaseVolume) -> Array:
        """Return a volume as it is; nothing but zeros for one that is absent."""
        if shown.absent:
            return np.zeros_like(self.volume(self.case.synthetic))
        return self.arrays[ArrayKey("volume", shown.path)]

    def pair(self, kind: str, partner: CaseVolume) -> Array:
        """Return what was made of the synthetic volume and a registered partner."""
        return self.arrays[make_pair_key(kind, self.case, partner)]


def make_pair_key(kind: str, case: Case, partner: CaseVolume) -> ArrayKey:
    """Return the item of this kind of a case and its registered partner."""
    assert partner.transform is not None
    return ArrayKey(kind, partner.path, case.synthetic.path, partner.transform)


def list_needed_arrays(case: Case, state: ViewState) -> list[ArrayKey]:
    """Return what a layout shows of a case, in the order in which it is best loaded."""
    if state.layout == "grid":
        return [ArrayKey("volume", shown.path) for shown in case.all if not shown.absent]
    items = [ArrayKey("volume", case.synthetic.path)]
    partner = case.partner(state.partner)
    if partner is None:
        return items
    if partner.transform is None:
        return [*items, ArrayKey("volume", partner.path)]
    items.append(make_pair_key("aligned", case, partner))
    if state.layout == "pair" and state.pair_mode == MAP:
        items.append(make_pair_key("map", case, partner))
    return items


def compute_pair_array(item: ArrayKey, one: Any, other: Any, spacing: Triple) -> Array:
    """Return what is made of a synthetic (`one`) and a training volume (`other`), (X, Y, Z)."""
    from napari_memscan.detection.registration.verifier import Verifier

    pose = np.array(item.transform, np.float64).reshape(4, 4)
    verifier = Verifier(spacing)
    if item.kind == "map":
        return verifier.similarity_map(one, other, pose)
    return verifier.align(one, other, pose)
