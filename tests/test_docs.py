"""What the pages say of keys is what the program does."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


def test_the_key_table_names_every_key_and_no_other():
    pytest.importorskip("qtpy")
    from napari_memscan.widgets.review.keys import ACTIONS

    text = (DOCS / "reading.md").read_text(encoding="utf-8")
    table = text[text.index("## All keys") : text.index("## What is recorded")]
    said = set(re.findall(r"`([^`]+)`", table))
    ours = {action.key for action in ACTIONS.values()}
    assert said - ours == set()
    explained = {"Alt+2", "Alt+3", "Alt+4"}  # between the first and the last
    assert ours - set(re.findall(r"`([^`]+)`", text)) == explained


def test_every_picture_and_page_that_is_named_is_there():
    for page in (*DOCS.glob("*.md"), DOCS.parent / "README.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_names_in_python_that_is_only_shown_are_there():
    """Blocks that the tests do not run, since they take hours or files of the reader's."""
    pages = [DOCS.parent / "README.md", *DOCS.rglob("*.md")]
    seen = 0
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for code in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            modules = {}
            for node in ast.walk(ast.parse(code)):
                if isinstance(node, ast.ImportFrom) and node.module.startswith("napari_memscan"):
                    module = importlib.import_module(node.module)
                    for alias in node.names:
                        assert hasattr(module, alias.name), f"{page.name}: {alias.name}"
                        modules[alias.asname or alias.name] = getattr(module, alias.name)
                        seen += 1
                elif isinstance(node, ast.Import):
                    ours = [a.name for a in node.names if a.name.startswith("napari_memscan")]
                    modules |= {name: importlib.import_module(name) for name in ours}
            for node in ast.walk(ast.parse(code)):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    owner = modules.get(node.value.id)
                    assert owner is None or hasattr(owner, node.attr), f"{page.name}: {node.attr}"
    assert seen > 10
