"""The command ``regenerate``."""

from __future__ import annotations

import json as json_format
import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from napari_memscan.cli.console import note, run_with_progress, say
from napari_memscan.cli.options import GuidanceOption, JsonOption, StudyArgument
from napari_memscan.errors import BadInput

if TYPE_CHECKING:
    from napari_memscan.jobs.replacement.regenerate import Replacement


def regenerate(
    study: StudyArgument,
    samples: Annotated[
        list[str] | None, typer.Argument(help="Such as s000003.", show_default=False)
    ] = None,
    flagged: Annotated[
        bool, typer.Option("--flagged", help="All that a reader decided to be copies.")
    ] = False,
    called: Annotated[
        bool, typer.Option("--called", help="All that the program calls and nobody has read.")
    ] = False,
    tries: Annotated[
        int, typer.Option(min=1, help="Attempts for each; then it gives up and says so.")
    ] = 5,
    guidance: GuidanceOption = 0.0,
    batch: Annotated[
        str, typer.Option(help="Volumes denoised at once. Default: as the replaced one was made.")
    ] = "auto",
    decode: Annotated[
        str, typer.Option(help="whole, or window. Default: as the replaced one was made.")
    ] = "auto",
    json: JsonOption = False,
) -> None:
    """Replace rejected volumes by new ones that are not called copies.

    Each replacement has a new seed, is embedded, searched for and verified like any sample, and
    names the one it replaces; nothing is deleted. Where it is called copy or near-duplicate
    itself, another is tried. A stopped command goes on and makes the same bytes.

    Exit code 1 where it gave up on a volume.

    \b
    Examples:
      memscan regenerate audit s000003
      memscan regenerate audit --flagged --guidance 2
      memscan regenerate audit --flagged --called --tries 10
    """
    from napari_memscan import jobs
    from napari_memscan.study import Study

    opened = Study.open(study)
    names = list(samples or [])
    if not names and not flagged and not called:
        raise BadInput(
            "nothing to regenerate: name samples such as s000003, or choose --flagged for those "
            "that readers decided to be copies, or --called for those the program calls."
        )
    if flagged or called:
        chosen = jobs.list_flagged(opened, decided=flagged, called=called)
        names += [name for name in chosen if name not in names]
    with redirect_stdout(sys.stderr):
        made = run_with_progress(
            jobs.regenerate_samples(
                opened, names, tries=tries, guidance=guidance, batch=batch, decode=decode
            ),
            "regenerate",
        )
    if json:
        values = [asdict(one) | {"replaced": one.replaced} for one in made]
        say(json_format.dumps({"replacements": values}, sort_keys=True))
    else:
        for one in made:
            say(format_replacement(one))
        if not made:
            say("Nothing to regenerate.")
    failed = [one for one in made if one.gave_up]
    if failed:
        note(
            f"{len(failed)} of {len(made)} still called after {tries} attempts. More attempts: "
            f"--tries {2 * tries}. Or away from the training volumes: --guidance 2."
        )
        raise typer.Exit(1)


def format_replacement(one: Replacement) -> str:
    """Return a line for what became of a sample, and one for each attempt."""
    n = len(one.attempts)
    times = "1 attempt" if n == 1 else f"{n} attempts"
    lines = [
        f"{one.rejected}: gave up after {times}"
        if one.gave_up
        else f"{one.rejected}: replaced by {one.sample} after {times}"
    ]
    for attempt in one.attempts:
        reason = f" ({attempt.reason})" if attempt.reason else ""
        lines.append(
            f"  {attempt.sample}  seed {attempt.seed}  {attempt.value:.3f}  "
            f"{attempt.verdict}{reason}"
        )
    return "\n".join(lines)
