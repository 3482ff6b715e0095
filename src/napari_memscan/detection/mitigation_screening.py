"""What may be left among volumes that a detector let pass."""

from __future__ import annotations

from dataclasses import dataclass

from napari_memscan.detection.statistics.intervals import clopper_pearson
from napari_memscan.detection.statistics.proportions import Proportion
from napari_memscan.errors import BadInput


@dataclass(frozen=True)
class MissedCopies:
    """Copies that may be among volumes that were not called.

    Of all copies the detector finds the share s, its sensitivity. Where it called c volumes and
    missed the others, ``c (1 - s) / s`` are expected among those that passed.

    Attributes
    ----------
    called, passed : int
        Volumes that were called, and that were not.
    sensitivity : Proportion
        Of copies planted in the study.
    """

    called: int
    passed: int
    sensitivity: Proportion

    def __post_init__(self) -> None:
        if self.called < 0 or self.passed < 0:
            raise BadInput(f"{self.called} called, {self.passed} passed: no count is below 0.")

    @property
    def expected(self) -> float | None:
        """Copies expected among the passed; None where nothing planted was found."""
        return self._at(self.sensitivity.value or 0.0, self.called)

    @property
    def most(self) -> float:
        """Copies among the passed that cannot be excluded: both limits at their worse end.

        The called are counted at the upper limit of their share, so that none called does not mean
        that none is there; the sensitivity at its lower one. At most all that passed.
        """
        n = self.called + self.passed
        if not n:
            return 0.0
        upper = clopper_pearson(self.called, n)[1] * n
        found = self._at(self.sensitivity.interval[0], upper)
        return float(self.passed) if found is None else min(float(self.passed), found)

    def _at(self, sensitivity: float, called: float) -> float | None:
        return called * (1 - sensitivity) / sensitivity if sensitivity > 0 else None

    def __str__(self) -> str:
        if self.expected is None:
            return "nothing planted was found, so nothing is known of what was missed"
        return (
            f"about {self.expected:.1f} missed copies expected among {self.passed} that passed, at "
            f"most {self.most:.1f} (sensitivity {self.sensitivity})"
        )
