"""The command ``review``."""

from __future__ import annotations

import os
import sys

from napari_memscan.cli.options import StudyArgument
from napari_memscan.errors import JobFailed


def review(study: StudyArgument) -> None:
    """Open napari to decide on each volume.

    Each synthetic volume is shown beside its nearest training volumes. Every decision is on disk
    the moment it is made.

    \b
    Example:
      memscan review audit
    """
    from napari_memscan.study import Study

    Study.open(study)  # What is wrong with it is said here, before a window comes up.
    if not has_screen():
        raise JobFailed(
            "there is no screen here (DISPLAY is not set). Run this where you see a desktop, or "
            f"write a page to read elsewhere: memscan report {study}"
        )
    try:
        import qtpy.QtWidgets  # noqa: F401
    except ImportError as error:
        raise JobFailed(
            f"the window needs Qt ({error}). Install it with: pip install 'napari-memscan[all]'"
        ) from error
    from napari_memscan.widgets.launch import open_study

    open_study(study)


def has_screen() -> bool:
    """Return whether a window can come up; Qt would end the process where it cannot."""
    if sys.platform != "linux" or os.environ.get("QT_QPA_PLATFORM") in ("offscreen", "minimal"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
