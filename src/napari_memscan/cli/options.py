"""Options that several commands share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_memscan.errors import BadInput

StudyArgument = Annotated[Path, typer.Argument(help="Folder of the study.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
GuidanceOption = Annotated[
    float, typer.Option(min=0, max=100, help="Keep away from training volumes: 1 to 3; 0 is off.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="What the files of the model do not say, such as scale_factor=0.9; can be repeated.",
    ),
]
TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Run code that comes with the model, with your rights. Only for people you trust.",
    ),
]


def parse_settings(pairs: Iterable[str]) -> dict[str, Any]:
    """Return what ``--set KEY=VALUE`` says of a training; ``a.b=1`` reaches into a group.

    A value is read as JSON where it is a number, a list or true/false, else as text.

    Raises
    ------
    BadInput
        Not KEY=VALUE.
    """
    values: dict[str, Any] = {}
    for text in pairs:
        key, equals, value = text.partition("=")
        if not equals:
            raise BadInput(f"--set {text}: KEY=VALUE is expected, such as batch=8.")
        *groups, last = key.strip().split(".")
        inner = values
        for group in groups:
            inner = inner.setdefault(group, {})
            if not isinstance(inner, dict):
                raise BadInput(f"--set {text}: '{group}' was given a value already.")
        try:
            inner[last] = json.loads(value)
        except (ValueError, RecursionError):
            inner[last] = value
    return values
