"""Blind reading in the window: a front end that knows neither names nor scores."""

from napari_memscan.widgets.blind.controller import BlindController
from napari_memscan.widgets.blind.view import BlindView

__all__ = ["BlindController", "BlindView"]
