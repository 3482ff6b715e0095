"""The command ``convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_memscan.cli.console import note, say
from napari_memscan.cli.options import SetOption


def convert(
    path: Annotated[str, typer.Argument(help="Checkpoint of any known family.")],
    out: Annotated[Path, typer.Argument(help="Folder to be made.")],
    set_: SetOption = None,
    study: Annotated[
        Path | None,
        typer.Option(help="Estimate a scale factor that nobody states from its training volumes."),
    ] = None,
    half: Annotated[bool, typer.Option(help="Store float16: half the size.")] = False,
) -> None:
    """Turn a checkpoint into memscan's own format, once: safetensors and a complete recipe.

    \b
    Examples:
      memscan convert bundle/ checkpoints/brats --set scale_factor=1.0
      memscan convert bundle/ checkpoints/brats --study audit
      memscan convert results/model-60.pt ldm --set downsample=4,4,4 --set shape=256,256,32
    """
    from napari_memscan import jobs
    from napari_memscan.checkpoints.loading import describe_checkpoint
    from napari_memscan.checkpoints.overrides import ModelOverrides
    from napari_memscan.cli.console import run_with_progress
    from napari_memscan.study import Study

    opened = None if study is None else Study.open(study)
    declared = ModelOverrides.parse(set_ or [])
    made = run_with_progress(
        jobs.convert_checkpoint(path, out, declared, study=opened, half=half), "convert"
    )
    say(f"{out}: {describe_checkpoint(out)}")
    for line in made.report.lines():
        say(f"            {line}")
    for warning in made.report.warnings:
        note(f"warning: {warning}")
    note(f"Next: memscan check {out}")
