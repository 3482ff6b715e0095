"""The statistics of a scan: thresholds tried out, a map of the embedding, the rarefaction curve."""

from napari_memscan.widgets.statistics.panel import StatisticsPanel

__all__ = ["StatisticsPanel"]
