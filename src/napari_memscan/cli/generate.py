"""The command ``generate``."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from enum import StrEnum
from typing import Annotated, Any

import typer

from napari_memscan.cli.console import detect_first_process, note, run_with_progress, say
from napari_memscan.cli.options import GuidanceOption, StudyArgument
from napari_memscan.errors import BadInput


class Sampler(StrEnum):
    """How to walk from noise to a volume."""

    DDIM = "ddim"
    DDPM = "ddpm"
    RFLOW = "rflow"


class Precision(StrEnum):
    """What networks compute in."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


def generate(
    study: StudyArgument,
    n: Annotated[int, typer.Option("-n", "--number", min=1, help="Volumes in all.")] = 16,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the first volume. Default: the study's.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Denoising steps. Default: the model's.")
    ] = None,
    sampler: Annotated[Sampler | None, typer.Option(help="Default: the model's.")] = None,
    condition: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Of a conditional model, for all. Default: drawn by each seed."
        ),
    ] = None,
    batch: Annotated[
        str, typer.Option(help="Volumes denoised at once; auto goes by processor and memory.")
    ] = "auto",
    precision: Annotated[
        Precision,
        typer.Option(help="auto takes another than float32 only where it is much faster."),
    ] = Precision.AUTO,
    threads: Annotated[str, typer.Option(help="Of the processor, in each process.")] = "auto",
    decode: Annotated[
        str, typer.Option(help="whole, window, or auto: windows only where memory needs them.")
    ] = "auto",
    guidance: GuidanceOption = 0.0,
    until_clean: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Generate and scan until so many volumes pass; instead of -n."
        ),
    ] = None,
    at_most: Annotated[
        int | None,
        typer.Option(
            min=1, help="With --until-clean: volumes in all, then give up. Default: 4 times N."
        ),
    ] = None,
) -> None:
    """Generate synthetic volumes with an LDM.

    Each has its own seed, and the same seed and settings give the same bytes. Volumes that are
    there already are not made again: a stopped command goes on, and a larger number adds the
    missing ones. A study goes on with the settings it was begun with. Under torchrun or srun
    the processes share the work.

    With --until-clean the study is scanned in between, and called volumes are left out of what is
    released, not deleted. Exit code 1 where too few passed.

    \b
    Examples:
      memscan generate audit -n 64
      memscan generate audit -n 64 --guidance 2
      memscan generate audit --until-clean 64
      memscan generate audit -n 16 --seed 1000 --steps 50
      memscan generate audit -n 16 --condition left
      memscan generate audit -n 4 --sampler ddpm --steps 1000
      torchrun --nproc-per-node 4 --no-python memscan generate audit -n 64
    """
    from napari_memscan import jobs
    from napari_memscan.study import Study

    opened = Study.open(study)
    settings = {"batch": batch, "precision": str(precision), "threads": threads, "decode": decode}
    asked: dict[str, Any] = {"seed": seed, "steps": steps, "sampler": sampler, "tell": note}
    asked |= settings | {"guidance": guidance, "condition": condition}
    if until_clean is not None:
        with redirect_stdout(sys.stderr):
            found = run_with_progress(
                jobs.generate_until_clean(opened, until_clean, most=at_most, **asked), "generate"
            )
        say(str(found))
        if not found.enough:
            note("Too few passed. More volumes: --at-most; away from training: --guidance 2.")
            raise typer.Exit(1)
        return
    if at_most is not None:
        raise BadInput("--at-most: is for --until-clean.")
    job = jobs.generate_volumes(opened, n, **asked)
    with detect_first_process() as first:
        made = run_with_progress(job, "generate", n) if first else jobs.run_job(job)
    if first:
        say(f"{opened.synthetic_dir}: {len(made)} new volumes, {len(opened.samples())} in all")
        note(f"Next: memscan scan {study}")
