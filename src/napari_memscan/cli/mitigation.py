"""The command ``mitigation``."""

from __future__ import annotations

import json as to_json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from napari_memscan.cli.console import note, run_with_progress, say
from napari_memscan.cli.options import JsonOption


def mitigation(
    study: Annotated[Path, typer.Argument(help="Folder of a study.", show_default=False)],
    n: Annotated[
        int, typer.Option("-n", "--number", min=2, help="Volumes wanted of each measure.")
    ] = 64,
    guidance: Annotated[
        float, typer.Option(min=0, max=100, help="Strength of guidance: 1 to 3.")
    ] = 2.0,
    at_most: Annotated[
        int | None,
        typer.Option(min=2, help="Volumes drawn, plain and guided each. Default: 4 times -n."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Measure what screening and guidance bring for this model, and what they cost.

    Draws volumes as ever and guided ones of the same noise, scans all in one batch, and compares:
    verified copies before and after with intervals, and precision, recall, coverage and MS-SSIM.
    The study itself is not changed; all is in its folder mitigation, with a page to be read.

    \b
    Examples:
      memscan mitigation audit
      memscan mitigation audit -n 128 --guidance 3
    """
    from napari_memscan import jobs
    from napari_memscan.report.mitigation import format_mitigation
    from napari_memscan.study import Study

    opened = Study.open(study)
    with redirect_stdout(sys.stderr):
        found = run_with_progress(
            jobs.evaluate_mitigation(opened, n, guidance=guidance, most=at_most), "mitigation", n
        )
    if json:
        say(to_json.dumps(found.to_dict(), sort_keys=True))
        return
    say(format_mitigation(found))
    note(f"{opened.folder / 'mitigation' / 'index.html'}: the same as a page")
