"""The command ``membership``."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from enum import StrEnum
from typing import Annotated

import typer

from napari_memscan.cli.console import note, run_with_progress, say
from napari_memscan.cli.options import JsonOption, StudyArgument


class AttackName(StrEnum):
    """How volumes are scored."""

    LOSS = "loss"
    SECMI = "secmi"
    PIA = "pia"
    ALL = "all"


def membership(
    study: StudyArgument,
    attack: Annotated[
        AttackName, typer.Option(help="Training loss, SecMI, PIA (with PIAN), or all of them.")
    ] = AttackName.ALL,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of noise and intervals. Default: the study's.")
    ] = None,
    same_condition: Annotated[
        bool,
        typer.Option(
            "--same-condition", help="Every volume has the condition that the model's recipe names."
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Ask the denoiser whether it knows its training volumes.

    Each training and validation volume is scored by what the denoiser makes of its latent; an
    AUC of 0.5 means that these scores do not tell them apart, 1 that they do without error. No
    synthetic volume is needed. It does not replace a scan: an AUC near 0.5 does not mean that
    nothing is copied. A stopped command goes on.

    \b
    Examples:
      memscan membership audit
      memscan membership audit --attack pia
      memscan membership audit --json > membership.json
    """
    from napari_memscan import jobs
    from napari_memscan.study import Study

    # Libraries that print would spoil the JSON.
    with redirect_stdout(sys.stderr):
        opened = Study.open(study)
        job = jobs.evaluate_membership(
            opened, str(attack), seed=seed, same_condition=same_condition
        )
        result = run_with_progress(job, "membership")
    if json:
        say(result.to_json())
        return
    say(str(result))
    note(f"Written to {opened.scan_dir / 'membership.json'}")
