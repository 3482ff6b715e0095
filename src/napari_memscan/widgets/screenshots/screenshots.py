"""Pictures of the real napari window on a study, for the docs and for `memscan demo`.

``python -m napari_memscan.widgets.screenshots.screenshots STUDY OUT`` does the same from a shell.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.errors import JobFailed
from napari_memscan.widgets.screenshots.scenes import (
    READER,
    show_all_scenes,
    wait_for_drawing,
    wait_until,
)

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_memscan.widgets.dock.dock import MemscanWidget

SIZE = (1280, 800)
NAMES = ("study.png", "generate.png", "review.png", "review-light.png", "release.png")


def save_screenshots(study_folder: str | Path, out_folder: str | Path) -> list[Path]:
    """Open napari on a study and save pictures of its four steps, the third in both themes.

    Needs a screen, or a virtual one (``xvfb-run``), and no other napari window in this process.

    Parameters
    ----------
    study_folder : path
        A study; without a scan there is nothing to read or release.
    out_folder : path
        Made if missing.

    Returns
    -------
    list of Path
        The PNG files, 1280 x 800.

    Raises
    ------
    JobFailed
        The study does not open, or the window takes too long.
    """
    import napari

    viewer = napari.Viewer(show=True)
    try:
        return _save_steps(viewer, Path(study_folder), Path(out_folder))
    finally:
        viewer.close()


SIZES = ((1280, 800), (1920, 1080))
THEMES = ("dark", "light")


def save_views(
    study_folder: str | Path, out_folder: str | Path, size: tuple[int, int], theme: str
) -> list[Path]:
    """Save a picture of every view of the window.

    Parameters
    ----------
    study_folder, out_folder : path
        A scanned study, in which blind readings are left; where to.
    size : (int, int)
        Of the window in pixels; the screen must be larger.
    theme : {"dark", "light"}

    Returns
    -------
    list of Path
        Named ``VIEW-THEME-WIDTH.png``.

    Raises
    ------
    JobFailed
        The study does not open or is not scanned, or the window takes too long.
    """
    import napari

    out = Path(out_folder)
    out.mkdir(parents=True, exist_ok=True)
    viewer = napari.Viewer(show=True)
    made = []

    def shoot(name: str, window: QWidget | None) -> None:
        made.append(out / f"{name}-{theme}-{size[0]}.png")
        if window is None:
            viewer.screenshot(str(made[-1]), canvas_only=False, flash=False)
        else:
            window.grab().save(str(made[-1]))

    try:
        viewer.window.resize(*size)
        viewer.theme = theme
        widget = _find_dock(viewer)
        _open_study(widget, Path(study_folder))
        if not widget.review.ready:
            raise JobFailed(f"{study_folder}: not scanned yet. Generate volumes and scan first.")
        show_all_scenes(widget, shoot)
        return made
    finally:
        viewer.close()


def _open_study(widget: MemscanWidget, folder: Path) -> None:
    widget.open_study(folder)
    wait_until(lambda: not widget.study.busy, "opening the study")
    if widget.study.study is None:
        raise JobFailed(widget.study_view.message.text)


def save_study_form(
    choices: Mapping[str, str],
    path: str | Path,
    size: tuple[int, int] = SIZE,
    theme: str = THEMES[0],
) -> Path:
    """Open napari, fill the form of a new study, and save a picture of what is said of it.

    Parameters
    ----------
    choices : dict of str to str
        Field of the form, such as ``generator``, to what is typed there.
    path : path
        The PNG file.
    size : (int, int)
        Of the window in pixels.
    theme : {"dark", "light"}

    Raises
    ------
    JobFailed
        The window takes too long.
    """
    import napari

    viewer = napari.Viewer(show=True)
    try:
        viewer.window.resize(*size)
        viewer.theme = theme
        widget = _find_dock(viewer)
        for field, text in choices.items():
            widget.study_view.rows[field].choose(text)
        wait_until(lambda: not widget.study.busy, "looking at what was chosen")
        wait_for_drawing()
        viewer.screenshot(str(path), canvas_only=False, flash=False)
    finally:
        viewer.close()
    return Path(path)


def _find_dock(viewer: Any) -> MemscanWidget:
    from napari_memscan.widgets.sample import PLUGIN, WIDGET

    widget: MemscanWidget
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, WIDGET)
    widget.review_view.reader.setText(READER)
    return widget


def _save_steps(viewer: Any, study_folder: Path, out_folder: Path) -> list[Path]:
    from napari_memscan.widgets.dock.dock import GENERATE, RELEASE, REVIEW, STUDY

    out_folder.mkdir(parents=True, exist_ok=True)
    viewer.window.resize(*SIZE)
    widget = _find_dock(viewer)
    _open_study(widget, study_folder)
    made = []
    shots: list[tuple[str, int, str]] = [(NAMES[0], STUDY, "dark"), (NAMES[1], GENERATE, "dark")]
    if widget.review.ready:
        shots += [(NAMES[2], REVIEW, "dark"), (NAMES[3], REVIEW, "light")]
        shots += [(NAMES[4], RELEASE, "dark")]
    for name, step, theme in shots:
        viewer.theme = theme
        widget.go_to(step)
        wait_until(
            lambda: not (widget.viewing.loading or widget.release.counting), "showing volumes"
        )
        wait_for_drawing()
        viewer.screenshot(str(out_folder / name), canvas_only=False, flash=False)
        made.append(out_folder / name)
    return made


if __name__ == "__main__":
    for picture in save_screenshots(sys.argv[1], sys.argv[2]):
        print(picture)
