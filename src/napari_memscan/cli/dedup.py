"""The command ``dedup``."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_memscan.cli.console import note, run_with_progress, say
from napari_memscan.cli.options import JsonOption
from napari_memscan.errors import BadInput
from napari_memscan.files import make_absolute

if TYPE_CHECKING:
    from napari_memscan.detection.duplicates.groups import DuplicateGroup
    from napari_memscan.jobs.scan.deduplicate import CohortDuplicates
    from napari_memscan.study import Study
    from napari_memscan.volumes.cohort import CohortRow


def dedup(
    study: Annotated[
        Path, typer.Argument(help="Folder of a study, or a cohort.", show_default=False)
    ],
    write: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Write the cohort without its duplicates there, and removed.csv beside it.",
        ),
    ] = None,
    suspected: Annotated[
        bool, typer.Option("--suspected", help="With --write: leave suspected ones out, too.")
    ] = False,
    planted: Annotated[
        int | None,
        typer.Option(min=1, help="For a cohort: copies planted of each kind. Default: 16."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Find volumes that are twice in the training split, before a model learns them by heart.

    Every training volume is searched among those of other subjects, with the search and the
    conformal rule of a scan; validation volumes are the null. Two volumes of one subject are
    expected to be alike and stay. Validation volumes that are training volumes under another name
    are told: they hide copies in every scan. A stopped command goes on.

    \b
    Examples:
      memscan dedup audit
      memscan dedup audit --write clean/cohort.csv
      memscan dedup patients/cohort.csv --json > duplicates.json
    """
    from napari_memscan import jobs

    # Libraries that print would spoil the JSON.
    with redirect_stdout(sys.stderr), _open_study(study, planted) as opened:
        result = run_with_progress(jobs.deduplicate_cohort(opened), "dedup")
    if json:
        import json as to

        say(to.dumps(result.to_dict(), indent=2, ensure_ascii=False))
    else:
        say(_format_duplicates(result))
    if write is not None:
        beside = result.write(write, suspected)
        note(f"{write}: {len(result.reasons(suspected))} volumes left out, named in {beside}")
        note(f"Next: memscan new STUDY --cohort {write}")


@contextmanager
def _open_study(path: Path, planted: int | None) -> Iterator[Study]:
    """Give the study, or one over a cohort that is gone afterwards."""
    from napari_memscan.cli.new import read_cohort
    from napari_memscan.config import StudyConfig, VerificationConfig, suggest_preprocessing
    from napari_memscan.study import Study

    if path.name == "study.toml" or (path / "study.toml").exists():
        if planted is not None:
            raise BadInput("--planted: is for a cohort; a study says it in study.toml.")
        yield Study.open(path)
        return
    cohort = read_cohort(path, None, [])
    cohort.check()
    config = StudyConfig(
        name=f"Duplicates of {make_absolute(path).name}",
        preprocessing=suggest_preprocessing(cohort),
        verification=VerificationConfig(**({} if planted is None else {"planted": planted})),
    )
    with tempfile.TemporaryDirectory(prefix="memscan-") as folder:
        yield Study.create(folder, config, cohort)


def _format_duplicates(result: CohortDuplicates) -> str:
    """Return what was found, for people."""
    found, rows, unseen = result.found, result.training, result.validation
    n = len(found.groups)
    lines = [
        f"{n} group{'' if n == 1 else 's'} of duplicates across subjects, {len(found.dropped)} of "
        f"{found.n_training} training volumes too many. At most {found.q:.0%} of the called are "
        f"expected to be wrong; null of {found.n_null} validation subjects."
    ]
    for number, group in enumerate(found.groups, 1):
        lines += ["", f"Group {number}", *_format_group(result, group)]
    if found.suspected:
        lines += ["", f"Suspected, {len(found.suspected)}: too few to be called. Look at them."]
        for group in found.suspected:
            lines += ["", *_format_group(result, group), f"  {group.pairs[0].reason}"]
    if found.leaks:
        lines += ["", "Validation volumes that are near a training volume of another subject:"]
        lines += [
            f"  {p.score:.3f}  {_format_row(unseen[p.first])}  =  {_format_row(rows[p.second])}"
            for p in found.leaks
        ]
        lines.append("  Take them out of the cohort: as part of the null they hide copies.")
    if found.expected:
        lines += ["", "Alike and of one subject, as expected; nothing is left out:"]
        lines += [
            f"  {', '.join(rows[i].name for i in group.members)} ({rows[group.keep].subject_id})"
            for group in found.expected
        ]
    return "\n".join(lines)


def _format_group(result: CohortDuplicates, group: DuplicateGroup) -> list[str]:
    rows = result.training
    lines = []
    for i in group.members:
        score = max(p.score for p in group.pairs if i in (p.first, p.second))
        lines.append(
            f"  {'keep' if i == group.keep else 'drop'}  {score:.3f}  {_format_row(rows[i])}"
        )
    return lines


def _format_row(row: CohortRow) -> str:
    return f"{row.name} ({row.subject_id or 'subject unknown'})"
