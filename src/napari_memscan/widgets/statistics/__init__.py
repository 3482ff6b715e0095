"""The statistics of a scan: thresholds tried out, a map of the embedding, the rarefaction curve."""

from napari_memscan.widgets.statistics.panel import StatisticsPanel
from napari_memscan.widgets.statistics.window import StatisticsWindow

__all__ = ["StatisticsPanel", "StatisticsWindow"]
