"""Looking: a synthetic volume and what it is compared with, in the napari window."""

from napari_memscan.widgets.viewing.actions import ACTIONS, act
from napari_memscan.widgets.viewing.bar import ViewingBar
from napari_memscan.widgets.viewing.case import LAYOUTS, PAIR_MODES, RENDERINGS, Case, Shown
from napari_memscan.widgets.viewing.viewer_controller import Viewing

__all__ = [
    "ACTIONS",
    "LAYOUTS",
    "PAIR_MODES",
    "RENDERINGS",
    "Case",
    "Shown",
    "Viewing",
    "ViewingBar",
    "act",
]
