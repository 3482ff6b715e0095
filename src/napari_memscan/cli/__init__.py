"""`memscan`: the same jobs without a screen.

Nothing here imports torch, napari, MONAI, Lightning or pandas before a command needs them.
"""

from __future__ import annotations

from typing import Annotated

import typer

from napari_memscan.cli import (
    audit,
    blind,
    check,
    convert,
    dedup,
    demo,
    embed,
    evidence,
    experiment,
    generate,
    membership,
    mitigation,
    new,
    readers,
    regenerate,
    release,
    report,
    review,
    scan,
    selftest,
    train,
)
from napari_memscan.cli.console import CommandGroup, say

app = typer.Typer(
    name="memscan",
    cls=CommandGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from napari_memscan import __version__

        say(f"memscan {__version__}")
        raise typer.Exit


@app.callback()
def memscan(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Find the patients that a 3D latent diffusion model copied into its synthetic volumes.

    \b
    See the whole job on an embedded example:
      memscan demo
    Your own model and patients:
      memscan new audit --cohort patients/ --ldm checkpoints/ldm
      memscan generate audit -n 64
      memscan scan audit
      memscan selftest audit
      memscan review audit
      memscan report audit
      memscan audit audit
      memscan release audit knees --license CC-BY-4.0
    Volumes that are there already, without any study:
      memscan scan --training train/ --validation held-out/ --synthetic generated/

    Exit codes: 0 done, 1 the job failed, 2 the input is not what it should be, 130 stopped by
    Ctrl+C. Progress and messages go to standard error, results to standard output.
    """


for command in (
    demo.demo,
    new.new,
    check.check,
    convert.convert,
    dedup.dedup,
    train.train,
    generate.generate,
    embed.embed,
    scan.scan,
    regenerate.regenerate,
    selftest.selftest,
    membership.membership,
    mitigation.mitigation,
    evidence.evidence,
    experiment.experiment,
    review.review,
    blind.blind,
    report.report,
    release.release,
    release.verify,
    readers.readers,
    audit.audit,
):
    app.command()(command)


def main() -> None:
    """Run the command line; the entry point of `memscan`."""
    app()
