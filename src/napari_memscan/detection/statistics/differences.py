"""Whether a share grows or falls between two settings, and whether that can be told at all."""

from __future__ import annotations

from dataclasses import dataclass

from napari_memscan.errors import BadInput

HOLDS = "holds"
DOES_NOT_HOLD = "does not hold"
INCONCLUSIVE = "cannot be told at this size"
SINGLE_TRAINING_NOTE = "one training each: how far two trainings differ by chance is not known"
"""Note where nothing says how much of a difference chance makes."""


@dataclass(frozen=True)
class ProportionDifference:
    """A share at a higher setting minus that at a lower one, each `k` of `n`.

    Attributes
    ----------
    k_low, n_low, k_high, n_high : int
        Counts at the lower and at the higher setting.
    """

    k_low: int
    n_low: int
    k_high: int
    n_high: int

    def __post_init__(self) -> None:
        if not (0 <= self.k_low <= self.n_low and 0 <= self.k_high <= self.n_high):
            raise BadInput(f"{self}: counts are from 0 to their number.")
        if not self.n_low or not self.n_high:
            raise BadInput("a share of nothing cannot be compared.")

    @property
    def value(self) -> float:
        """In [-1, 1]."""
        return self.k_high / self.n_high - self.k_low / self.n_low

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval (Newcombe 1998, method 10: of two independent shares)."""
        from statsmodels.stats.proportion import confint_proportions_2indep

        low, high = confint_proportions_2indep(
            self.k_high, self.n_high, self.k_low, self.n_low, method="newcomb", compare="diff"
        )
        return float(low), float(high)

    def answer(self, expected: str, spread: float | None = None) -> str:
        """Say whether the share does what is expected as the setting grows.

        Parameters
        ----------
        expected : {"raises", "lowers"}
        spread : float, optional
            How far two trainings that differ by chance alone lie apart: a difference no larger
            is none, however many volumes were sampled.

        Returns
        -------
        str
            `HOLDS`, `DOES_NOT_HOLD` (it does the opposite) or `INCONCLUSIVE`.
        """
        if expected not in ("raises", "lowers"):
            raise BadInput(f"expected '{expected}': raises or lowers.")
        low, high = self.interval
        if low <= 0 <= high or (spread is not None and abs(self.value) <= spread):
            return INCONCLUSIVE
        return HOLDS if (low > 0) == (expected == "raises") else DOES_NOT_HOLD
