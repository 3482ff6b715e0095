"""Shares with exact intervals."""

from __future__ import annotations

from dataclasses import dataclass

from napari_memscan.detection.statistics.intervals import clopper_pearson


@dataclass(frozen=True)
class Proportion:
    """A share with its 95 % interval (Clopper and Pearson).

    Attributes
    ----------
    k, n : int
        `k` of `n`.
    """

    k: int
    n: int

    @property
    def value(self) -> float | None:
        """In [0, 1]; None of nothing."""
        return self.k / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval; (0, 1) of nothing."""
        return clopper_pearson(self.k, self.n)

    def __str__(self) -> str:
        if not self.n:
            return "not known (0 of 0)"
        low, high = self.interval
        return f"{self.k / self.n:.3f} ({low:.3f} to {high:.3f}; {self.k} of {self.n})"
