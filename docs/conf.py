"""How Sphinx builds the site: `make docs`. Nothing is fetched, neither now nor by who reads it."""

from __future__ import annotations

import inspect
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = PROJECT["name"]
author = PROJECT["authors"][0]["name"]
release = version = PROJECT["version"]
copyright = f"2026, {author}. BSD-3-Clause. Not a medical device"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

# Pages are written for the platform that hosts the repository, so headings have its anchors.
myst_heading_anchors = 4
myst_enable_extensions = ["fieldlist"]
# Names of shells and of formats that are shown as they are.
highlight_language = "none"
suppress_warnings: list[str] = []

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
# `name` in a docstring is code.
default_role = "code"
add_module_names = False
# Attributes that `fit` sets end with "_", which would be a link in reStructuredText.
strip_signature_backslash = True
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"{project} {release}"
html_show_sphinx = False
html_copy_source = False

FROM_ROOT = {
    "changelog": "CHANGELOG.md",
    "conduct": "CODE_OF_CONDUCT.md",
    "contributing": "CONTRIBUTING.md",
    "security": "SECURITY.md",
}
"""Pages whose text is a file at the root, where the hosting platform looks for it."""

LINK = re.compile(r"(?<=\]\()([^)#:\s]+)(?=[#)])")


def move_links(text: str) -> str:
    """Return a file of the root with its links as seen from docs/.

    Parameters
    ----------
    text : str
        Markdown whose links are relative to the root.
    """
    pages = {name: f"{page}.md" for page, name in FROM_ROOT.items()}

    def moved(match: re.Match[str]) -> str:
        target = match.group()
        if target in pages:
            return pages[target]
        return target.removeprefix("docs/") if target.startswith("docs/") else f"../{target}"

    return LINK.sub(moved, text)


def _read(_: Any, docname: str, source: list[str]) -> None:
    if docname in FROM_ROOT:
        source[0] = move_links((ROOT / FROM_ROOT[docname]).read_text(encoding="utf-8"))


class _AsWritten:
    """An annotation as it stands in the source: `Array`, and not what it is made of."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _sign(
    _: Any, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    if signature is None or what not in {"class", "function", "method"}:
        return signature, returns
    try:
        found = inspect.signature(obj)
    except (TypeError, ValueError):
        return signature, returns
    # What pydantic makes of the annotations of a model can be read by nobody.
    parts = [
        part.replace(
            annotation=_AsWritten(part.annotation)
            if isinstance(part.annotation, str)
            else inspect.Parameter.empty
        )
        for part in found.parameters.values()
        if what != "method" or part.name not in {"self", "cls"}
    ]
    result = found.return_annotation
    text = str(found.replace(parameters=parts, return_annotation=inspect.Signature.empty))
    return text, result if isinstance(result, str) and what != "class" else None


def setup(app: Any) -> dict[str, bool]:
    """Tell Sphinx where the pages of `FROM_ROOT` come from."""
    app.connect("source-read", _read)
    app.connect("autodoc-process-signature", _sign)
    return {"parallel_read_safe": True}
