"""Configuration files read as plain data, within limits that no real one reaches."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from napari_memscan.checkpoints.expressions import MAX_DEPTH, MAX_STEPS
from napari_memscan.errors import BadInput
from napari_memscan.files import read_small_file

_MAX_BYTES = 2_000_000
# PyYAML reads 1:30 as sixty-based, in time that grows with the square of the length.
_MAX_SCALAR = 10_000


def read_config(path: str | Path) -> dict[str, Any]:
    """Read a configuration file as plain data.

    Parameters
    ----------
    path : path
        JSON, or YAML where the name ends in ``.yaml`` or ``.yml``; at most 2 MB.

    Raises
    ------
    BadInput
        Not a readable file of that kind, its top level is no object, too large or too deep, or
        YAML with aliases or tags.
    """
    path = Path(path)
    kind = "YAML" if path.suffix.lower() in (".yaml", ".yml") else "JSON"
    try:
        text = read_small_file(path, _MAX_BYTES).decode("utf-8-sig")
        value = _parse_yaml(text) if kind == "YAML" else json.loads(text)
        _check_size(value)
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadInput(
            f"{path}: not a readable {kind} configuration ({reason}). Choose the file that came "
            "with the weights, such as configs/inference.json."
        ) from error
    if not isinstance(value, dict):
        raise BadInput(
            f"{path}: holds a {type(value).__name__} where an object of names and values is "
            "expected. Choose the file that describes the networks."
        )
    return value


def _parse_yaml(text: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Reads 1e-5 as a number, as YAML 1.2 and OmegaConf do."""

    scientific = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", scientific, list("-+0123456789"))
    depth = 0
    try:
        for count, event in enumerate(yaml.parse(text, Loader)):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            # Aliases multiply, and tags ask for other types than plain data.
            if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) is not None:
                raise ValueError(f"an alias or a tag, {str(event.start_mark).strip()}")
            if len(getattr(event, "value", "")) > _MAX_SCALAR:
                raise ValueError(f"a value longer than {_MAX_SCALAR:,} characters")
            if depth > MAX_DEPTH or count > 2 * MAX_STEPS:
                raise ValueError("too deep or too large")
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _check_size(value: Any) -> None:
    todo = [(value, 1)]
    count = 0
    while todo:
        item, depth = todo.pop()
        count += 1
        if depth > MAX_DEPTH or count > MAX_STEPS:
            raise ValueError(f"deeper than {MAX_DEPTH} or more than {MAX_STEPS:,} values")
        inner = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        todo.extend((part, depth + 1) for part in inner)
