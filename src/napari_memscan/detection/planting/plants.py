"""Planting: perturbed training volumes as queries whose answer is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np

from napari_memscan.detection.planting.perturbations import (
    COPY_KINDS,
    NEAR_KINDS,
    Perturbation,
    draw_perturbation,
)
from napari_memscan.errors import BadInput
from napari_memscan.files import hash_json
from napari_memscan.typing import Array, Triple, Verdict

LIMIT_KINDS = {
    Verdict.COPY: ("registered copy", "all at once"),
    Verdict.NEAR_DUPLICATE: ("registered near-duplicate", "elastic, all at once"),
}
"""What class limits are learnt from, in equal parts: a generator's copies lie where their source
lies, or have been moved by its augmentation."""


@dataclass(frozen=True)
class PlantedVolume:
    """A perturbed volume and what it is.

    Attributes
    ----------
    source : int
        Which volume was perturbed.
    label : Verdict
        Novel where the source is no training volume.
    kind : str
        Of perturbation; see `perturbations.KINDS`.
    perturbation : Perturbation
        What was done.
    """

    source: int
    label: Verdict
    kind: str
    perturbation: Perturbation

    def load(self, read: Callable[[], Array], spacing: Triple) -> Array:
        """Read the source (X, Y, Z) and perturb it."""
        return self.perturbation.apply(read(), spacing)


def get_kind_label(kind: str) -> Verdict:
    """Return what a training volume is after a perturbation of this kind."""
    return Verdict.COPY if kind in COPY_KINDS else Verdict.NEAR_DUPLICATE


def draw_planted_volumes(
    kinds: Sequence[str],
    n: int,
    sources: Sequence[int],
    shape: tuple[int, int, int],
    seed: Sequence[int],
    label: Verdict | None = None,
    names: Sequence[str] | None = None,
    strength: float = 1.0,
) -> list[PlantedVolume]:
    """Draw plants of each kind.

    Parameters
    ----------
    kinds : sequence of str
        Of `perturbations.KINDS`.
    n : int
        Plants of each kind.
    sources : sequence of int
        Volumes to draw from: without repetition while there are enough.
    shape : (int, int, int)
        Of the volumes.
    seed : sequence of int
        The same seed gives the same plants.
    label : Verdict, optional
        Novel where the sources are no training volumes.
    names : sequence of str, optional
        Of the sources, such as hashes of their content. Then which are perturbed and how depends
        on the name of each and hardly on the others: one source more replaces at most one plant of
        a kind by one of its own, while there are enough.
    strength : float
        See `perturbations.draw_perturbation`.

    Returns
    -------
    list of Plant
        Kind after kind.

    Raises
    ------
    BadInput
        No sources, or no such kind.
    """
    if not len(sources):
        raise BadInput("there are no volumes to perturb.")
    unknown = [kind for kind in kinds if kind not in COPY_KINDS | NEAR_KINDS]
    if unknown:
        raise BadInput(f"perturbation {unknown[0]!r}: one of {', '.join(COPY_KINDS | NEAR_KINDS)}.")
    plants = []
    every = list(COPY_KINDS | NEAR_KINDS)
    for kind in kinds:
        # A stream for each kind: asking for others beside it changes nothing.
        stream = [*seed, every.index(kind)]
        if strength != 1:
            stream.append(round(1000 * strength))
        what = (label or get_kind_label(kind), kind)
        if names is not None:
            plants += [
                PlantedVolume(
                    int(sources[i]), *what, draw_perturbation(kind, shape, random, strength)
                )
                for i, random in _draw_by_name(names, n, stream)
            ]
            continue
        random = np.random.default_rng(stream)
        order: list[int] = []
        while len(order) < n:
            order += [int(sources[i]) for i in random.permutation(len(sources))]
        plants += [
            PlantedVolume(source, *what, draw_perturbation(kind, shape, random, strength))
            for source in order[:n]
        ]
    return plants


def _draw_by_name(
    names: Sequence[str], n: int, stream: Sequence[int]
) -> Iterator[tuple[int, np.random.Generator]]:
    """Yield n numbers of names in an order that the names give, each with a stream of its own."""
    places = [int(hash_json([*stream, name]), 16) for name in names]
    order = sorted(range(len(names)), key=lambda i: places[i])
    times: Counter[str] = Counter()
    for i in islice(cycle(order), n):
        yield i, np.random.default_rng([*stream, places[i], times[names[i]]])
        times[names[i]] += 1
