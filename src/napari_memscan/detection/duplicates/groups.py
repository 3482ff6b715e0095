"""Pairs and groups of volumes that are twice in a cohort."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from napari_memscan.typing import Verdict


@dataclass(frozen=True)
class DuplicatePair:
    """Two volumes that are nearer than those of two people are.

    Attributes
    ----------
    first, second : int
        Rows of the training volumes, `first` below `second`; of a leak `first` counts validation
        volumes.
    score : float
        After registration, in [-1, 1]; the larger of both directions.
    verdict : Verdict
        ``copy``, ``near-duplicate``, or ``undecided``: nearer than every one of the null, with
        too small a null to call it.
    reason : str
        Why undecided, or what is to be doubted; else empty.
    """

    first: int
    second: int
    score: float
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True)
class DuplicateGroup:
    """Training volumes that hang together by pairs.

    Attributes
    ----------
    members : tuple of int
        Rows, ascending.
    keep : int
        The sharpest: what was resampled or smoothed is softer than what it was made of.
    pairs : tuple of DuplicatePair
        Nearest first.
    """

    members: tuple[int, ...]
    keep: int
    pairs: tuple[DuplicatePair, ...]

    @property
    def drop(self) -> tuple[int, ...]:
        """All but the one to keep."""
        return tuple(i for i in self.members if i != self.keep)


@dataclass(frozen=True)
class DuplicateResult:
    """What is twice in a cohort.

    Attributes
    ----------
    groups : tuple of DuplicateGroup
        Of called pairs across subjects; the largest first.
    suspected : tuple of DuplicateGroup
        Of undecided pairs across subjects: look at them.
    expected : tuple of DuplicateGroup
        Called pairs of one subject: two scans of a person are alike.
    leaks : tuple of DuplicatePair
        Validation volumes near a training volume of another subject; ``undecided`` where only
        their score, which is that of a planted copy, says so. They hide copies, since the
        null was left without them here, but is not in a scan.
    n_training, n_null : int
        Volumes searched, and subjects that the null holds.
    q : float
        Largest expected share of wrong ones among the called.
    """

    groups: tuple[DuplicateGroup, ...]
    suspected: tuple[DuplicateGroup, ...]
    expected: tuple[DuplicateGroup, ...]
    leaks: tuple[DuplicatePair, ...]
    n_training: int
    n_null: int
    q: float

    @property
    def dropped(self) -> tuple[int, ...]:
        """Rows of training volumes to leave out, ascending."""
        return tuple(sorted(i for group in self.groups for i in group.drop))


def merge_pairs(pairs: Iterable[DuplicatePair]) -> list[DuplicatePair]:
    """Return each pair once, lower row first: the called and nearer of both directions."""
    best: dict[tuple[int, int], DuplicatePair] = {}
    for pair in sorted(pairs, key=lambda p: (p.verdict.called, p.score)):
        low, high = sorted((pair.first, pair.second))
        best[low, high] = DuplicatePair(low, high, pair.score, pair.verdict, pair.reason)
    return list(best.values())


def group_pairs(
    pairs: Sequence[DuplicatePair], sharp: Sequence[float]
) -> tuple[DuplicateGroup, ...]:
    """Return the connected components of pairs, the largest first."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(sharp)
    edges = ([p.first for p in pairs], [p.second for p in pairs])
    _, label = connected_components(coo_matrix((np.ones(len(pairs)), edges), (n, n)), False)
    of: dict[int, list[DuplicatePair]] = {}
    for pair in pairs:
        of.setdefault(int(label[pair.first]), []).append(pair)
    groups = []
    for component, own in of.items():
        members = tuple(int(i) for i in np.flatnonzero(label == component))
        keep = max(members, key=lambda i: (sharp[i], -i))
        groups.append(DuplicateGroup(members, keep, tuple(sorted(own, key=lambda p: -p.score))))
    return tuple(sorted(groups, key=lambda g: (-len(g.members), g.members)))
