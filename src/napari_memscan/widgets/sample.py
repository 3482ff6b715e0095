"""File > Open Sample > Memscan: the demo study in one click."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_memscan.widgets.dock.dock import MemscanWidget

PLUGIN = "napari-memscan"
WIDGET = "Memscan study, generate, review"


def open_dock() -> MemscanWidget:
    """Open the dock in the current window, or return the one that is open."""
    import napari

    viewer = napari.current_viewer()
    if viewer is None:
        raise RuntimeError("there is no napari window to open the dock in")
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, WIDGET)
    return widget


def open_demo_sample() -> list[tuple[Any, dict[str, Any], str]]:
    """Open the dock on the demo study, and give one of its phantoms to look at meanwhile."""
    from napari_memscan.demo.phantoms import HU_WINDOW, draw_phantom

    volume = draw_phantom(0)
    open_dock().open_demo()
    # Shown slice by slice from feet to head, anterior up, before the dock arranges its panes.
    data = volume.data.transpose(2, 1, 0)[:, ::-1, ::-1]
    spacing = volume.spacing or (1.0, 1.0, 1.0)
    look = {
        "name": "Demo phantom",
        "scale": spacing[::-1],
        "contrast_limits": HU_WINDOW,
        "interpolation2d": "linear",
    }
    return [(data, look, "image")]
