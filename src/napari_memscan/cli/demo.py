"""The command ``demo``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from napari_memscan.cli.console import note, run_with_progress, say
from napari_memscan.errors import JobFailed
from napari_memscan.typing import Split


def demo(
    folder: Annotated[Path, typer.Argument(help="Folder of the demo study.")] = Path(
        "memscan-demo"
    ),
    n: Annotated[int, typer.Option("-n", "--number", min=1, help="Volumes to generate.")] = 16,
    screenshots: Annotated[
        bool, typer.Option(help="Take pictures of the napari window, where there is a display.")
    ] = True,
) -> None:
    """Show the whole job on an embedded example.

    Phantoms of coronary CT, and a small LDM that copied some of them: makes the patients,
    generates volumes from new noise, embeds all, finds neighbours, sets the threshold, calls
    verdicts and writes the report. A second run goes on with what is there.

    \b
    Examples:
      memscan demo
      memscan demo my-demo -n 32 --no-screenshots
    """
    from napari_memscan import jobs
    from napari_memscan.demo.study import create_demo_study

    started = time.monotonic()
    note("Phantoms as patients ...")
    study = create_demo_study(folder)
    counts = study.cohort.counts()
    note(f"{counts[Split.TRAINING]} training, {counts[Split.VALIDATION]} validation phantoms")
    run_with_progress(jobs.generate_volumes(study, n), "generate", n)
    result = run_with_progress(jobs.scan_study(study), "scan")
    say(str(result))
    page = jobs.report_study(study)
    pictures = _take_screenshots(study.folder) if screenshots else []
    say()
    say(f"study       {study.folder}")
    say(f"volumes     {study.synthetic_dir}")
    say(f"report      {page}")
    for picture in pictures:
        say(f"screenshot  {picture}")
    say(f"window      memscan review {folder}")
    note(f"Done in {time.monotonic() - started:.0f} s.")


def _take_screenshots(study: Path) -> list[Path]:
    """Take pictures of the window with the review open; say why where that cannot be done."""
    from napari_memscan.widgets.screenshots.screenshots import save_screenshots

    note("Screenshots of the napari window ...")
    try:
        return save_screenshots(study, study / "screenshots")
    except JobFailed as error:
        # Everything else is done and can be looked at.
        note(f"No screenshots: {error}")
        return []
