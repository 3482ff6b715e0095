"""What is this path? One answer, which command line and window each say in their own words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from napari_memscan.checkpoints.inspection import Inspection, inspect_checkpoint
from napari_memscan.checkpoints.overrides import ModelOverrides
from napari_memscan.checkpoints.probe import WEIGHT_SUFFIXES
from napari_memscan.checkpoints.trusted.trust_check import parse_plug_in
from napari_memscan.errors import BadInput
from napari_memscan.volumes.cohort_rows import SPLIT_NAMES
from napari_memscan.volumes.reader import is_volume_path, list_volumes

if TYPE_CHECKING:
    from napari_memscan.checkpoints.checkpoint import Checkpoint
    from napari_memscan.checkpoints.recipe_fields import CheckpointKind
    from napari_memscan.embedders.interface import Embedder
    from napari_memscan.generators.ldm import LDMGenerator

COHORT_FILES = frozenset({"cohort.csv", "dataset.json"})


class PathKind(StrEnum):
    """What a user can name."""

    STUDY = "study"
    COHORT = "cohort"
    VOLUME = "volume"
    VOLUMES = "volumes"
    CHECKPOINT = "checkpoint"


@dataclass(frozen=True, eq=False)
class PathReport:
    """What a path turned out to be; nothing of it was run, and no volume was read.

    Attributes
    ----------
    path : Path
        As named.
    kind : PathKind
        What it is.
    volumes : tuple of Path
        Of a folder of volumes.
    model : Inspection or None
        Of what is, or may be, a model.
    """

    path: Path
    kind: PathKind
    volumes: tuple[Path, ...] = ()
    model: Inspection | None = None


def inspect_path(
    spec: str | Path,
    declared: ModelOverrides | None = None,
    *,
    wanted: CheckpointKind | None = None,
    trust: bool = False,
) -> PathReport:
    """Say what a path is.

    Parameters
    ----------
    spec : path or str
        Study, checkpoint, weight file, cohort, volume, folder of volumes, or a plug-in.
    declared : ModelOverrides, optional
        What the files of a checkpoint do not say.
    wanted : {"ldm", "autoencoder", "embedder"}, optional
        As what a weight file is taken that could be several things.
    trust : bool
        Code that comes with a checkpoint may be run, where nothing else does.

    Raises
    ------
    BadInput
        There is nothing, or nothing that is known.
    """
    path = Path(spec)
    plug_in = parse_plug_in(spec) is not None
    if not plug_in and not path.exists():
        raise BadInput(
            f"{path}: no such file or folder. Choose a weight file, the folder of a model (a "
            "bundle, or one with recipe.json), a cohort, or a folder of volumes."
        )
    if not plug_in and not path.is_file() and not path.is_dir():
        raise BadInput(f"{path}: neither a file nor a folder, but a device or pipe. Choose a file.")
    if path.name == "study.toml" or (path / "study.toml").is_file():
        return PathReport(path, PathKind.STUDY)
    if not plug_in and is_volume_path(path):
        return PathReport(path, PathKind.VOLUME)
    if path.is_file() and (path.suffix.lower() == ".csv" or path.name.lower() == "dataset.json"):
        return PathReport(path, PathKind.COHORT)
    model = inspect_checkpoint(spec, declared, wanted, trust=trust, device="cpu")
    if model.checkpoint or model.candidates or model.code or not path.is_dir():
        return PathReport(path, PathKind.CHECKPOINT, model=model)
    inside = [child.name.lower() for child in path.iterdir()]
    if not COHORT_FILES.union(SPLIT_NAMES).isdisjoint(inside):
        return PathReport(path, PathKind.COHORT, model=model)
    if any(name.endswith(WEIGHT_SUFFIXES) for name in inside):
        return PathReport(path, PathKind.CHECKPOINT, model=model)
    try:
        return PathReport(path, PathKind.VOLUMES, tuple(list_volumes(path)), model)
    except BadInput as error:
        raise BadInput(f"{error} A model has weight files, or recipe.json.") from error


def load_model(checkpoint: Checkpoint) -> LDMGenerator | Embedder:
    """Put weights into their networks, on the processor: only that reads them to the last.

    Raises
    ------
    BadInput
        Recipe and weights do not fit each other, or weights are NaN or all zero.
    """
    from napari_memscan.embedders.loading import load_embedder
    from napari_memscan.generators.ldm import LDMGenerator

    if checkpoint.recipe.use == "ldm":
        return LDMGenerator(checkpoint, "cpu")
    return load_embedder(checkpoint, "cpu")
