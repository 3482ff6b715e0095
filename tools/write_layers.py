"""Write the tables of layers in docs/architecture.md from the contracts in pyproject.toml.

python tools/write_layers.py          # writes the page
python tools/write_layers.py --check  # exit code 1 if it is not what the contracts say
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN = "<!-- layers: written by tools/write_layers.py from pyproject.toml -->"
END = "<!-- end of layers -->"


def read_purpose(root: Path, module: str) -> str:
    """Return the first sentence of a module's docstring.

    Parameters
    ----------
    root : path
        Of the repository.
    module : str
        Such as ``napari_memscan.jobs``.
    """
    path = root / "src" / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].replace("``", "`").split())


def list_members(layer: str) -> tuple[list[str], str]:
    """Return the modules of a layer, and how they stand to each other: '|', ':' or ''."""
    sign = next((sign for sign in "|:" if sign in layer), "")
    members = layer.split(sign) if sign else [layer]
    return [member.strip(" ()") for member in members], sign


def format_layers(root: Path, contract: Mapping[str, Any]) -> list[str]:
    """Return a contract of layers as a table, top first."""
    lines = ["| | may import what is below it | what it is |", "|---|---|---|"]
    containers = contract.get("containers", [""])
    prefix = f"{containers[0]}." if containers[0] else ""
    for number, layer in enumerate(contract["layers"], 1):
        members, sign = list_members(layer)
        for member in members:
            name = f"{prefix}{member}"
            short = name.removeprefix("napari_memscan.").replace(".", "/")
            beside = {"|": "; not each other", ":": "; also each other"}.get(sign, "")
            lines.append(f"| {number} | `{short}`{beside} | {read_purpose(root, name)} |")
    return lines


def format_forbidden(contract: Mapping[str, Any]) -> list[str]:
    """Return a contract of forbidden imports as a sentence."""
    short = [name.removeprefix("napari_memscan.") for name in contract["source_modules"]]
    sources = ", ".join(f"`{name.replace('.', '/')}`" for name in short)
    targets = ", ".join(f"`{name}`" for name in contract["forbidden_modules"])
    return [f"{sources} import none of {targets}."]


def format_other(contract: Mapping[str, Any]) -> list[str]:
    """Return any other contract as its kind and its modules."""
    modules: Sequence[str] = contract.get("modules", contract.get("ancestors", []))
    named = ", ".join(
        f"`{name.removeprefix('napari_memscan.').replace('.', '/')}`" for name in modules
    )
    return [f"{contract['type'].replace('_', ' ').capitalize()}: {named}."]


def format_contracts(root: Path) -> str:
    """Return all contracts as Markdown.

    Parameters
    ----------
    root : path
        Of the repository.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    parts = []
    for contract in project["tool"]["importlinter"]["contracts"]:
        if contract["type"] == "layers":
            lines = format_layers(root, contract)
        elif contract["type"] == "forbidden":
            lines = format_forbidden(contract)
        else:
            lines = format_other(contract)
        parts.append("\n".join([f"**{contract['name']}**", "", *lines]))
    return "\n\n".join(parts)


def write_between(page: str, text: str) -> str:
    """Return a page with a text between the two marks.

    Parameters
    ----------
    page, text : str
        Markdown.
    """
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if len(pattern.findall(page)) != 1:
        raise ValueError(f"the page must have '{BEGIN}' and '{END}' once.")
    return pattern.sub(lambda _: f"{BEGIN}\n\n{text}\n\n{END}", page)


def main() -> int:
    """Write the page, or compare it."""
    before = PAGE.read_text(encoding="utf-8")
    after = write_between(before, format_contracts(ROOT))
    if before == after:
        return 0
    if "--check" in sys.argv[1:]:
        print(f"{PAGE}: not what pyproject.toml says; run python tools/write_layers.py")
        return 1
    PAGE.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
