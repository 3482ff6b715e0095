"""Opens a study that is dropped on the window or chosen in File > Open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def get_reader(path: str | list[str]) -> Callable[[Any], list[tuple[None]]] | None:
    """Return a reader for a study's folder or its ``study.toml``; None for anything else."""
    if isinstance(path, list):
        if len(path) != 1:
            return None
        path = path[0]
    file = Path(path)
    file = file if file.name == "study.toml" else file / "study.toml"
    return open_in_dock if file.is_file() else None


def open_in_dock(path: str | list[str]) -> list[tuple[None]]:
    """Open the study in the dock; no layer comes of it directly."""
    from napari_memscan.widgets.sample import open_dock

    folder = path[0] if isinstance(path, list) else path
    open_dock().open_study(folder)
    return [(None,)]
