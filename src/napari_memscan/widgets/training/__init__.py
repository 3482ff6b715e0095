"""Training in the window: for small models, with live curves and Stop."""

from napari_memscan.widgets.training.controller import TrainController
from napari_memscan.widgets.training.view import TrainView

__all__ = ["TrainController", "TrainView"]
