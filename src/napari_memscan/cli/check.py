"""The command ``check``."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from napari_memscan.cli.console import say
from napari_memscan.cli.hints import describe_error
from napari_memscan.cli.options import JsonOption, SetOption, TrustOption
from napari_memscan.errors import BadInput, JobFailed


def check(
    path: Annotated[
        str, typer.Argument(help="Weight file, checkpoint, study, cohort, or volumes.")
    ],
    study: Annotated[Path | None, typer.Option(help="Also say whether it fits this study.")] = None,
    set_: SetOption = None,
    trust: TrustOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say what a path is, what is missing, and whether it is safe and can be used.

    Reads everything and runs nothing that comes with it: weights are put into the networks and
    asked for one step, volumes are read to the last voxel. Exit code 0: can be used as it is.

    \b
    Examples:
      memscan check checkpoints/ldm
      memscan check results/model-60.pt --set downsample=4,4,4 --set shape=256,256,32
      memscan check bundle/ --study audit --json
      memscan check scan.nii.gz --study audit
    """
    from napari_memscan.checkpoints.overrides import ModelOverrides
    from napari_memscan.cli.path_report import PathSummary, check_path

    declared = ModelOverrides.parse(set_ or [])
    if not as_json:
        for line in check_path(path, study, declared=declared, trust=trust):
            say(line)
        return
    report = PathSummary()
    failure: BadInput | JobFailed | None = None
    # Libraries that print would spoil the JSON.
    with redirect_stdout(sys.stderr):
        try:
            lines = list(check_path(path, study, declared=declared, trust=trust, report=report))
        except (BadInput, JobFailed) as error:
            failure, lines = error, []
    value = report.values | {
        "path": str(path),
        "usable": failure is None,
        "error": None if failure is None else describe_error(failure),
        "lines": lines,
        "warnings": report.warnings,
    }
    say(json.dumps(value, indent=2, ensure_ascii=False, default=str))
    if failure is not None:
        raise typer.Exit(2 if isinstance(failure, BadInput) else 1)
