"""What is done with keys: each with what it does and the key it has by default."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from napari_memscan.widgets.common.orientation import PLANES
from napari_memscan.widgets.viewing.case import BLINK, LAYOUTS, MAP, PAIR_MODES
from napari_memscan.widgets.viewing.viewer_controller import ViewerController

VIEW_ACTIONS = {
    "layout": ("Next layout: grid, pair, planes, 3D", "W"),
    "pair mode": ("Next way to show the pair", "Shift+W"),
    "blink": ("Blink once: the other one of the pair", "Q"),
    "partner": ("Next neighbour as partner", "Shift+Q"),
    "map": ("Local similarity on or off", "Alt+8"),
    "slice up": ("Next slice", "PgUp"),
    "slice down": ("Previous slice", "PgDown"),
    "offset up": ("Unregistered partner one slice ahead", "Alt+PgUp"),
    "offset down": ("Unregistered partner one slice back", "Alt+PgDown"),
    "plane": ("Next plane", "9"),
    "window": ("Next window preset", "8"),
    "reset window": ("The whole range of grey", "0"),
    "left and right": ("Radiological or neurological", "Alt+9"),
}
"""Action: what it does, and a key that napari leaves free."""


def perform_view_action(viewing: ViewerController, name: str) -> None:
    """Do one of `VIEW_ACTIONS`; another name does nothing."""
    window = viewing.window
    n = len(viewing.case.neighbours) if viewing.case else 0
    actions: dict[str, Callable[[], None]] = {
        "layout": lambda: viewing.set_layout(_get_next_name(LAYOUTS, viewing.layout)),
        "pair mode": lambda: _show_next_mode(viewing),
        "blink": lambda: _blink_pair(viewing),
        "partner": lambda: viewing.set_partner((viewing.partner + 1) % max(n, 1)),
        "map": lambda: viewing.set_map(not (viewing.layout == "pair" and viewing.pair_mode == MAP)),
        "slice up": lambda: viewing.step(1),
        "slice down": lambda: viewing.step(-1),
        "offset up": lambda: viewing.set_offset(viewing.offset + 1),
        "offset down": lambda: viewing.set_offset(viewing.offset - 1),
        "plane": lambda: viewing.set_plane(_get_next_name(tuple(PLANES), viewing.plane)),
        "window": lambda: viewing.set_preset(_get_next_name(window.presets, window.preset)),
        "reset window": viewing.reset_window,
        "left and right": lambda: viewing.set_radiological(not viewing.state.radiological),
    }
    if name in actions:
        actions[name]()


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
