"""Evaluating some of the metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from napari_memscan.detection.decision.thresholds import PaperRule
from napari_memscan.detection.evidence.arrays import check_vectors
from napari_memscan.detection.evidence.registry import DEFAULT_METRICS, get_metric
from napari_memscan.detection.evidence.result import MetricInputs, MetricResult, VolumesBySplit
from napari_memscan.detection.retrieval.neighbours import standardise_vectors
from napari_memscan.errors import BadInput


def iterate_metrics(
    keys: Sequence[str],
    *,
    training: ArrayLike,
    validation: ArrayLike,
    synthetic: ArrayLike,
    volumes: VolumesBySplit | None = None,
    subjects: Mapping[str, Sequence[str]] | None = None,
    threshold: float | None = None,
    quantile: float = 0.95,
    seed: int = 0,
) -> Iterator[MetricResult]:
    """Yield the result of each metric as soon as it is there; see `evaluate_metrics`."""
    metrics = [get_metric(key) for key in keys]
    sets = {"training": training, "validation": validation, "synthetic": synthetic}
    check_vectors({"training": 2}, **sets)
    narrow = {name: np.asarray(vectors, np.float32) for name, vectors in sets.items()}
    unit = {name: standardise_vectors(vectors, name) for name, vectors in narrow.items()}
    for name, held in (volumes or {}).items():
        if name in unit and len(held) != len(unit[name]):
            raise BadInput(
                f"{len(held)} {name} volumes for {len(unit[name])} {name} vectors; give one each."
            )
    if threshold is None:
        threshold = PaperRule(quantile).fit(narrow["training"], narrow["validation"]).threshold_
    wide = {name: vectors.astype(np.float64) for name, vectors in unit.items()}
    given = MetricInputs(
        **wide,
        vectors=narrow,
        threshold=float(threshold),
        quantile=quantile,
        seed=seed,
        volumes=volumes,
        subjects=subjects or {},
    )
    for metric in metrics:
        try:
            yield metric.compute(given)
        except BadInput as error:
            yield MetricResult(metric.key, None, n=given.sizes, note=f"Not computed: {error}")


def evaluate_metrics(
    keys: Sequence[str] = DEFAULT_METRICS,
    *,
    training: ArrayLike,
    validation: ArrayLike,
    synthetic: ArrayLike,
    volumes: VolumesBySplit | None = None,
    subjects: Mapping[str, Sequence[str]] | None = None,
    threshold: float | None = None,
    quantile: float = 0.95,
    seed: int = 0,
) -> list[MetricResult]:
    """Evaluate metrics of copying and of quality on vectors of one embedder.

    Parameters
    ----------
    keys : sequence of str
        Of `METRICS`.
    training, validation, synthetic : arrays (n, d)
        As the embedder makes them; they are centred and scaled to unit length first.
    volumes : mapping of str to sequences of arrays (X, Y, Z), optional
        ``training``, ``validation`` and ``synthetic``, in the order of the vectors; only for
        metrics that need volumes.
    subjects : mapping of str to sequences of str, optional
        Of ``training`` and ``validation`` vectors, in their order; without them, or where one is
        empty, a volume is a subject of its own.
    threshold : float, optional
        tau; by the paper's rule where it is not given.
    quantile : float
        Of the rule.
    seed : int
        The same seed gives the same results.

    Returns
    -------
    list of MetricResult
        In the order of `keys`. A metric that these inputs do not allow, such as too few volumes,
        has no value and says why; the others are there all the same.

    Raises
    ------
    BadInput
        No such metric, or vectors that none can use: NaN, other lengths, all equal, too few.
    """
    return list(
        iterate_metrics(
            keys,
            training=training,
            validation=validation,
            synthetic=synthetic,
            volumes=volumes,
            subjects=subjects,
            threshold=threshold,
            quantile=quantile,
            seed=seed,
        )
    )
