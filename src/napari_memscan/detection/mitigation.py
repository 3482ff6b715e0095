"""What measures against copying gain, and what they cost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from napari_memscan.detection.statistics.differences import ProportionDifference
from napari_memscan.detection.statistics.intervals import clopper_pearson
from napari_memscan.detection.statistics.proportions import Proportion

QUALITY_METRICS = ("precision", "recall", "density", "coverage", "ms_ssim")
"""Metrics of `detection.evidence` that stand beside the gain."""
UNSEEN_COVERAGE = "coverage of validation"
"""As coverage, of patients that the model has not seen: copying does not raise it."""
MAX_COVERAGE_LOSS = 0.1
"""Share of the coverage that may be lost."""

ValueWithInterval = tuple[float | None, tuple[float, float] | None]


@dataclass(frozen=True)
class MitigationMeasure:
    """The volumes that one measure leaves.

    Attributes
    ----------
    name : str
        ``plain``, ``screening``, ``guidance`` or ``screening and guidance``.
    drawn, n : int
        Volumes that were drawn for it, and those that are left.
    copies, near, undecided : int
        Of those left, by the verdict.
    others : dict of str to int
        Rule on embeddings to how many of those left it calls: nothing was left out by these.
    quality : dict of str to (float or None, (float, float) or None)
        Metric to its value and 95 % interval, all measures with equally many volumes.
    missed : str
        What may have passed unseen, in words.
    """

    name: str
    drawn: int
    n: int
    copies: int
    near: int
    undecided: int
    others: Mapping[str, int]
    quality: Mapping[str, ValueWithInterval]
    missed: str = ""

    @property
    def rate(self) -> Proportion:
        """N_copies: verified copies among those left."""
        return Proportion(self.copies, self.n)

    @property
    def limit(self) -> float:
        """Share of copies that none among `n` volumes leaves possible (97.5 %): the limit."""
        return clopper_pearson(0, self.n)[1]

    @property
    def below(self) -> bool:
        """Whether no copy is left, so that the share is below what `n` volumes can show."""
        return self.n > 0 and self.copies == 0


@dataclass(frozen=True)
class RetrainingComparison:
    """Copies without and with a measure that needs another training.

    Attributes
    ----------
    name : str
        Of the measure.
    change : str
        What was changed, such as ``3000 -> 750``.
    counted : str
        What is counted: verified copies, or what a rule calls.
    before, after : Proportion
        Of the volumes sampled of each training.
    answer : str
        Whether there are fewer, in the words of `detection.statistics.differences`.
    source : str
        File of the study that says it.
    note : str
        What must be known of it.
    """

    name: str
    change: str
    counted: str
    before: Proportion
    after: Proportion
    answer: str
    source: str = ""
    note: str = ""

    @property
    def difference(self) -> ProportionDifference:
        """Share after minus share before."""
        return ProportionDifference(self.before.k, self.before.n, self.after.k, self.after.n)


@dataclass(frozen=True)
class MitigationComparison:
    """Measures against copying for one model, side by side.

    Attributes
    ----------
    title, checkpoint : str
        Of the study; hash of the model.
    rule : str
        That decides.
    wanted : int
        Volumes asked for.
    strength : float
        Of guidance.
    sizes : dict of str to int
        Training and validation volumes, and how many synthetic ones quality is measured on.
    measures : tuple of MitigationMeasure
        ``plain`` first.
    elsewhere : dict of str to str
        Measures that need another training and were not tried, with what is known of them.
    warnings : tuple of str
        What must be known of the scan.
    retrained : tuple of RetrainingComparison
        Measures that need another training and were tried.
    """

    title: str
    checkpoint: str
    rule: str
    wanted: int
    strength: float
    sizes: Mapping[str, int]
    measures: tuple[MitigationMeasure, ...]
    elsewhere: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    retrained: tuple[RetrainingComparison, ...] = ()

    def loss(self, measure: MitigationMeasure, key: str = "coverage") -> float | None:
        """Return the share of a metric that is lost against plain sampling; negative is a gain."""
        before, after = self.measures[0].quality[key][0], measure.quality[key][0]
        if not before or after is None:
            return None
        return 1 - after / before

    def passes(self, measure: MitigationMeasure) -> bool:
        """Return whether no verified copy is left; coverage loses at most `MAX_COVERAGE_LOSS`."""
        loss = self.loss(measure)
        return measure.below and loss is not None and loss <= MAX_COVERAGE_LOSS

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values."""
        result: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        for values, measure in zip(result["measures"], self.measures, strict=True):
            values["interval"] = list(measure.rate.interval)
            values["detection_limit"] = measure.limit
            values["coverage_lost"] = self.loss(measure)
            values["goal"] = self.passes(measure)
        for values, one in zip(result["retrained"], self.retrained, strict=True):
            values["before"]["interval"] = list(one.before.interval)
            values["after"]["interval"] = list(one.after.interval)
            values["difference"] = one.difference.value
            values["difference_interval"] = list(one.difference.interval)
        return result
