"""Looking: a synthetic volume and what it is compared with, in the napari window."""

from napari_memscan.widgets.viewing.actions import VIEW_ACTIONS, ViewAction, perform_view_action
from napari_memscan.widgets.viewing.bar import ViewingBar
from napari_memscan.widgets.viewing.case import LAYOUTS, PAIR_MODES, RENDERINGS, Case, CaseVolume
from napari_memscan.widgets.viewing.viewer_controller import ViewerController

__all__ = [
    "LAYOUTS",
    "PAIR_MODES",
    "RENDERINGS",
    "VIEW_ACTIONS",
    "Case",
    "CaseVolume",
    "ViewAction",
    "ViewerController",
    "ViewingBar",
    "perform_view_action",
]
