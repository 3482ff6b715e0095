"""What the package promises as a whole: quick to import, complete when installed, small."""

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points, metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "napari_memscan"
HEAVY = ("torch", "monai", "lightning", "napari", "qtpy", "PyQt6", "SimpleITK", "matplotlib")


def packaged_files() -> set[str]:
    """Files below src that are not made by running it, as a wheel names them."""
    return {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel built from a copy, so that nothing is left beside the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", folder / "src", ignore=skip)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(folder)], check=True)
    return next(folder.glob("napari_memscan-*.whl"))


def test_import_and_command_line_stay_light():
    code = (
        "import sys, napari_memscan, napari_memscan.cli\n"
        f"print(*[name for name in {HEAVY} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == []


def run_python(code, **environment):
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | environment
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_completion_offers_the_public_names_and_imports_none_of_them():
    code = (
        "import sys, napari_memscan as m\n"
        "print(*dir(m))\n"
        f"print(*[name for name in {HEAVY} if name in sys.modules])"
    )
    names, imported = run_python(code).split("\n")[:2]
    assert names.split() == ["Study", "__version__", "jobs", "scan"]
    assert imported == ""


def test_every_public_name_is_there():
    # EAGER_IMPORT makes lazy_loader import at once, so a misspelt module shows.
    code = "import napari_memscan as m; print(*[getattr(m, name) for name in m.__all__])"
    assert "napari_memscan.study.Study" in run_python(code, EAGER_IMPORT="1")
    code = "import napari_memscan as m; print(hasattr(m, 'nothing'))"
    assert run_python(code) == "False\n"


def test_napari_finds_the_plugin():
    assert "Framework :: napari" in metadata("napari-memscan").get_all("Classifier")
    (manifest,) = entry_points(group="napari.manifest", name="napari-memscan")
    assert manifest.value == "napari_memscan:napari.yaml"


def test_wheel_holds_every_file_of_the_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if name.startswith("napari_memscan/")}
    assert inside == packaged_files()
    assert "napari_memscan/napari.yaml" in inside


def test_wheel_is_small(wheel):
    weights = sum(path.stat().st_size for path in PACKAGE.rglob("*.safetensors"))
    assert weights <= 12e6, "the checkpoints of the demo are together at most 12 MB"
    assert wheel.stat().st_size <= 13e6


def test_wheel_needs_no_qt_binding_and_no_test_tools(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        lines = archive.read(name).decode().lower().splitlines()
    needed = [line for line in lines if line.startswith("requires-dist: ")]
    base = [line for line in needed if "extra ==" not in line]
    assert [line for line in needed if "pyqt6" in line]
    assert not [line for line in base if "pyqt6" in line or "pytest" in line]


def list_private_accesses(path: Path) -> list[str]:
    """Where a test reads or calls what belongs to somebody else's insides: ``window._stack``."""
    return [
        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.endswith("__")
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
    ]


def test_window_tests_do_only_what_a_user_can_do():
    files = sorted((ROOT / "tests" / "widgets").rglob("*.py"))
    assert len(files) > 20
    assert [found for path in files for found in list_private_accesses(path)] == []
