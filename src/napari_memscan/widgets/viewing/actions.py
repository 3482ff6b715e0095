"""What is done with keys: each with what it does and the key it has by default."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum

from napari_memscan.widgets.common.orientation import PLANES
from napari_memscan.widgets.viewing.case import BLINK, LAYOUTS, MAP, PAIR_MODES
from napari_memscan.widgets.viewing.viewer_controller import ViewerController


class ViewAction(StrEnum):
    """A change of how volumes are looked at; settings of keys go by these names."""

    LAYOUT = "layout"
    PAIR_MODE = "pair mode"
    BLINK = "blink"
    PARTNER = "partner"
    MAP = "map"
    SLICE_UP = "slice up"
    SLICE_DOWN = "slice down"
    OFFSET_UP = "offset up"
    OFFSET_DOWN = "offset down"
    PLANE = "plane"
    WINDOW = "window"
    RESET_WINDOW = "reset window"
    LEFT_AND_RIGHT = "left and right"


VIEW_ACTIONS = {
    ViewAction.LAYOUT: ("Next layout: grid, pair, planes, 3D", "W"),
    ViewAction.PAIR_MODE: ("Next way to show the pair", "Shift+W"),
    ViewAction.BLINK: ("Blink once: the other one of the pair", "Q"),
    ViewAction.PARTNER: ("Next neighbour as partner", "Shift+Q"),
    ViewAction.MAP: ("Local similarity on or off", "Alt+8"),
    ViewAction.SLICE_UP: ("Next slice", "PgUp"),
    ViewAction.SLICE_DOWN: ("Previous slice", "PgDown"),
    ViewAction.OFFSET_UP: ("Unregistered partner one slice ahead", "Alt+PgUp"),
    ViewAction.OFFSET_DOWN: ("Unregistered partner one slice back", "Alt+PgDown"),
    ViewAction.PLANE: ("Next plane", "9"),
    ViewAction.WINDOW: ("Next window preset", "8"),
    ViewAction.RESET_WINDOW: ("The whole range of grey", "0"),
    ViewAction.LEFT_AND_RIGHT: ("Radiological or neurological", "Alt+9"),
}
"""What it does, and a key that napari leaves free."""


def perform_view_action(viewing: ViewerController, action: ViewAction) -> None:
    """Change how volumes are looked at."""
    window = viewing.window
    n = len(viewing.case.neighbours) if viewing.case else 0
    perform: dict[ViewAction, Callable[[], None]] = {
        ViewAction.LAYOUT: lambda: viewing.set_layout(_get_next_name(LAYOUTS, viewing.layout)),
        ViewAction.PAIR_MODE: lambda: _show_next_mode(viewing),
        ViewAction.BLINK: lambda: _blink_pair(viewing),
        ViewAction.PARTNER: lambda: viewing.set_partner((viewing.partner + 1) % max(n, 1)),
        ViewAction.MAP: lambda: viewing.set_map(
            not (viewing.layout == "pair" and viewing.pair_mode == MAP)
        ),
        ViewAction.SLICE_UP: lambda: viewing.step(1),
        ViewAction.SLICE_DOWN: lambda: viewing.step(-1),
        ViewAction.OFFSET_UP: lambda: viewing.set_offset(viewing.offset + 1),
        ViewAction.OFFSET_DOWN: lambda: viewing.set_offset(viewing.offset - 1),
        ViewAction.PLANE: lambda: viewing.set_plane(_get_next_name(tuple(PLANES), viewing.plane)),
        ViewAction.WINDOW: lambda: viewing.set_preset(
            _get_next_name(window.presets, window.preset)
        ),
        ViewAction.RESET_WINDOW: viewing.reset_window,
        ViewAction.LEFT_AND_RIGHT: lambda: viewing.set_radiological(not viewing.state.radiological),
    }
    perform[action]()


def _show_next_mode(viewing: ViewerController) -> None:
    if viewing.layout == "pair":
        viewing.set_pair_mode(_get_next_name(PAIR_MODES, viewing.pair_mode))
    else:
        viewing.set_layout("pair")


def _blink_pair(viewing: ViewerController) -> None:
    """Go to where blinking is seen, and from then on blink."""
    if viewing.layout == "pair" and viewing.pair_mode == BLINK:
        viewing.flip()
        return
    viewing.set_pair_mode(BLINK)
    viewing.set_layout("pair")


def _get_next_name(names: Sequence[str], name: str) -> str:
    """Return the name after this one, the first after the last or an unknown one."""
    return names[(names.index(name) + 1) % len(names)] if name in names else names[0]
