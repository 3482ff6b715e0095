"""What is on the screen, as it is kept with a decision."""

from __future__ import annotations

from typing import Any

from napari_memscan.widgets.common.orientation import PLANES
from napari_memscan.widgets.viewing.case import LoadedCase, ViewState
from napari_memscan.widgets.viewing.window_level_controller import WindowLevelController


def describe_view_position(
    state: ViewState,
    partner: int,
    loaded: LoadedCase | None,
    mode: str,
    window: WindowLevelController,
) -> dict[str, Any]:
    """Return layout, place and window, JSON-ready.

    Parameters
    ----------
    state : ViewState
    partner : int
        Index of the neighbour that is the partner, as it is on the screen.
    loaded : LoadedCase or None
        The case shown.
    mode : str
        How a pair is shown, which is side by side where it is not registered.
    window : WindowLevelController

    Returns
    -------
    dict
        ``layout``, ``plane``, ``radiological``, ``partner`` (index), ``registered``, ``window``
        (width, level, unit, preset); where a case is shown ``slice`` (of `plane`), ``voxel``
        (X, Y, Z) and ``mm`` (about the volume's centre); of a pair ``pair_mode``, of 3D
        ``rendering``, of an unregistered pair that was shifted ``offsets`` (slices along X, Y, Z);
        ``absent`` (indices) where neighbours could not be shown.
    """
    pair = loaded.case.partner(partner) if loaded is not None else None
    registered = pair is not None and pair.transform is not None
    found: dict[str, Any] = {
        "layout": state.layout,
        "plane": state.plane,
        "radiological": state.radiological,
        "partner": partner,
        "registered": registered,
    }
    if state.layout == "pair":
        found["pair_mode"] = mode
    if state.layout == "3D":
        found["rendering"] = state.rendering
    if not registered and any(state.offsets):
        found["offsets"] = list(state.offsets)
    if state.point is not None and loaded is not None:
        shape = loaded.volume(loaded.case.synthetic).shape
        mm = [
            round((p - (n - 1) / 2) * s, 3)
            for p, n, s in zip(state.point, shape, loaded.spacing, strict=True)
        ]
        at = state.point[PLANES[state.plane][0]]
        found |= {"slice": at, "voxel": list(state.point), "mm": mm}
        if absent := [i for i, shown in enumerate(loaded.case.neighbours) if shown.absent]:
            found["absent"] = absent
    width, level = window.width_level
    found["window"] = {
        "width": round(width, 2),
        "level": round(level, 2),
        "unit": window.units.unit or "%",
        "preset": window.preset,
    }
    return found
