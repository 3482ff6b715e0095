"""What napari finds: commands, menu, reader, sample; and the pictures of the docs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from npe2 import PluginManifest

from napari_memscan.study import Study
from napari_memscan.widgets import launch
from napari_memscan.widgets.dock import dock as dock_module
from napari_memscan.widgets.reader import get_reader
from napari_memscan.widgets.sample import PLUGIN, WIDGET
from napari_memscan.widgets.screenshots.screenshots import NAMES

WAIT = 60_000


@pytest.fixture
def manifest():
    return PluginManifest.from_distribution(PLUGIN)


def test_manifest_names_what_exists(manifest):
    manifest.validate_imports()
    assert manifest.display_name == "Memscan"
    (widget,) = manifest.contributions.widgets
    assert widget.display_name == WIDGET
    for word in ("memscan", "study", "generate", "review"):
        assert word in WIDGET.lower()


def test_reader_takes_studies_and_nothing_else(tmp_path, folder_study):
    assert get_reader(str(folder_study)) is not None
    assert get_reader(str(folder_study / "study.toml")) is not None
    assert get_reader([str(folder_study)]) is not None
    assert get_reader(str(tmp_path)) is None
    assert get_reader(str(folder_study / "cohort.csv")) is None
    assert get_reader([str(folder_study), str(folder_study)]) is None


def test_importing_the_reader_is_cheap():
    code = (
        "import sys, napari_memscan.widgets.reader, napari_memscan.widgets.sample\n"
        "print([m for m in ('torch', 'napari', 'qtpy', 'nibabel') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def docked(viewer):
    return viewer.window.dock_widgets[f"{WIDGET} ({PLUGIN})"]


def settle(qtbot, widget) -> None:
    qtbot.waitUntil(
        lambda: (
            widget.study.study is not None and not widget.study.busy and not widget.viewing.loading
        ),
        timeout=WAIT,
    )


@pytest.mark.display
def test_a_study_is_opened_like_a_file(qtbot, make_napari_viewer, folder_study):
    viewer = make_napari_viewer()
    viewer.open(str(folder_study), plugin=PLUGIN)
    widget = docked(viewer)
    settle(qtbot, widget)
    assert widget.study.study.folder == folder_study
    assert viewer.layers[0].name.startswith("Synthetic ")
    widget.review.set_study(None)


@pytest.mark.display
def test_the_sample_opens_the_demo_study(qtbot, make_napari_viewer, monkeypatch, fresh_study):
    # The demo itself has its own tests; here the way to it.
    monkeypatch.setattr("napari_memscan.demo.study.create_demo_study", lambda folder: fresh_study)
    viewer = make_napari_viewer()
    (layer,) = viewer.open_sample(PLUGIN, "demo")
    assert layer.name == "Demo phantom"
    widget = docked(viewer)
    settle(qtbot, widget)
    assert widget.step == dock_module.GENERATE
    assert "Generate" in widget.steps.next_text


def test_the_demo_study_lies_in_the_cache_of_the_user():
    folder = dock_module.get_demo_folder()
    assert folder.is_absolute()
    assert folder.parent.name == "napari-memscan"


@pytest.mark.display
def test_launch_opens_the_window_on_a_study(qtbot, make_napari_viewer, monkeypatch, folder_study):
    import napari

    viewer = make_napari_viewer()
    monkeypatch.setattr(napari, "Viewer", lambda **_: viewer)
    ran = []
    monkeypatch.setattr(napari, "run", lambda: ran.append(True))
    launch.open_study(folder_study)
    settle(qtbot, docked(viewer))
    assert ran
    docked(viewer).review.set_study(None)


@pytest.mark.display
def test_screenshots_are_real_pictures(tmp_path, folder_study):
    # In a process of its own: napari closes with the last window.
    command = [
        sys.executable,
        "-m",
        "napari_memscan.widgets.screenshots.screenshots",
        folder_study,
        tmp_path,
    ]
    run = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, env=dict(os.environ)
    )
    assert run.returncode == 0, run.stderr
    pictures = [Path(line) for line in run.stdout.split()]
    assert [p.name for p in pictures] == list(NAMES)
    assert all(p.stat().st_size > 20_000 for p in pictures)
    assert Study.open(folder_study).result() is not None
