"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

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
