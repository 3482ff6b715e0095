"""What docs/architecture.md says is how the sources lie."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`((?:src|tests|docs|tools|benchmarks)/[\w./-]+)`")


def load_tool():
    spec = importlib.util.spec_from_file_location(
        "write_layers", ROOT / "tools" / "write_layers.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_of_layers_are_those_of_the_contracts():
    tool = load_tool()
    said = tool.write_between(PAGE, tool.format_contracts(ROOT))
    assert said == PAGE, "run python tools/write_layers.py"


def test_a_changed_contract_changes_the_page(tmp_path):
    tool = load_tool()
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("checkpoints"))
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    shutil.copytree(
        ROOT / "src" / "napari_memscan" / "checkpoints",
        tmp_path / "src" / "napari_memscan" / "checkpoints",
    )
    changed = text.replace('    "napari_memscan.demo",\n', "", 1)
    assert changed != text
    (tmp_path / "pyproject.toml").write_text(changed, encoding="utf-8")
    assert tool.write_between(PAGE, tool.format_contracts(tmp_path)) != PAGE
    with pytest.raises(ValueError, match="once"):
        tool.write_between("no marks", "text")


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md", "AGENTS.md"])
def test_every_path_that_is_named_is_there(page):
    named = NAMED.findall((ROOT / page).read_text(encoding="utf-8"))
    missing = [
        path for path in named if not (ROOT / path).exists() and not path.startswith("docs/_build")
    ]
    assert missing == []


def test_every_room_is_named():
    package = ROOT / "src" / "napari_memscan"
    rooms = {f"src/napari_memscan/{path.parent.name}" for path in package.glob("*/__init__.py")}
    table = PAGE[PAGE.index("## Rooms") : PAGE.index("## From a model")]
    assert set(NAMED.findall(table)) >= rooms
    for room in ("detection", "jobs"):
        inside = {path.parent.name for path in (package / room).glob("*/__init__.py")}
        row = next(line for line in table.splitlines() if f"napari_memscan/{room}`" in line)
        assert inside <= set(re.findall(r"`(\w+)`", row)), room


def test_names_in_backticks_of_a_file_are_in_that_file():
    """A row that says which name to change: the name is in the file of that row."""
    rows = re.findall(r"^\| `(src/[\w./]+\.py)` \| (.*) \|$", PAGE, re.MULTILINE)
    assert len(rows) > 20
    for path, text in rows:
        source = (ROOT / path).read_text(encoding="utf-8")
        for name in re.findall(r"`(\w+)(?:\.\w+)?`", text):
            if f"{name}.py`" in text or f"/{name}.py" in path:
                continue
            assert re.search(rf"\b{name}\b", source), f"{path}: {name}"
