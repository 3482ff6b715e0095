"""What holds for every test process, however it was started.

Each has a virtual screen of its own (pytest-xvfb): on a shared one the windows of two processes take the
keyboard from each other. Each computes with one thread: threads that wait for a busy core cost more than
they bring.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

# All read when a library is first imported, so set before any test module is.
os.environ.setdefault("OMP_NUM_THREADS", "1")
_settings = tempfile.TemporaryDirectory(prefix="napari-settings-")
os.environ["NAPARI_CONFIG"] = str(Path(_settings.name) / "settings.yaml")

XVFB = sys.platform == "linux" and shutil.which("Xvfb") is not None
SCREEN = (
    XVFB or sys.platform != "linux" or not {"DISPLAY", "WAYLAND_DISPLAY"}.isdisjoint(os.environ)
)
if not SCREEN:
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
elif XVFB:
    # Xvfb speaks X11, also where the desktop around it is Wayland.
    os.environ.setdefault("QT_QPA_PLATFORM", "xcb")


def pytest_collection_modifyitems(items):
    if not SCREEN:
        for item in items:
            if item.get_closest_marker("display"):
                item.add_marker(pytest.mark.skip(reason="needs Xvfb or a screen"))
