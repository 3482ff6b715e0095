"""How far readers agree, in the window: the findings, and files of them."""

from napari_memscan.widgets.readers.controller import ReadersController
from napari_memscan.widgets.readers.view import ReadersView

__all__ = ["ReadersController", "ReadersView"]
