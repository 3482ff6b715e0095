"""Published metrics of copying and of quality, each with when it misleads."""

from napari_memscan.detection.evidence.evaluation import evaluate, evaluations
from napari_memscan.detection.evidence.result import MetricResult
from napari_memscan.detection.evidence.table import DEFAULT, METRICS, Metric, metric_of

__all__ = [
    "DEFAULT",
    "METRICS",
    "Metric",
    "MetricResult",
    "evaluate",
    "evaluations",
    "metric_of",
]
