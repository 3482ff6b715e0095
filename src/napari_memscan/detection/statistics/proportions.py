"""What a detector gets right against labels: sensitivity and its kin, with exact intervals."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import ArrayLike

from napari_memscan.detection.statistics.intervals import clopper_pearson
from napari_memscan.detection.statistics.validation import check_flags
from napari_memscan.errors import BadInput


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


@dataclass(frozen=True)
class ConfusionMatrix:
    """Counts of a detector against labels, and the rates they give.

    Attributes
    ----------
    tp, fn, fp, tn : int
        Copies called, copies missed, others called, others left alone.
    """

    tp: int
    fn: int
    fp: int
    tn: int

    def __post_init__(self) -> None:
        if min(self.tp, self.fn, self.fp, self.tn) < 0:
            raise BadInput(f"{self.tp}, {self.fn}, {self.fp}, {self.tn}: no count is below 0.")

    @property
    def sensitivity(self) -> Proportion:
        """Share of the copies that is called."""
        return Proportion(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> Proportion:
        """Share of the others that is left alone."""
        return Proportion(self.tn, self.tn + self.fp)

    @property
    def precision(self) -> Proportion:
        """Share of the called that are copies."""
        return Proportion(self.tp, self.tp + self.fp)

    @property
    def accuracy(self) -> Proportion:
        """Share that is right."""
        return Proportion(self.tp + self.tn, self.tp + self.fn + self.fp + self.tn)

    @property
    def macro_f1(self) -> float | None:
        """Mean of the F1 of both classes; None where one has neither members nor calls."""
        wrong = self.fn + self.fp
        if 2 * self.tp + wrong == 0 or 2 * self.tn + wrong == 0:
            return None
        return self.tp / (2 * self.tp + wrong) + self.tn / (2 * self.tn + wrong)


def compute_confusion(labels: ArrayLike, predictions: ArrayLike) -> ConfusionMatrix:
    """Count a detector's calls against labels.

    Parameters
    ----------
    labels : array (n,) of bool
        The truth: True for a copy. First, as in scikit-learn: the other way round sensitivity
        and precision change places.
    predictions : array (n,) of bool
        What the detector called.

    Raises
    ------
    BadInput
        Nothing, other values than yes and no, or two lengths.
    """
    truth = check_flags(labels, "labels")
    called = check_flags(predictions, "predictions", len(truth))
    if not len(truth):
        raise BadInput("there are no labels to compare with.")
    return ConfusionMatrix(
        tp=int((truth & called).sum()),
        fn=int((truth & ~called).sum()),
        fp=int((~truth & called).sum()),
        tn=int((~truth & ~called).sum()),
    )
