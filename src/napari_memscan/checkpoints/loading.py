"""From a path to a checkpoint, whoever wrote it: the registry of families."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.checkpoints.checkpoint import Checkpoint
from napari_memscan.checkpoints.families.family import Family, FamilyCandidate
from napari_memscan.checkpoints.overrides import ModelOverrides
from napari_memscan.checkpoints.probe import PathProbe
from napari_memscan.checkpoints.recipe import (
    AnyEmbedderRecipe,
    AutoencoderRecipe,
    BackboneRecipe,
    ContrastiveRecipe,
    LDMRecipe,
    Recipe,
    SlicesRecipe,
    StructuralRecipe,
)
from napari_memscan.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

FAMILIES = (
    "native",
    "monai_bundle",
    "maisi",
    "medicaldiffusion",
    "medlord",
    "medicalnet",
    "swinvit",
    "segres",
    "vit",
    "slices",
    "contrastive3d",
)
"""Modules of `checkpoints.families`; to add a format, write one and name it here."""

KIND_RECIPES = {
    "ldm": (LDMRecipe, "a 3D latent diffusion model"),
    "autoencoder": (LDMRecipe | AutoencoderRecipe, "an autoencoder"),
    "embedder": (AnyEmbedderRecipe, "an embedder"),
}


def load_families() -> dict[str, Family]:
    """Return all families by their names."""
    modules = (import_module(f"napari_memscan.checkpoints.families.{name}") for name in FAMILIES)
    return {family.name: family for family in (module.FAMILY for module in modules)}


def detect_families(
    path: str | Path, declared: Mapping[str, Any] | ModelOverrides | None = None
) -> list[FamilyCandidate]:
    """Say what a path may be, likeliest first. Nothing in it is run.

    Parameters
    ----------
    path : path
        Weight file, configuration or folder.
    declared : Declared or mapping, optional
        What the user states about it.

    Returns
    -------
    list of Candidate
        Empty where no family knows it.

    Raises
    ------
    BadInput
        A file there is damaged, or would have to be run.
    """
    return _detect_candidates(PathProbe(path, ModelOverrides.of(declared)))


def _detect_candidates(found: PathProbe) -> list[FamilyCandidate]:
    known = load_families()
    wanted = found.declared.family
    if wanted is not None and wanted not in known:
        raise BadInput(f"family '{wanted}' is not known; known are {', '.join(known)}.")
    candidates = []
    for name, family in known.items():
        candidate = family.recognise(found) if wanted in (None, name) else None
        if candidate is not None:
            candidates.append(candidate)
            if candidate.score == 1.0 and name == "native":
                break
    return sorted(candidates, key=lambda c: -c.score)


def load_checkpoint(
    path: str | Path,
    declared: Mapping[str, Any] | ModelOverrides | None = None,
    kind: str | None = None,
) -> Checkpoint:
    """Load a checkpoint of any known family, without running anything in it.

    Parameters
    ----------
    path : path
        Weight file, configuration or folder.
    declared : Declared or mapping, optional
        What the files do not say; goes before what they say.
    kind : {"ldm", "autoencoder", "embedder"}, optional
        What is wanted here; another kind is an error.

    Returns
    -------
    Checkpoint
        Recipe, tensors that are read when touched, and the account of loading.

    Raises
    ------
    BadInput
        No family knows it, something is missing or does not fit, or it would have to be run.
    """
    found = PathProbe(path, ModelOverrides.of(declared))
    candidates = _detect_candidates(found)
    if not candidates:
        raise BadInput(explain_unknown(found))
    # A weight file that could be several things is what is wanted here, if it can be.
    chosen = next((c for c in candidates if kind is None or c.kind == kind), candidates[0])
    checkpoint = load_families()[chosen.family].load(found)
    if kind is not None and not isinstance(checkpoint.recipe, KIND_RECIPES[kind][0]):
        what = next(
            text
            for recipe, text in (*KIND_RECIPES.values(), (object, "something else"))
            if isinstance(checkpoint.recipe, recipe)
        )
        if isinstance(checkpoint.recipe, AutoencoderRecipe):
            what = "an autoencoder alone"
        raise BadInput(f"{path}: this is {what}, but {KIND_RECIPES[kind][1]} is needed here.")
    return checkpoint


def explain_unknown(found: PathProbe) -> str:
    """Say that no family knows a path, and what was seen in it."""
    seen = []
    for path in found.weight_files[:5]:
        names = [name for state in found.states(path) for name in list(state.tensors)[:3]]
        seen.append(f"{path.name} holds {', '.join(names[:3])} ...")
    if not seen:
        return (
            f"{found.path}: holds neither weight files nor recipe.json. Choose the weight file, "
            "or the folder of the model."
        )
    return (
        f"{found.path}: weights of a network that memscan does not know ({'; '.join(seen)}). "
        "Known are listed in docs/checkpoints.md; a network of your own can be used through a "
        "plug-in (--trust)."
    )


def load_recipe(path: str | Path, kind: str | None = None) -> Recipe:
    """Return what a checkpoint's weights do not say; see `load_checkpoint`."""
    return load_checkpoint(path, kind=kind).recipe


def load_weights(path: str | Path, part: str) -> dict[str, Tensor]:
    """Return one part's tensors as float32; see `load_checkpoint` and `Checkpoint.weights`."""
    return load_checkpoint(path).weights(part)


def compute_checkpoint_hash(path: str | Path) -> str:
    """Return 16 hexadecimal digits over the recipe and the bytes of all weight files."""
    return load_checkpoint(path).hash


def describe_checkpoint(checkpoint: Checkpoint | str | Path) -> str:
    """Say in one line what a checkpoint is.

    Examples
    --------
    ``3D LDM: latent 3 x 12 x 12 x 12, v_prediction, DDIM 25 steps, volumes 48 x 48 x 48``
    """
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = load_checkpoint(checkpoint)
    recipe = checkpoint.recipe
    size = sum(path.stat().st_size for path in set(checkpoint.report.files.values())) / 1e6
    if isinstance(recipe, LDMRecipe):
        text = (
            f"3D LDM: latent {_format_shape(recipe.latent_shape)},"
            f" {recipe.scheduler.prediction_type}, {recipe.sampler.upper()} {recipe.steps} steps,"
            f" volumes {_format_shape(recipe.preprocessing.shape)}"
        )
        if recipe.conditioning is not None and recipe.conditioning.classes:
            text += f", knows {', '.join(recipe.conditioning.classes)}"
    elif isinstance(recipe, ContrastiveRecipe):
        text = f"contrastive embedder: {_format_shape(recipe.input_shape)} to {recipe.dim} numbers"
    elif isinstance(recipe, StructuralRecipe):
        text = f"structural embedder: {_format_shape(recipe.input_shape)} to {recipe.dim} numbers"
    elif isinstance(recipe, BackboneRecipe):
        text = (
            f"embedder, pooled features of a {recipe.network}: {_format_shape(recipe.input_shape)}"
        )
    elif isinstance(recipe, SlicesRecipe):
        text = (
            f"embedder, slices along {', '.join(recipe.slice_axes)} through a 2D {recipe.network}, "
            f"{recipe.pooling} over slices"
        )
    else:
        text = (
            f"autoencoder alone: volumes {_format_shape(recipe.preprocessing.shape)}; not an"
            " LDM yet"
        )
    return f"{text} ({size:.1f} MB, {checkpoint.hash[:8]})"


def _format_shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
