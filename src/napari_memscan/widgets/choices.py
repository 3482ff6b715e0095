"""What is this? Looks at what a person chose for a study and says it in one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_memscan.checkpoints.loading import describe, recipe_of
from napari_memscan.checkpoints.native import read_recipe
from napari_memscan.checkpoints.recipe import EmbedderRecipe
from napari_memscan.config import GeneratorConfig, StudyConfig, suggested_preprocessing
from napari_memscan.embedders.loading import LOW_RESOLUTION
from napari_memscan.errors import BadInput
from napari_memscan.study import Study
from napari_memscan.volumes.cohort import Cohort
from napari_memscan.volumes.importers import import_any
from napari_memscan.volumes.preprocessing import Preprocessing
from napari_memscan.volumes.reader import list_volumes, read_volume


@dataclass(frozen=True)
class Finding:
    """What a choice turned out to be.

    Attributes
    ----------
    text : str
        One line for people.
    level : str
        ``ok``, ``info``, ``warning`` or ``error``.
    value : object
        What the study needs of it; None after an error.
    """

    text: str
    level: str = "ok"
    value: Any = None


def look_at(field: str, text: str) -> Finding:
    """Examine one field of the form; whatever is wrong with it is in the finding.

    Parameters
    ----------
    field : {"folder", "cohort", "generator", "embedder"}
        Which choice.
    text : str
        What was chosen or typed.
    """
    look = {
        "folder": _folder, "cohort": _cohort, "generator": _generator, "embedder": _embedder
    }[field]  # fmt: skip
    try:
        return look(text)
    except BadInput as error:
        return Finding(str(error), "error")


def _folder(text: str) -> Finding:
    if not text:
        return Finding("", "info")
    path = Path(text).expanduser()
    if path.is_file():
        raise BadInput(f"{path}: this is a file. Choose a folder, or the name of a new one.")
    if (path / "study.toml").exists():
        raise BadInput(f"{path}: holds a study already. Open it, or choose another folder.")
    if path.is_dir() and any(path.iterdir()):
        return Finding("Not empty; the study will lie beside what is there.", "warning", path)
    return Finding("A new study can be made here.", "ok", path)


def _cohort(text: str) -> Finding:
    if not text:
        return Finding("", "info")
    cohort = import_any(Path(text).expanduser())
    cohort.check()
    return Finding(
        count(cohort) + "".join(f"\n⚠ {warning}" for warning in cohort.warnings),
        "warning" if cohort.warnings else "ok",
        cohort,
    )


def count(cohort: Cohort) -> str:
    """Return the sizes of a cohort: ``64 training, 40 validation, 40 unseen; 144 subjects``."""
    parts = [f"{n} {split}" for split, n in cohort.counts().items() if n]
    subjects = len({row.subject_id for row in cohort.rows() if row.subject_id})
    return ", ".join(parts) + (f"; {subjects} subjects" if subjects else "")


def _generator(text: str) -> Finding:
    if not text:
        return Finding("", "info")
    path = Path(text).expanduser()
    if (path / "recipe.json").exists() or path.name == "recipe.json":
        read_recipe(path, "ldm")
        folder = path.parent if path.name == "recipe.json" else path
        return Finding(
            describe(path), "ok", GeneratorConfig(kind="ldm", path=str(folder.resolve()))
        )
    if not path.is_dir():
        raise BadInput(
            f"{path}: no such folder. Choose the folder of an LDM checkpoint (it holds "
            "recipe.json), or a folder of synthetic volumes."
        )
    try:
        files = list_volumes(path)
    except BadInput as error:
        raise BadInput(f"No LDM checkpoint, since there is no recipe.json; and {error}") from error
    return Finding(
        f"{len(files)} synthetic volumes made elsewhere; they are scanned as they are.",
        "ok",
        GeneratorConfig(kind="folder", path=str(path.resolve())),
    )


def _embedder(text: str) -> Finding:
    if text in ("", LOW_RESOLUTION):
        return Finding(
            "Low-resolution intensities: needs no training. A trained embedder finds copies that "
            "are flipped or turned.",
            "info",
            LOW_RESOLUTION,
        )
    path = Path(text).expanduser()
    recipe = read_recipe(path)
    folder = path.parent if path.name == "recipe.json" else path
    line = describe(path)
    if not isinstance(recipe, EmbedderRecipe):
        # Also the paper's baseline, but an unlikely wish: so it is said, not refused.
        return Finding(
            f"{line}. Its autoencoder will be the embedder.", "warning", str(folder.resolve())
        )
    return Finding(line, "ok", str(folder.resolve()))


def configuration(values: Mapping[str, Any], cohort: Cohort, name: str) -> StudyConfig:
    """Put a study's configuration together from the findings' values.

    Preprocessing is that of the LDM, else of the embedder, else what fits the training volumes.

    Raises
    ------
    BadInput
        The embedder takes another shape than the LDM makes.
    """
    generator: GeneratorConfig | None = values.get("generator")
    embedder: str = values.get("embedder") or LOW_RESOLUTION
    ldm = generator.path if generator is not None and generator.kind == "ldm" else None
    trained = None if embedder == LOW_RESOLUTION else embedder
    recipes = [recipe_of(path).preprocessing for path in (ldm, trained) if path]
    check_shapes(recipes)
    return StudyConfig(
        name=name,
        generator=generator,
        embedder=embedder,
        preprocessing=suggested_preprocessing(cohort, trained=recipes),
    )


def check_shapes(recipes: list[Preprocessing]) -> None:
    """Refuse a checkpoint that works at another shape than the first recipe."""
    shapes = [recipe.shape for recipe in recipes]
    if len(set(shapes)) > 1:
        made, taken = (" x ".join(map(str, shape)) for shape in shapes[:2])
        raise BadInput(
            f"checkpoint: works on volumes of {taken}, but this study's are {made}. Choose one "
            "trained at the same shape; the embedder may also be left empty (low-resolution)."
        )


def differing(study: Study, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the choices, generator and embedder, that are not what an open study has."""
    old = study.config
    new: dict[str, Any] = {}
    generator, embedder = values.get("generator"), values.get("embedder")
    if generator is not None and (
        old.generator is None or generator.path != absolute(study, old.generator.path)
    ):
        new["generator"] = generator
    if embedder is not None and embedder != absolute(study, old.embedder):
        new["embedder"] = embedder
    return new


def has_source(study: Study) -> bool:
    """Return whether synthetic volumes can come from anywhere."""
    return study.config.generator is not None or study.cohort.counts()["synthetic"] > 0


def absolute(study: Study, path: str) -> str:
    """Return a path of ``study.toml`` as an absolute one; names stay what they are."""
    return path if path in ("", LOW_RESOLUTION) else str((study.folder / path).resolve())


def changes(study: Study, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what to update an open study with.

    Raises
    ------
    BadInput
        A checkpoint works at another shape than the study.
    """
    new = differing(study, values)
    if "generator" in new:
        generator = new["generator"]
        if generator.kind == "ldm":
            made = read_recipe(generator.path, "ldm").preprocessing
            check_shapes([study.config.preprocessing, made])
        new["generator"] = generator.model_dump()
    if new.get("embedder", LOW_RESOLUTION) != LOW_RESOLUTION:
        taken = read_recipe(new["embedder"]).preprocessing
        check_shapes([study.config.preprocessing, taken])
    return new


def spacing_of(study: Study) -> tuple[float, float, float]:
    """Return the voxel size to show a study's volumes with; 1 mm where nobody says."""
    if study.config.preprocessing.spacing is not None:
        return study.config.preprocessing.spacing
    row = study.cohort.rows("training")[0]
    if study.samples():
        # The same for all; a generated file is small and its header says what the model makes.
        spacing = read_volume(study.sample_path(study.samples()[0])).spacing
        if spacing is not None:
            return spacing
    return row.read().spacing or (1.0, 1.0, 1.0)
