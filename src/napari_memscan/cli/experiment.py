"""The command ``experiment``."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_memscan.cli.console import note, run_with_progress, say
from napari_memscan.cli.options import JsonOption, parse_settings

if TYPE_CHECKING:
    from napari_memscan.jobs.experiment import ExperimentPlan, RunEstimate
    from napari_memscan.study import Study


def experiment(
    study: Annotated[Path, typer.Argument(help="Its cohort is learned.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the experiment. Default: experiment in the study."),
    ] = None,
    factor: Annotated[
        list[str] | None,
        typer.Option(
            "--factor",
            metavar="NAME[=A,B]",
            help="What is varied: augmentation, steps, epochs, size, duplication, width, seed. The "
            "first value is that of the base run. Can be repeated; by default all but epochs.",
        ),
    ] = None,
    n: Annotated[
        int | None, typer.Option("-n", "--number", min=1, help="Volumes of each run. Default: 64.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A setting of the base run's denoiser, or autoencoder.KEY; can be repeated.",
        ),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Every combination, not one factor at a time.")
    ] = False,
    autoencoder: Annotated[
        Path | None,
        typer.Option(help="Trained; one for all runs. Default: the study's, else it is trained."),
    ] = None,
    run: Annotated[
        list[int] | None, typer.Option("--run", metavar="N", help="Only this run; can be repeated.")
    ] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="Print the runs and how long they take; do nothing.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Find out what makes a model copy this cohort: the paper's experiments.

    For each run a denoiser is trained, volumes are sampled and scanned with every rule: a base
    run, and one for every other value of every factor. table.csv has all runs, figures/ one
    picture a factor, answers.json what others found beside what holds here.

    What is finished is kept: a stopped command goes on. The first command keeps the plan in the
    folder, and later ones need not name it again. Under torchrun or srun each process takes its
    share of the runs.

    \b
    Examples:
      memscan experiment audit --list
      memscan experiment audit
      memscan experiment audit --factor augmentation --factor steps=3000,750 -n 128
      memscan experiment audit --factor size=all,65 --factor width=1,0.5 --set batch=16 --full
      memscan experiment audit --run $SLURM_ARRAY_TASK_ID
      torchrun --nproc-per-node 2 --no-python memscan experiment audit
    """
    from napari_memscan.jobs import distributed as processes
    from napari_memscan.jobs import experiment as jobs
    from napari_memscan.jobs import run_job as run_silently
    from napari_memscan.study import Study

    first = processes.get_rank_and_size()[0] == 0
    with redirect_stdout(sys.stderr):
        opened = Study.open(study)
        folder = (out or opened.folder / "experiment").resolve()
        plan = _choose_plan(opened, folder, factor, n, set_, full)
        if list_:
            estimates = jobs.estimate_runs(opened, folder, plan)
        else:
            job = jobs.run_experiment(
                opened, folder, plan, only=run, autoencoder=autoencoder, device=device
            )
            found = run_with_progress(job, "experiment") if first else run_silently(job)
    if not first:
        return
    if list_:
        say(_format_estimates(estimates))
        return
    if as_json:
        answers = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
        say(json.dumps({"runs": found.rows, **answers}, sort_keys=True))
        return
    say(str(found))
    note(f"{folder}: table.csv, answers.json, figures/, and a study for each run in runs/")


def _choose_plan(
    study: Study,
    folder: Path,
    factors: list[str] | None,
    n: int | None,
    pairs: list[str] | None,
    full: bool,
) -> ExperimentPlan:
    """Return what is asked for; what the folder holds, where nothing is."""
    from napari_memscan.jobs.experiment import plan_experiment, read_plan

    if not factors and n is None and not pairs and not full:
        kept = read_plan(folder)
        if kept is not None:
            return kept
    settings = parse_settings(pairs or ())
    return plan_experiment(study, factors or (), settings=settings, n=n or 64, full=full)


def _format_estimates(estimates: list[RunEstimate]) -> str:
    width = max(len(one.run.name) for one in estimates) + 2
    lines = [f"{'':>4}  {'run':{width}}{'training':>9}{'steps':>8}{'hours':>8}"]
    for one in estimates:
        hours = "done" if one.finished else f"{one.seconds / 3600:.2f}"
        lines.append(
            f"{one.run.number:4}  {one.run.name:{width}}{one.n_training:9}{one.steps:8}{hours:>8}"
        )
    total = sum(one.seconds for one in estimates) / 3600
    scans = (
        "the scans included"
        if estimates[0].scan is not None
        else "without the scans, and without the autoencoder where it is not trained yet"
    )
    lines.append(f"about {total:.1f} hours on this machine as busy as it is now, {scans}")
    return "\n".join(lines)
