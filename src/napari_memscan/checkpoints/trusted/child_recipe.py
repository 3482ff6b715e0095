"""What a child says of its model, checked and completed by what the user declares."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from napari_memscan.checkpoints.checkpoint import Fact
from napari_memscan.checkpoints.families.family import FactCollector
from napari_memscan.checkpoints.overrides import ModelOverrides
from napari_memscan.checkpoints.probe import PathProbe
from napari_memscan.checkpoints.recipe import (
    Conditioning,
    FlowRecipe,
    LDMRecipe,
    SchedulerRecipe,
    TrustedRecipe,
)
from napari_memscan.errors import BadInput, describe_validation_error

M = TypeVar("M", bound=BaseModel)

PLUG_IN_FIELDS = frozenset(LDMRecipe.model_fields) - {
    "format",
    "kind",
    "autoencoder",
    "denoiser",
    "files",
    "latent_scaling",
}
"""What a plug-in's `recipe` may hold: the fields of `LDMRecipe` that are not about its networks."""

SAMPLER_NAMES = {"DDIMScheduler": "ddim", "DDPMScheduler": "ddpm", "RFlowScheduler": "rflow"}

_DIRECT_FIELDS = (
    "latent_shape",
    "decode_shape",
    "scale_factor",
    "axes",
    "spacing",
    "decoded_range",
    "sampler",
    "steps",
)
_NESTED_FIELDS = {
    "shape": "preprocessing",
    "intensity": "preprocessing",
    "prediction_type": "scheduler",
    "context": "conditioning",
    "class_label": "conditioning",
    "guidance": "conditioning",
}


def build_plug_in_recipe(
    path: str | Path, said: Mapping[str, Any], declared: ModelOverrides
) -> tuple[LDMRecipe, tuple[Fact, ...]]:
    """Return the recipe of a plug-in; BadInput where fields are missing, wrong or not known."""
    fields = said.get("recipe")
    if not isinstance(fields, dict):
        raise BadInput(f"{path}: the plug-in's recipe is no dict.")
    strange = sorted(fields.keys() - PLUG_IN_FIELDS)
    if strange:
        raise BadInput(
            f"{path}: the plug-in's recipe holds '{strange[0][:60]}', which is not known; known "
            f"are {', '.join(sorted(PLUG_IN_FIELDS))}."
        )
    origins = dict.fromkeys(fields, "plug-in")
    # Its decode may undo any scaling itself, and usually does.
    fields = {"scale_factor": 1.0, **fields}
    origins.setdefault("scale_factor", "not in the plug-in's recipe, so decode does the scaling")
    for name, value in declared.to_dict().items():
        if name in _DIRECT_FIELDS:
            fields[name] = value
            origins[name] = "declared"
        elif name in _NESTED_FIELDS:
            outer = _NESTED_FIELDS[name]
            inner = fields.get(outer)
            fields[outer] = {**(inner if isinstance(inner, dict) else {}), name: value}
            origins[outer] = "plug-in, and declared"
    recipe = _validate_model(path, LDMRecipe, _name_networks("plug-in") | fields)
    shown = ("latent_shape", "scale_factor", "sampler", "steps", "decoded_range", "axes")
    facts = tuple(
        Fact(name, str(getattr(recipe, name)), origins.get(name, "default")) for name in shown
    )
    return recipe, facts


def build_bundle_recipe(
    path: str | Path, said: Mapping[str, Any], declared: ModelOverrides
) -> tuple[LDMRecipe, tuple[Fact, ...], tuple[str, ...]]:
    """Return the recipe of a bundle, with facts and warnings.

    Raises
    ------
    BadInput
        Something is neither in the bundle nor declared; says how to state it.
    """
    facts = FactCollector(PathProbe(path, declared))
    bundle = "the bundle"
    settings = said.get("scheduler")
    settings = settings if isinstance(settings, dict) else {}
    latent_shape = facts.need(
        "latent_shape",
        "channels and axes of a latent",
        (said.get("latent_shape"), bundle),
        example="8,36,44,28",
    )
    scale_factor = facts.need(
        "scale_factor",
        "latents are divided by it before they are decoded; 1 where the bundle "
        "decodes them as they are",
        (said.get("scale_factor"), bundle),
    )
    sampler = facts.need(
        "sampler",
        "ddim, ddpm or rflow",
        (SAMPLER_NAMES.get(str(settings.get("name"))), "the bundle's scheduler"),
    )
    steps = facts.need(
        "steps",
        "number of denoising steps",
        (said.get("steps"), bundle),
        (settings.get("steps"), "the bundle's scheduler"),
        example="50",
    )
    shape = facts.need("shape", "voxels of a volume along X, Y, Z", (said.get("shape"), bundle))
    intensity = facts.need(
        "intensity",
        "what training volumes were scaled by: minmax, percentile:LOW:HIGH or window:LOW:HIGH",
    )
    spacing = facts.choose("spacing", (said.get("spacing"), bundle))
    decoded_range = facts.choose("decoded_range")
    axes = facts.choose("axes", ("RAS", "not stated; the bundle's axes are taken as they are"))
    facts.check()
    values = _name_networks("bundle") | {
        "latent_shape": latent_shape,
        "scale_factor": scale_factor,
        "sampler": sampler,
        "steps": steps,
        "spacing": spacing,
        "decoded_range": decoded_range,
        "axes": axes,
        "decode_shape": declared.decode_shape,
        "scheduler": _build_scheduler_recipe(path, settings, declared, str(sampler)),
        "preprocessing": {"shape": shape, "spacing": spacing, "intensity": intensity},
        "conditioning": _build_conditioning(said, declared, latent_shape),
    }
    warnings: tuple[str, ...] = ()
    if settings.get("own"):
        warnings = (
            f"{path}: its scheduler {str(settings.get('class'))[:60]} is the bundle's own; memscan "
            "samples with MONAI's and the same noise levels.",
        )
    return _validate_model(path, LDMRecipe, values), tuple(facts.facts), warnings


def build_embedder_recipe(
    path: str | Path, said: Mapping[str, Any], declared: ModelOverrides
) -> TrustedRecipe:
    """Return what an embedder takes and gives; BadInput where that is no sense."""
    values = {
        "input_shape": declared.shape or said.get("input_shape"),
        "dim": said.get("dim"),
        "axes": declared.axes or said.get("axes") or "RAS",
        "preprocessing": said.get("preprocessing"),
    }
    if declared.intensity is not None:
        before = said.get("preprocessing")
        spacing = before.get("spacing") if isinstance(before, dict) else None
        values["preprocessing"] = {
            "shape": values["input_shape"],
            "spacing": declared.spacing or spacing,
            "intensity": declared.intensity,
        }
    recipe = _validate_model(path, TrustedRecipe, values)
    if recipe.preprocessing is not None and recipe.preprocessing.shape != recipe.input_shape:
        raise BadInput(
            f"{path}: input_shape is {recipe.input_shape}, but preprocessing.shape "
            f"{recipe.preprocessing.shape}; they must be the same."
        )
    return recipe


def _name_networks(kind: str) -> dict[str, Any]:
    return {"autoencoder": {"network": kind}, "denoiser": {"network": kind}}


def _validate_model(path: str | Path, model: type[M], values: dict[str, Any]) -> M:
    try:
        return model.model_validate(values)
    except (ValidationError, RecursionError) as error:
        problems = str(error)
        if isinstance(error, ValidationError):
            problems = describe_validation_error(error, "recipe")
        raise BadInput(
            f"{path}: what the code says of its model does not do: {problems[:800]}."
        ) from error


def _build_scheduler_recipe(
    path: str | Path, settings: dict[str, Any], declared: ModelOverrides, sampler: str
) -> SchedulerRecipe | FlowRecipe:
    if sampler == "rflow":
        flow = (
            "num_train_timesteps",
            "use_discrete_timesteps",
            "use_timestep_transform",
            "base_img_size_numel",
        )
        return _validate_model(path, FlowRecipe, {n: settings[n] for n in flow if n in settings})
    names = (
        "num_train_timesteps",
        "prediction_type",
        "clip_sample",
        "steps_offset",
        "set_alpha_to_one",
        "betas",
    )
    values = {name: settings[name] for name in names if name in settings}
    if declared.prediction_type is not None:
        values["prediction_type"] = declared.prediction_type
    if "betas" not in values or "prediction_type" not in values:
        raise BadInput(
            f"{path}: the bundle's scheduler does not say its noise levels (betas) and "
            "prediction_type. Write a plug-in that does (docs/plug-in.md)."
        )
    recipe = _validate_model(path, SchedulerRecipe, values)
    return _find_formula(recipe) or recipe


def _find_formula(recipe: SchedulerRecipe) -> SchedulerRecipe | None:
    """Return the same schedule by its formula where it has one: a thousand numbers say less."""
    import torch

    from napari_memscan.checkpoints.networks import build_scheduler

    betas = recipe.betas or ()
    if len(betas) < 2:
        return None
    for schedule in ("linear_beta", "scaled_linear_beta"):
        try:
            formula = SchedulerRecipe.model_validate(
                recipe.model_dump()
                | {
                    "schedule": schedule,
                    "betas": None,
                    "beta_start": float(f"{betas[0]:.6g}"),
                    "beta_end": float(f"{betas[-1]:.6g}"),
                }
            )
        except ValidationError:
            return None
        if torch.allclose(
            build_scheduler(formula, "ddim").betas, torch.tensor(betas), rtol=1e-5, atol=0
        ):
            return formula
    return None


def _build_conditioning(
    said: Mapping[str, Any], declared: ModelOverrides, latent_shape: Any
) -> Conditioning | None:
    told_spacing = bool(said.get("told_spacing"))
    context = declared.context
    if context is None and declared.class_label is None and not told_spacing:
        return None
    channels = latent_shape[0] if isinstance(latent_shape, list | tuple) and latent_shape else None
    appended = context is not None and said.get("in_channels") == (channels or 0) + len(context)
    return Conditioning(
        context=context,
        concatenate=appended,
        class_label=declared.class_label,
        spacing=told_spacing,
        guidance=declared.guidance,
    )
