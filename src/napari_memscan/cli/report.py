"""The command ``report``."""

from __future__ import annotations

from typing import Annotated

import typer

from napari_memscan.cli.console import note, say
from napari_memscan.cli.options import StudyArgument


def report(
    study: StudyArgument,
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Print it to report.pdf as well (needs WeasyPrint).")
    ] = False,
) -> None:
    """Write the findings as one HTML page.

    In short, what was not tested, figures and tables, the most similar pairs as pictures, what
    readers decided, and how all was made. Metrics, membership inference, self-test and duplicates
    stand in it where their commands have been run.

    \b
    Examples:
      memscan report audit
      memscan report audit --pdf
    """
    from napari_memscan import jobs
    from napari_memscan.report.pdf import PDF_NAME
    from napari_memscan.study import Study

    page = jobs.report_study(Study.open(study), pdf=pdf)
    say(str(page))
    if pdf:
        say(str(page.with_name(PDF_NAME)))
    note("Open it in a browser; it holds its pictures and needs no network.")
