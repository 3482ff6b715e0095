"""The command ``train``."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_memscan.cli.console import note, run_with_progress, say
from napari_memscan.cli.options import parse_settings
from napari_memscan.embedders import LOW_RESOLUTION
from napari_memscan.errors import BadInput, describe_validation_error
from napari_memscan.training import DEFAULT_EMBEDDER
from napari_memscan.typing import Split

if TYPE_CHECKING:
    from napari_memscan.jobs.training.monitor import MonitorSettings
    from napari_memscan.study import Study
    from napari_memscan.training.settings import TrainingSettings


class ModelPart(StrEnum):
    """What can be trained."""

    AUTOENCODER = "autoencoder"
    DENOISER = "denoiser"
    EMBEDDER = "embedder"


class PresetName(StrEnum):
    """Settings by name; see `training.presets`."""

    TINY = "tiny"
    PAPER_CT = "paper-ct"
    PAPER_KNEE = "paper-knee"


class EmbedderKind(StrEnum):
    """Which embedder is trained."""

    CONTRASTIVE = "contrastive"
    STRUCTURAL = "structural"


def train(
    part: Annotated[ModelPart, typer.Argument(help="Which network.", show_default=False)],
    study: Annotated[Path, typer.Argument(help="Its cohort is learned.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the checkpoint. Default: models/PART in the study."),
    ] = None,
    kind: Annotated[
        EmbedderKind | None,
        typer.Option(
            help="For the embedder: contrastive (Dar et al. 2023), or structural, which has seen "
            f"all changes that leave a copy a copy. Default: {DEFAULT_EMBEDDER}.",
            show_default=False,
        ),
    ] = None,
    autoencoder: Annotated[
        Path | None,
        typer.Option(
            help="For the denoiser: a trained autoencoder. Default: models/autoencoder in the "
            "study."
        ),
    ] = None,
    preset: Annotated[
        PresetName | None,
        typer.Option(
            help="Settings by name: tiny (the defaults), paper-ct (64 x 64 x 64) or paper-knee "
            "(32 x 256 x 256), as far as the paper's are known. --set goes before it.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps.")] = None,
    epochs: Annotated[
        float | None, typer.Option(min=0, help="Instead of steps: passes over the cohort.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other setting; can be repeated."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    devices: Annotated[
        int, typer.Option(min=1, help="GPUs on each host, or processes of its CPU.")
    ] = 1,
    nodes: Annotated[
        int, typer.Option(min=1, help="Hosts; torchrun or SLURM starts this command on each.")
    ] = 1,
    strategy: Annotated[
        str, typer.Option(help="Of Lightning, for several devices: ddp ...")
    ] = "auto",
    pictures: Annotated[
        int, typer.Option(min=0, metavar="STEPS", help="Steps between two pictures; 0 for none.")
    ] = 500,
    monitor: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="STEPS",
            help="For the denoiser: sample volumes every so many steps, and look for copies.",
        ),
    ] = None,
    monitor_samples: Annotated[int, typer.Option(min=1, help="Volumes sampled each time.")] = 8,
    stop_above: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, metavar="SHARE", help="End the training where more of them are copies."
        ),
    ] = None,
    keep_below: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            metavar="SHARE",
            help="Keep in best/ the last checkpoint of which no more are copies. Default: that of "
            "--stop-above.",
            show_default=False,
        ),
    ] = None,
    estimate: Annotated[
        bool,
        typer.Option("--estimate", help="Say what time and memory it will take; train nothing."),
    ] = False,
    use: Annotated[
        bool,
        typer.Option(
            "--use/--no-use",
            help="A study that has no generator, or no trained embedder, takes the new one.",
        ),
    ] = True,
) -> None:
    """Train a network on the cohort of a study.

    Autoencoder and denoiser, in this order, make an LDM; the embedder stands alone. A training
    that was stopped goes on with the same command. Before it starts it says what memory it needs,
    soon after how long it will take; --estimate says both and trains nothing. training.csv and
    pictures/ beside the checkpoint show how it goes.

    With --monitor the denoiser's volumes are compared with the training volumes while it learns;
    memorisation.csv beside the checkpoint says how many are copies. With --keep-below the last
    checkpoint that had no more is kept in best/; --stop-above ends the training as well.

    \b
    Examples:
      memscan train autoencoder audit
      memscan train denoiser audit --steps 5000 --set batch=16
      memscan train embedder audit --epochs 200 --set degrees=10 --device cuda
      memscan train embedder audit --kind structural
      memscan train autoencoder audit --preset paper-ct --estimate
      memscan train denoiser audit --set scheduler.schedule=rectified_flow
      memscan train denoiser audit --set conditional=true --set condition_guidance=2
      memscan train denoiser audit --devices 2 --strategy ddp
      memscan train denoiser audit --monitor 200 --monitor-samples 8 --stop-above 0.2
      memscan train denoiser audit --monitor 200 --keep-below 0.1
    """
    from napari_memscan.checkpoints.loading import describe_checkpoint
    from napari_memscan.jobs import run_job
    from napari_memscan.jobs import train_model as job
    from napari_memscan.jobs.training.train import estimate_training
    from napari_memscan.study import Study
    from napari_memscan.training.process_rank import is_first_process

    opened = Study.open(study)
    settings = _make_settings(part, kind, opened, preset, steps, epochs, pictures, set_ or [])
    first = devices * nodes == 1 or is_first_process()
    models = opened.folder / "models"
    out = (out or models / part).resolve()
    if not estimate and (out / "recipe.json").exists():
        raise BadInput(
            f"{out}: holds a finished checkpoint: {describe_checkpoint(out)}. Name another folder"
            " with --out."
        )
    if part is ModelPart.DENOISER and autoencoder is None:
        autoencoder = models / "autoencoder"
        if not (autoencoder / "recipe.json").exists():
            raise BadInput(
                f"{autoencoder}: no trained autoencoder there, and a denoiser needs one. Run "
                f"'memscan train autoencoder {study}' first, or name one with --autoencoder."
            )
    watched = _make_monitor_settings(part, monitor, monitor_samples, stop_above, keep_below)
    how: dict[str, Any] = {
        "device": device,
        "autoencoder": autoencoder,
        "devices": devices,
        "nodes": nodes,
        "strategy": strategy,
    }
    work: Any
    if estimate:
        work = estimate_training(opened, part.value, settings, **how)
    else:
        work = job(opened, part.value, out, settings, monitor=watched, **how)
    if not first:  # Another process speaks.
        run_job(work)
        return
    made = run_with_progress(work, part)
    if estimate:
        say(f"{part}: {made}{'; looks of --monitor are not counted' if watched else ''}.")
        return
    if watched is not None:
        from napari_memscan.jobs.training.monitor import BEST_FOLDER, LOG_FILE, read_log

        row = read_log(out / LOG_FILE)[-1]
        ended = "" if made == out else f" ended at step {row.step} of {settings.steps}:"
        kept = (
            f", kept: {out / BEST_FOLDER}" if made == out and (out / BEST_FOLDER).exists() else ""
        )
        note(f"{part}:{ended} {row}. All looks: {out / LOG_FILE}{kept}")
    say(f"{made}: {describe_checkpoint(made)}")
    if use:
        _use_in_study(opened, part, made)


def _make_monitor_settings(
    part: ModelPart,
    every: int | None,
    samples: int,
    stop_above: float | None,
    keep_below: float | None,
) -> MonitorSettings | None:
    from napari_memscan.jobs.training.monitor import MonitorSettings

    if every is None:
        for name, share in (("stop-above", stop_above), ("keep-below", keep_below)):
            if share is not None:
                raise BadInput(f"--{name}: needs --monitor STEPS, which says when to look.")
        return None
    if part is not ModelPart.DENOISER:
        raise BadInput(f"--monitor: is for a denoiser; an {part} samples no volumes.")
    return MonitorSettings(every, samples, stop_above, keep_below)


def _use_in_study(study: Study, part: ModelPart, out: Path) -> None:
    if part is ModelPart.DENOISER and study.config.generator is None:
        study.update(generator={"kind": "ldm", "path": str(out)})
        note(f"{study.folder}: generates with it now.")
    elif part is ModelPart.EMBEDDER and study.config.embedder == LOW_RESOLUTION:
        study.update(embedder=str(out))
        note(f"{study.folder}: embeds with it now.")


def _make_settings(
    part: ModelPart,
    kind: EmbedderKind | None,
    study: Study,
    preset: PresetName | None,
    steps: int | None,
    epochs: float | None,
    pictures: int,
    pairs: list[str],
) -> TrainingSettings:
    from pydantic import ValidationError

    from napari_memscan.training.presets import merge_settings
    from napari_memscan.training.settings import get_settings_class

    chosen = get_settings_class(part.value, kind.value if kind else None)
    values = parse_settings(pairs)
    if part is not ModelPart.EMBEDDER:
        values.setdefault("pictures_every", pictures)
    values = merge_settings(_load_preset(preset, part, kind, study), values)
    if steps is not None and epochs is not None:
        raise BadInput("--steps and --epochs: one of the two.")
    if steps is not None:
        values["steps"] = steps
    try:
        settings = chosen.model_validate(values)
        if epochs is not None:
            in_epoch = len(study.cohort.rows(Split.TRAINING)) / (
                settings.batch * settings.accumulate
            )
            values["steps"] = max(1, math.ceil(epochs * in_epoch))
            settings = chosen.model_validate(values)
    except ValidationError as error:
        raise BadInput(
            f"--set: {describe_validation_error(error)}. Settings of {part}:"
            f" {', '.join(chosen.model_fields)}."
        ) from error
    return settings


def _load_preset(
    name: PresetName | None, part: ModelPart, kind: EmbedderKind | None, study: Study
) -> dict[str, Any]:
    from napari_memscan.training.presets import PRESET_SHAPES, get_preset

    if name is None:
        return {}
    values = get_preset(name.value, part.value, kind.value if kind else None)
    shape = study.config.preprocessing.shape
    if (fitting := PRESET_SHAPES.get(name.value, shape)) != shape:
        note(f"--preset {name}: is for volumes of {fitting}; this study's are {shape}.")
    return values
