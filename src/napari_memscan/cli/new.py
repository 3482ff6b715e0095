"""The command ``new``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_memscan.cli.console import note, run_with_progress, say
from napari_memscan.cli.options import SetOption, TrustOption
from napari_memscan.embedders import LOW_RESOLUTION
from napari_memscan.errors import BadInput, describe_validation_error
from napari_memscan.files import make_absolute
from napari_memscan.typing import Split

if TYPE_CHECKING:
    from napari_memscan.study import Study
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
        str | None,
        typer.Option(help="Latent diffusion model: a checkpoint folder, bundle or weight file."),
    ] = None,
    synthetic: Annotated[
        Path | None,
        typer.Option(help="Synthetic volumes made elsewhere: a folder, or a CSV table of them."),
    ] = None,
    embedder: Annotated[
        str, typer.Option(help="Checkpoint of an embedder, or low-resolution.")
    ] = LOW_RESOLUTION,
    set_: SetOption = None,
    embedder_set: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="What the files of the embedder do not say."),
    ] = None,
    trust: TrustOption = False,
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
      memscan new audit --cohort patients/ --ldm bundle/ --set latent_shape=8,36,44,28
      memscan new audit --cohort patients/ --subject 'sub-([^_]+)' --synthetic generated/
      memscan new audit --cohort ct.csv --shape 64,64,64 --intensity window:-300:900
    """
    from napari_memscan import jobs
    from napari_memscan.checkpoints.overrides import ModelOverrides
    from napari_memscan.checkpoints.trusted.trust_check import resolve_model_path
    from napari_memscan.config import GeneratorConfig

    if ldm is not None and synthetic is not None:
        raise BadInput("--ldm and --synthetic: one of the two. Make a study for each.")
    volumes = read_cohort(cohort, subject, rename or [])
    stated = {
        "shape": None if shape is None else _parse_three(shape, "--shape", int),
        "spacing": None if spacing is None else _parse_three(spacing, "--spacing", float),
        "intensity": None if intensity is None else _parse_intensity(intensity),
    }
    generator = None
    if ldm is not None:
        generator = GeneratorConfig(
            kind="ldm",
            path=resolve_model_path(ldm, Path.cwd()),
            declared=ModelOverrides.parse(set_ or []).to_dict(),
            trust=trust,
        )
    elif synthetic is not None and synthetic.is_file():
        # A table says axes and spacing of arrays, which a folder cannot.
        made = read_cohort(synthetic, None, [])
        if len(made.rows(Split.SYNTHETIC)) < len(made.rows()):
            raise BadInput(f"{synthetic}: every row must have the split 'synthetic'.")
        volumes = volumes.join_cohorts(made)
    elif synthetic is not None:
        generator = GeneratorConfig(kind="folder", path=str(make_absolute(synthetic)))
    job = jobs.create_study(
        study,
        volumes,
        name=name or make_absolute(study).name,
        generator=generator,
        embedder=embedder
        if embedder == LOW_RESOLUTION
        else resolve_model_path(embedder, Path.cwd()),
        embedder_declared=ModelOverrides.parse(embedder_set or []).to_dict(),
        embedder_trust=trust and embedder != LOW_RESOLUTION,
        **stated,
    )
    opened = run_with_progress(job, "new")
    say(f"{opened.folder}: a new study")
    say(f"cohort      {volumes.format_counts()}")
    for line in describe_models(opened):
        say(line)
    say(f"volumes     {opened.config.preprocessing}")
    for warning in (*opened.config.warnings, *opened.config.model_warnings):
        note(f"warning: {warning}")
    following = "scan {}" if volumes.rows(Split.SYNTHETIC) else "train autoencoder {}"
    if generator is not None:
        following = {"ldm": "generate {} -n 64"}.get(generator.kind, "scan {}")
    say(f"Next: memscan {following.format(study)}")


def describe_models(study: Study) -> Iterator[str]:
    """Say what a study generates and embeds with."""
    from napari_memscan.checkpoints.loading import describe_checkpoint, load_checkpoint

    config = study.config.generator
    if config is None:
        yield "generator   none yet"
    elif config.external:
        yield f"generator   volumes made elsewhere: {config.path}"
    elif config.trust:
        yield f"generator   trusted, runs code in a process of its own: {config.path}"
    else:
        checkpoint = load_checkpoint(study.resolve(config.path), config.declared, "ldm")
        yield f"generator   {describe_checkpoint(checkpoint)}"
        yield from (f"            {fact}" for fact in checkpoint.report.lines())
        yield from (f"            warning: {text}" for text in checkpoint.report.warnings)
    yield f"embedder    {study.embedder().name}"


def read_cohort(path: Path, subject: str | None, renames: list[str]) -> Cohort:
    """Import a cohort with the options that fit what `path` is."""
    from napari_memscan.volumes.importers import import_cohort

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
    return import_cohort(path, **options)


def _parse_three(text: str, option: str, number: type) -> Any:
    try:
        x, y, z = (number(part) for part in text.split(","))
    except ValueError as error:
        what = "whole numbers" if number is int else "numbers in mm"
        raise BadInput(f"{option} {text}: three {what} are expected, as X,Y,Z.") from error
    return x, y, z


def _parse_intensity(text: str) -> Window | Percentile | MinMax:
    from pydantic import ValidationError

    from napari_memscan.volumes.preprocessing import MinMax, Percentile, Window

    rule, *numbers = text.split(":")
    try:
        if rule == "minmax" and not numbers:
            return MinMax()
        if rule in ("window", "percentile"):
            low, high = map(float, numbers)
            return (Window if rule == "window" else Percentile)(low=low, high=high)
    except ValidationError as error:
        raise BadInput(f"--intensity {text}: {describe_validation_error(error)}.") from error
    except ValueError:
        pass
    raise BadInput(
        f"--intensity {text}: window:LOW:HIGH, percentile:LOW:HIGH or minmax is expected, "
        "such as window:-300:900."
    )
