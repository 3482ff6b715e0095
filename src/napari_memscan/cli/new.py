"""Commands that look at what is there: ``new`` and ``check``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_memscan.cli.console import note, say
from napari_memscan.errors import BadInput

if TYPE_CHECKING:
    from napari_memscan.volumes.cohort import Cohort
    from napari_memscan.volumes.preprocessing import MinMax, Percentile, Window


def new(
    study: Annotated[Path, typer.Argument(help="Folder of the new study.", show_default=False)],
    cohort: Annotated[
        Path,
        typer.Option(
            help="CSV table, folder with training/ and validation/, MSD dataset.json, or MRNet.",
            show_default=False,
        ),
    ],
    ldm: Annotated[
        Path | None, typer.Option(help="Checkpoint folder of the latent diffusion model.")
    ] = None,
    synthetic: Annotated[
        Path | None, typer.Option(help="Folder of synthetic volumes made elsewhere.")
    ] = None,
    embedder: Annotated[
        str, typer.Option(help="Checkpoint folder of an embedder, or low-resolution.")
    ] = "low-resolution",
    shape: Annotated[
        str | None, typer.Option(metavar="X,Y,Z", help="Voxels after preprocessing.")
    ] = None,
    spacing: Annotated[
        str | None, typer.Option(metavar="X,Y,Z", help="Voxel size in mm to resample to.")
    ] = None,
    intensity: Annotated[
        str | None,
        typer.Option(
            metavar="RULE", help="window:LOW:HIGH, percentile:LOW:HIGH, or minmax; becomes 0 to 1."
        ),
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN",
            help="Regular expression; its first group is the subject in a file's name.",
        ),
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(metavar="OLD=NEW", help="Take a split of the table as another one."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Title of the study.")] = None,
) -> None:
    """Create a study: a folder that holds one audit.

    Shape, spacing and intensity that are not given are those of the LDM, else of the embedder,
    else the median shape of the cohort and the 1st to 99th percentile.

    \b
    Examples:
      memscan new audit --cohort patients/cohort.csv --ldm checkpoints/ldm
      memscan new audit --cohort patients/ --subject 'sub-([^_]+)' --synthetic generated/
      memscan new audit --cohort ct.csv --shape 64,64,64 --intensity window:-300:900
    """
    from napari_memscan.checkpoints.loading import describe
    from napari_memscan.config import suggested_preprocessing
    from napari_memscan.study import GeneratorConfig, Study, StudyConfig

    if ldm is not None and synthetic is not None:
        raise BadInput("--ldm and --synthetic: one of the two. Make a study for each.")
    volumes = read_cohort(cohort, subject, rename or [])
    volumes.check()
    trained = None if embedder == "low-resolution" else Path(embedder)
    preprocessing = suggested_preprocessing(
        volumes,
        ldm=ldm,
        embedder=trained,
        shape=None if shape is None else _three(shape, "--shape", int),
        spacing=None if spacing is None else _three(spacing, "--spacing", float),
        intensity=None if intensity is None else _intensity(intensity),
    )
    generator = None
    for kind, path in (("ldm", ldm), ("folder", synthetic)):
        if path is not None:
            generator = GeneratorConfig.model_validate({"kind": kind, "path": str(path.resolve())})
    config = StudyConfig(
        name=name or study.resolve().name,
        generator=generator,
        embedder=embedder if trained is None else str(trained.resolve()),
        preprocessing=preprocessing,
    )
    # Models that do not load or do not fit are found before anything is written.
    plan = Study(study.resolve(), config, volumes)
    plan.embedder()
    if generator is not None:
        plan.generator()
    made = Study.create(study, config, volumes)
    say(f"{made.folder}: a new study")
    say(f"cohort      {counted(volumes)}")
    if ldm is not None:
        say(f"generator   {describe(ldm)}")
    if synthetic is not None:
        say(f"generator   volumes made elsewhere: {synthetic}")
    say(f"embedder    {embedder if trained is None else describe(trained)}")
    say(f"volumes     {preprocessing}")
    for warning in volumes.warnings:
        note(f"warning: {warning}")
    following = {None: "memscan train autoencoder", "ldm": "memscan generate -n 64"}
    say(f"Next: {following.get(generator.kind if generator else None, 'memscan scan')} {study}")


def read_cohort(path: Path, subject: str | None, renames: list[str]) -> Cohort:
    """Import a cohort with the options that fit what `path` is."""
    from napari_memscan.volumes.importers import import_any

    table = path.suffix.lower() != ".json" if path.is_file() else (path / "cohort.csv").is_file()
    options: dict[str, Any] = {}
    if subject is not None:
        if table or (path / "train" / "sagittal").is_dir():
            raise BadInput(
                "--subject: is for folders of files. A table has a column 'subject_id' for that."
            )
        options["subject_pattern"] = subject
    if renames:
        if not table:
            raise BadInput("--rename: is for tables. Name the folders after their splits.")
        pairs = [text.partition("=") for text in renames]
        if not all(old and new for old, _, new in pairs):
            raise BadInput(f"--rename {renames[0]}: OLD=NEW is expected, as unseen=synthetic.")
        options["splits"] = {old: new for old, _, new in pairs}
    return import_any(path, **options)


def counted(cohort: Cohort) -> str:
    """Say how many volumes of which split there are."""
    return ", ".join(f"{n} {split}" for split, n in cohort.counts().items() if n)


def _three(text: str, option: str, number: type) -> Any:
    try:
        x, y, z = (number(part) for part in text.split(","))
    except ValueError as error:
        what = "whole numbers" if number is int else "numbers in mm"
        raise BadInput(f"{option} {text}: three {what} are expected, as X,Y,Z.") from error
    return x, y, z


def _intensity(text: str) -> Window | Percentile | MinMax:
    from pydantic import ValidationError

    from napari_memscan.config import explained
    from napari_memscan.volumes.preprocessing import MinMax, Percentile, Window

    rule, *numbers = text.split(":")
    try:
        if rule == "minmax" and not numbers:
            return MinMax()
        if rule in ("window", "percentile"):
            low, high = map(float, numbers)
            return (Window if rule == "window" else Percentile)(low=low, high=high)
    except ValidationError as error:
        raise BadInput(f"--intensity {text}: {explained(error)}.") from error
    except ValueError:
        pass
    raise BadInput(
        f"--intensity {text}: window:LOW:HIGH, percentile:LOW:HIGH or minmax is expected, "
        "such as window:-300:900."
    )


def check(
    path: Annotated[
        Path, typer.Argument(help="Study, checkpoint, cohort, volume, or folder of volumes.")
    ],
    study: Annotated[Path | None, typer.Option(help="Also say whether it fits this study.")] = None,
) -> None:
    """Say what a path is and whether it can be used.

    Reads everything: weights are loaded into the recipe's networks, volumes to the last voxel.

    \b
    Examples:
      memscan check checkpoints/ldm
      memscan check scan.nii.gz --study audit
      memscan check patients/cohort.csv
    """
    from napari_memscan.cli.checks import check_path

    for line in check_path(path, study):
        say(line)
