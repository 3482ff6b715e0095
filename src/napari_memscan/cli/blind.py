"""The command ``blind``."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import Annotated, Any

import typer

from napari_memscan.cli.console import note, run_with_progress, say
from napari_memscan.cli.options import StudyArgument
from napari_memscan.errors import BadInput

REVEALS = {"each": "case", "end": "end"}


def blind(
    study: StudyArgument,
    reader: Annotated[
        str, typer.Option(help="Whose plan: the name given in step 3.", show_default=False)
    ],
    forced_choice: Annotated[
        bool,
        typer.Option("--forced-choice", help="Ask which of two is real; else whether A copies B."),
    ] = False,
    planted: Annotated[int, typer.Option(min=0, help="Copies made on purpose to be mixed in.")] = 0,
    cases: Annotated[
        int | None, typer.Option(min=1, help="How many in all. Default: every sample.")
    ] = None,
    reveal: Annotated[
        str, typer.Option(help="What a case was: after each, or at the end.", metavar="each|end")
    ] = "each",
    washout: Annotated[
        float, typer.Option(min=0, help="Leave out what the reader saw in so many days.")
    ] = 0.0,
    again: Annotated[
        bool, typer.Option("--again", help="Make a new plan although there is one.")
    ] = False,
) -> None:
    """Make a reader's plan of a blind reading ahead; it is read in the window.

    The plan mixes samples, validation volumes shown as samples and, if wanted, planted copies, in
    an order of its own. Making it embeds and registers volumes, which a reader need not wait for.

    \b
    Examples:
      memscan blind audit --reader Ann
      memscan blind audit --reader Ann --cases 60 --planted 12 --reveal end
      memscan blind audit --reader Ben --forced-choice
    """
    from napari_memscan.jobs.readers import blind_study as blinding
    from napari_memscan.study import Study

    if reveal not in REVEALS:
        raise BadInput(f"--reveal {reveal}: 'each' or 'end' is expected.")
    opened = Study.open(study)
    there = blinding.find_latest_plan(opened, reader, forced_choice)
    options: dict[str, Any] = blinding.split_case_count(cases, forced_choice)
    with redirect_stdout(sys.stderr):
        made = run_with_progress(
            blinding.prepare_blind_plan(
                opened,
                reader,
                again=again,
                n_planted=planted,
                forced_choice=forced_choice,
                reveal=REVEALS[reveal],
                washout_days=washout,
                **options,
            ),
            "blind",
        )
    kind = "forced choice" if made.forced_choice else "is A a copy of B"
    when = "at the end" if made.reveal == "end" else "after each"
    say(f"{made.reader}: {len(made.cases)} cases, {kind}, revealed {when}.")
    if made.refused:
        say(f"{len(made.refused)} were left out: seen in the last {washout:g} days.")
    if there is not None and not again:
        note("This plan was there already. Another one: --again.")
    note(f"Read it: memscan review {study}, then Blind, as reader {made.reader}.")
