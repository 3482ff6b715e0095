"""The command ``readers``."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_memscan.cli.console import note, say
from napari_memscan.errors import BadInput

if TYPE_CHECKING:
    from napari_memscan.review.standing import Standing
    from napari_memscan.review.truth import Truth
    from napari_memscan.study import Study

WIDTH = 96


def readers(
    study: Annotated[Path, typer.Argument(help="Folder of the study.", show_default=False)],
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
    from napari_memscan.files import write_text
    from napari_memscan.review.export import (
        MODALITIES,
        events_csv,
        events_json,
        pseudonyms,
        renamed,
    )
    from napari_memscan.review.export import imrmc as scores
    from napari_memscan.review.findings import findings
    from napari_memscan.review.standing import Standing
    from napari_memscan.study import Study

    opened = Study.open(study)
    store = opened.store()
    try:
        standing, head = store.standing(), store.head()[1]
    finally:
        store.close()
    known = _truth(opened, standing, truth)
    if anonymous:
        standing = Standing(renamed(standing.events, pseudonyms(standing.events)))
        if truth.startswith("reader:"):
            raise BadInput("--anonymous and --truth reader:NAME: the name would be in the result.")
    found = findings(standing, _verdicts(opened), known)
    if csv is not None:
        write_text(csv, events_csv(standing.events))
        note(f"{len(standing.events)} events: {csv}")
    if json is not None:
        more = {"study": opened.config.name, "head": head, "findings": found.to_dict()}
        write_text(json, events_json(standing.events, **more))
        note(f"{len(standing.events)} events and all numbers: {json}")
    if imrmc is not None:
        made = scores({s: standing.by_reader(s) for s in MODALITIES}, known, opened.config.name)
        write_text(imrmc, made.text)
        note(
            f"{made.n_scores} scores of {made.n_cases} cases: {imrmc}. Truth from {known.source}; "
            f"{made.n_unknown} cases of unknown truth left out, {made.n_assumed} scores without "
            "a confidence taken as 3."
        )
    say(
        "\n".join(
            textwrap.fill(line, WIDTH, subsequent_indent="  ") for line in str(found).splitlines()
        )
    )


def _verdicts(study: Study) -> dict[str, str]:
    result = study.result()
    if result is None:
        return {}
    names = {str(study.sample_path(row)): row.sample for row in study.samples()}
    return {names[s.path]: s.verdict for s in result.samples if s.path in names}


def _truth(study: Study, standing: Standing, source: str) -> Truth:
    """Return what is known: of validation volumes and planted copies always."""
    from napari_memscan.jobs.blinding import FOLDER
    from napari_memscan.review.plans import load_plans
    from napari_memscan.review.truth import (
        truth_of_plans,
        truth_of_reader,
        truth_of_table,
        truth_of_verdicts,
    )

    own = truth_of_plans(load_plans(study.folder / FOLDER))
    if not source:
        return own
    if source == "program":
        return own.over(truth_of_verdicts(_verdicts(study)))
    if source.startswith("reader:"):
        reader = source.removeprefix("reader:").strip()
        decisions = standing.current(reader)
        if not decisions:
            raise BadInput(f"--truth {source}: {reader} has decided nothing.")
        return own.over(truth_of_reader(decisions, reader))
    return own.over(truth_of_table(source))
