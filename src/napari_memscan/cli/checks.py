"""What a file or folder is, and whether it can be used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from napari_memscan.cli.console import note
from napari_memscan.errors import BadInput

if TYPE_CHECKING:
    from napari_memscan.study import Study


def check_path(path: Path, study: Path | None = None) -> Iterator[str]:
    """Yield lines that say what `path` is.

    Parameters
    ----------
    path : Path
        Study, checkpoint, cohort, volume, or folder of volumes.
    study : Path, optional
        Also say whether it fits.

    Raises
    ------
    BadInput
        It cannot be used; says why.
    """
    from napari_memscan.study import Study
    from napari_memscan.volumes.reader import is_volume_path

    if not path.exists():
        raise BadInput(f"{path}: no such file or folder. Check the path.")
    fits = None if study is None else Study.open(study)
    if path.name == "study.toml" or (path / "study.toml").is_file():
        yield from _study(Study.open(path))
    elif path.name == "recipe.json" or (path / "recipe.json").is_file():
        yield from _checkpoint(path, fits)
    elif is_volume_path(path):
        yield from _volume(path, fits)
    elif path.is_dir() and not _is_cohort(path):
        yield from _folder(path, fits)
    else:
        yield from _cohort(path)


def _is_cohort(folder: Path) -> bool:
    from napari_memscan.volumes.cohort import SPLITS
    from napari_memscan.volumes.importers import ALIASES

    names = {child.name.lower() for child in folder.iterdir()}
    return bool(names & {"cohort.csv", "dataset.json", *SPLITS, *ALIASES})


def _study(study: Study) -> Iterator[str]:
    from napari_memscan.checkpoints.loading import describe
    from napari_memscan.cli.new import counted

    config = study.config
    yield f"{study.folder}: study '{config.name}'"
    yield f"cohort      {counted(study.cohort)}"
    yield f"volumes     {config.preprocessing}"
    if config.generator is None:
        yield "generator   none yet"
    elif config.generator.kind == "folder":
        yield f"generator   volumes made elsewhere: {config.generator.path}"
    else:
        study.generator()
        yield f"generator   {describe(study.resolve(config.generator.path))}"
    yield f"embedder    {study.embedder().name}"
    missing = [row.sample for row in study.samples() if not study.sample_path(row).exists()]
    if missing:
        raise BadInput(
            f"{study.synthetic_dir}: the files of {len(missing)} samples are missing, the first "
            f"is {missing[0]}. Restore them."
        )
    yield f"samples     {len(study.samples())}"
    result = study.result()
    if result is None:
        yield "scan        none yet"
    else:
        yield f"scan        {result.n_copies} of {result.n_synthetic} called copies"
    for warning in study.cohort.warnings:
        note(f"warning: {warning}")


def _checkpoint(path: Path, study: Study | None) -> Iterator[str]:
    from napari_memscan.checkpoints.loading import describe
    from napari_memscan.checkpoints.native import read_recipe
    from napari_memscan.embedders.loading import load_embedder
    from napari_memscan.generators.ldm import LDMGenerator

    recipe = read_recipe(path)
    yield f"{path}: {describe(path)}"
    if recipe.kind == "ldm":
        LDMGenerator(path, "cpu")
    else:
        load_embedder(path, "cpu")
    yield "recipe and weights fit"
    if study is not None:
        made, wanted = recipe.preprocessing, study.config.preprocessing
        if made.shape != wanted.shape:
            raise BadInput(
                f"{path}: is for volumes of {made.shape}, the study's are {wanted.shape}. "
                "Create a study with this shape, or train the model anew."
            )
        if made != wanted:
            note(
                f"warning: it was trained with ({made}), the study has ({wanted}): shapes fit, "
                "intensities may not."
            )
        yield f"fits the study {study.folder}"


def _volume(path: Path, study: Study | None) -> Iterator[str]:
    from napari_memscan.volumes.reader import read_volume

    volume = read_volume(path)
    low, high = float(volume.data.min()), float(volume.data.max())
    shape = " x ".join(map(str, volume.data.shape))
    size = "voxel size unknown"
    if volume.spacing is not None:
        size = " x ".join(f"{mm:g}" for mm in volume.spacing) + " mm"
    yield f"{path}: volume of {shape} voxels, {size}, values {low:g} to {high:g}"
    if study is not None:
        study.config.preprocessing.apply(volume)
        yield f"fits the study {study.folder}"


def _folder(path: Path, study: Study | None) -> Iterator[str]:
    """Read all volumes, and name all that cannot be read, not only the first."""
    from napari_memscan.volumes.reader import list_volumes

    files = list_volumes(path)
    bad = 0
    for file in files:
        try:
            for _ in _volume(file, study):
                pass
        except BadInput as error:
            bad += 1
            yield str(error)
    if bad:
        raise BadInput(f"{path}: {bad} of {len(files)} volumes cannot be used.")
    yield f"{path}: {len(files)} volumes, all can be read"
    if study is not None:
        yield f"fit the study {study.folder}"


def _cohort(path: Path) -> Iterator[str]:
    from napari_memscan.cli.new import counted
    from napari_memscan.volumes.importers import import_any

    cohort = import_any(path)
    cohort.check()
    yield f"{path}: cohort of {len(cohort.table)} volumes: {counted(cohort)}"
    subjects = {row.subject_id for row in cohort.rows()} - {""}
    yield f"subjects    {len(subjects)} known"
    for warning in cohort.warnings:
        note(f"warning: {warning}")
