"""Opens the window on a study, for `memscan review`."""

from __future__ import annotations

from pathlib import Path


def open_study(folder: str | Path) -> None:
    """Open napari with the dock on a study; return when the window is closed."""
    import napari

    from napari_memscan.widgets.sample import open_dock

    napari.Viewer(title="Memscan")
    open_dock().open_study(folder)
    napari.run()
