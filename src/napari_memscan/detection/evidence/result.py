"""What a metric gives, and what it is given."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.detection.statistics.intervals import bootstrap_over_subjects, clopper_pearson

EXACT_INTERVAL = "Clopper-Pearson 95 %"
BOOTSTRAP_INTERVAL = "percentile bootstrap 95 % over volumes"

VolumesBySplit = Mapping[str, Sequence[NDArray[np.float32]]]


@dataclass(frozen=True, eq=False)
class MetricInputs:
    """What all metrics are computed from.

    Attributes
    ----------
    training, validation, synthetic : arrays (n, d), float64
        Vectors of one embedder, centred and of unit length: the Euclidean distance of two is
        ``sqrt(2 (1 - r))`` with r their Pearson correlation, so that neighbours are those of a
        scan.
    vectors : mapping of str to arrays (n, d), float32
        The three as the embedder made them: what a scan counts with.
    threshold : float
        tau; a similarity above it is a copy.
    quantile : float
        Of the rule that set tau.
    seed : int
        Of everything random.
    volumes : mapping of str to sequences of arrays (X, Y, Z), or None
        ``training``, ``validation`` and ``synthetic`` volumes in [0, 1], read one by one.
    subjects : mapping of str to sequences of str
        Of ``training`` and ``validation``, where they are known.
    """

    training: NDArray[np.float64]
    validation: NDArray[np.float64]
    synthetic: NDArray[np.float64]
    vectors: Mapping[str, NDArray[np.float32]]
    threshold: float
    quantile: float = 0.95
    seed: int = 0
    volumes: VolumesBySplit | None = None
    subjects: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of vectors of each split."""
        return {name: len(getattr(self, name)) for name in ("training", "validation", "synthetic")}


@dataclass(frozen=True)
class MetricResult:
    """One metric of one set of synthetic volumes.

    Attributes
    ----------
    key : str
        Of the metric; see `METRICS`.
    value : float or None
        None where it cannot be computed; `note` says why.
    interval : (float, float) or None
        95 % interval of `value`.
    rule : str
        How the interval was made.
    expected : float or None
        What `value` would be near if nothing were memorised, where that is known.
    values : dict
        What else was measured: numbers, or lists of them for a curve.
    n : dict of str to int
        Sizes.
    seed : int or None
        None where nothing is random.
    note : str
        What a reader of this number must know.
    """

    key: str
    value: float | None
    interval: tuple[float, float] | None = None
    rule: str = ""
    expected: float | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    n: Mapping[str, int] = field(default_factory=dict)
    seed: int | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values."""
        result: dict[str, Any] = json.loads(json.dumps(asdict(self), allow_nan=False))
        return result


def make_share_result(
    key: str,
    given: MetricInputs,
    k: int,
    n: int,
    *,
    expected: float | None = None,
    values: dict[str, Any] | None = None,
    seed: int | None = None,
) -> MetricResult:
    """Return the result of a metric that is a share, `k` of `n`."""
    interval = clopper_pearson(k, n)
    return MetricResult(
        key,
        k / n,
        interval,
        EXACT_INTERVAL,
        expected=expected,
        values=values or {},
        n=given.sizes,
        seed=seed,
    )


def make_mean_result(
    key: str,
    given: MetricInputs,
    own: NDArray[np.float64],
    held: NDArray[np.float64] | None = None,
    values: dict[str, Any] | None = None,
    note: str = "",
) -> MetricResult:
    """Return the result of a metric that is the mean of `own`; `held` is what validation gives."""
    interval = bootstrap_over_subjects(own, None, np.mean, seed=given.seed)
    expected = None if held is None else float(held.mean())
    return MetricResult(
        key,
        float(own.mean()),
        interval,
        BOOTSTRAP_INTERVAL,
        expected=expected,
        values=values or {},
        n=given.sizes,
        seed=given.seed,
        note=note,
    )
