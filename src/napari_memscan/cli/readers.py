"""The command ``readers``."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Annotated

import typer

from napari_memscan.cli.console import note, say
from napari_memscan.cli.options import StudyArgument
from napari_memscan.files import write_text

WIDTH = 96


def readers(
    study: StudyArgument,
    csv: Annotated[Path | None, typer.Option(metavar="OUT", help="All events, one a row.")] = None,
    json: Annotated[
        Path | None, typer.Option(metavar="OUT", help="All events and all numbers.")
    ] = None,
    imrmc: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Scores for the FDA's iMRMC, with truth.")
    ] = None,
    truth: Annotated[
        str,
        typer.Option(
            metavar="FROM",
            help="What is known of samples: 'program', 'reader:NAME', or a CSV file with the "
            "columns sample and truth. Validation volumes and planted copies are always known.",
            show_default=False,
        ),
    ] = "",
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="R1, R2 ... in place of readers' names.")
    ] = False,
) -> None:
    """Say how far readers agree, and write what they decided for other programs.

    Kappa of two readers (Cohen) or more (Fleiss), the program against each reader, each against
    what is known, and how many decisions changed after a reveal; each with its 95 % interval.

    \b
    Examples:
      memscan readers audit
      memscan readers audit --csv events.csv --json study.json
      memscan readers audit --imrmc study.imrmc --truth truth.csv
    """
    from napari_memscan.jobs.readers.agreement import compare_readers, describe_imrmc
    from napari_memscan.study import Study

    made = compare_readers(Study.open(study), truth, anonymous=anonymous)
    n = len(made.standing.events)
    if csv is not None:
        write_text(csv, made.csv())
        note(f"{n} events: {csv}")
    if json is not None:
        write_text(json, made.json())
        note(f"{n} events and all numbers: {json}")
    if imrmc is not None:
        scores = made.imrmc()
        write_text(imrmc, scores.text)
        said = describe_imrmc(scores, made.known)
        note(f"{scores.n_scores} scores of {scores.n_cases} cases: {imrmc}. {said}")
    lines = str(made.found).splitlines()
    say("\n".join(textwrap.fill(line, WIDTH, subsequent_indent="  ") for line in lines))
