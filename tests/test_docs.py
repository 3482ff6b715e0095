"""What the pages say of keys is what the program does."""

from __future__ import annotations

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
