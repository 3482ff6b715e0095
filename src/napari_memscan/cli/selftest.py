"""The command ``selftest``."""

from __future__ import annotations

import json as json_format
import sys
from contextlib import redirect_stdout
from typing import Annotated

import typer

from napari_memscan.cli.console import run_with_progress, say
from napari_memscan.cli.options import JsonOption, StudyArgument


def selftest(
    study: StudyArgument,
    n: Annotated[
        int, typer.Option("-n", "--number", min=1, help="Planted volumes of each kind.")
    ] = 10,
    level: Annotated[
        float, typer.Option(min=0, max=1, help="Share of false calls allowed for.")
    ] = 0.05,
    strength: Annotated[
        float,
        typer.Option(
            min=1, max=3, help="Also plant changes so many times as strong; 1 leaves that out."
        ),
    ] = 2.0,
    json: JsonOption = False,
) -> None:
    """Measure what the detector finds in this study.

    Plants perturbed copies of the study's own training volumes (flipped, rotated, shifted, zoomed,
    blurred, noisy, with other contrast, with a bias field, in part, deformed) and unrelated volumes
    perturbed alike, and counts what is retrieved, called and missed, with intervals. It needs no
    synthetic volumes. The report and the window show the result.

    \b
    Examples:
      memscan selftest audit
      memscan selftest audit --strength 3
      memscan selftest audit -n 40 --json > selftest.json
    """
    from napari_memscan import jobs
    from napari_memscan.study import Study

    with redirect_stdout(sys.stderr):
        result = run_with_progress(
            jobs.run_selftest(Study.open(study), n, level, strength), "selftest"
        )
    say(json_format.dumps(result.to_dict(), sort_keys=True) if json else str(result))
