"""Published metrics of copying and of quality, each with when it misleads."""

from napari_memscan.detection.evidence.evaluation import evaluate_metrics, iterate_metrics
from napari_memscan.detection.evidence.registry import DEFAULT_METRICS, METRICS, Metric, get_metric
from napari_memscan.detection.evidence.result import MetricResult

__all__ = [
    "DEFAULT_METRICS",
    "METRICS",
    "Metric",
    "MetricResult",
    "evaluate_metrics",
    "get_metric",
    "iterate_metrics",
]
