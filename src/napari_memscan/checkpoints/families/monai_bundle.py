"""Latent diffusion models of MONAI and monai-generative: bundles, the 3d_ldm tutorial, BrLP.

Configuration is read as data and never run. What it does not hold, and what these projects lose
on the way (the scale factor above all), is asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_memscan.checkpoints.bundle_config import BundleConfig
from napari_memscan.checkpoints.checkpoint import Checkpoint, Fact, LoadReport
from napari_memscan.checkpoints.families.family import (
    FactCollector,
    Family,
    FamilyCandidate,
    MissingFact,
    build_missing,
    build_recipe,
    explain_missing,
)
from napari_memscan.checkpoints.families.monai_config import (
    check_part,
    check_published_md5,
    disable_flash_attention,
    find_part_state,
    format_origin,
    matches_part,
)
from napari_memscan.checkpoints.families.monai_fields import PARTS, gather_fields, list_doubts
from napari_memscan.checkpoints.families.monai_generative import (
    is_legacy,
    rename_autoencoder,
    rename_denoiser,
)
from napari_memscan.checkpoints.families.monai_plans import (
    BundlePlan,
    compute_downsampling_factor,
    find_brlp_plan,
    has_networks,
    read_bundle_plan,
)
from napari_memscan.checkpoints.probe import PathProbe
from napari_memscan.checkpoints.recipe import LDMRecipe
from napari_memscan.checkpoints.state_dicts import StateDict
from napari_memscan.errors import BadInput, Hint, HintKind
from napari_memscan.volumes.preprocessing import Preprocessing

NAME = "monai_bundle"
TITLE = "MONAI latent diffusion model"


def recognise(found: PathProbe) -> FamilyCandidate | None:
    """Recognise a configuration of both networks, BrLP's files, or weights of a denoiser."""
    configs = [config for config in found.configs if has_networks(config)]
    try:
        plan = _choose_plan(found, configs)
    except BadInput as error:
        origin = ", ".join(format_origin(config) for config in configs)
        return FamilyCandidate(
            NAME, TITLE, "ldm", 0.9, (f"{origin} describes both networks",), (build_missing(error),)
        )
    if plan is None:
        return _ask_for_config(found)
    facts = FactCollector(found)
    gather_fields(found, plan, facts)
    reasons = [f"{plan.origin} describes both networks" if configs else "files named as BrLP's"]
    reasons += [f"{path.name} is there" for path in plan.files.values() if path is not None]
    score = 0.97 if all(plan.files.get(part) for part in PARTS) else 0.9
    return FamilyCandidate(NAME, plan.title, "ldm", score, tuple(reasons), tuple(facts.missing))


def load(found: PathProbe) -> Checkpoint:
    """Read configuration and weights, and hold names and shapes against the networks."""
    from napari_memscan.checkpoints.latent_model import check_shapes, to_ras_order

    plan = _choose_plan(found, [config for config in found.configs if has_networks(config)])
    if plan is None:
        bare = _ask_for_config(found)
        if bare is None:
            raise BadInput(f"{found.path}: unknown.")
        raise explain_missing(found.path, bare.missing)
    facts = FactCollector(found)
    known = gather_fields(found, plan, facts)
    facts.check()
    files = {part: path for part in PARTS if (path := plan.files.get(part)) is not None}
    states, arguments, warnings = _convert_states(found, plan, files, facts)
    latent, crop = known["latent_shape"], known["decode_shape"]
    # What it decodes to; `check_shapes` makes sure.
    factor = compute_downsampling_factor(plan.autoencoder)
    decoded = tuple(n * factor for n in crop or latent[1:])
    axes, spacing = known["axes"], known["spacing"]
    recipe = build_recipe(
        found.path,
        LDMRecipe,
        autoencoder=arguments["autoencoder"],
        denoiser=arguments["denoiser"],
        scheduler=known["schedule"],
        sampler=known["sampler"],
        steps=known["steps"],
        latent_shape=latent,
        decode_shape=crop,
        decode_start=known["decode_start"],
        scale_factor=known["scale_factor"],
        conditioning=known["conditioning"],
        decoded_range=known["decoded_range"],
        axes=axes,
        spacing=spacing,
        preprocessing=build_recipe(
            found.path,
            Preprocessing,
            shape=to_ras_order(decoded, axes),
            spacing=spacing,
            intensity=known["intensity"],
        ),
        provenance={
            "scale_factor": next(f.origin for f in facts.facts if f.name == "scale_factor")
        },
    )
    check_shapes(recipe, found.path)
    report = LoadReport(
        NAME,
        plan.title,
        files,
        states,
        _list_foreign_classes(found, files),
        tuple(facts.facts),
        (
            *plan.warnings,
            *warnings,
            *list_doubts(found, plan, known),
            *check_published_md5(plan.folder, files),
        ),
    )
    return Checkpoint(found.path, recipe, {k: s.tensors for k, s in states.items()}, report)


def _choose_plan(found: PathProbe, configs: list[BundleConfig]) -> BundlePlan | None:
    """Return the plan of the one configuration there is, of equal ones the first."""
    if not configs:
        return find_brlp_plan(found)
    configs.sort(key=lambda config: config.path.stem != "inference")
    first = read_bundle_plan(found, configs[0])
    if configs[0].path.stem != "inference":
        for other in configs[1:]:
            if read_bundle_plan(found, other).model != first.model:
                raise BadInput(
                    f"{found.path}: {configs[0].path.name} and {other.path.name} describe "
                    "different models.",
                    Hint(HintKind.STATE, "config=FILE"),
                )
    return first


def _ask_for_config(found: PathProbe) -> FamilyCandidate | None:
    """Return what to ask where weights lie without a configuration."""
    if any("diffusion_unet_def" in config for config in found.configs):
        return None  # MAISI's.
    for path in found.weight_files:
        try:
            states = found.states(path)
        except BadInput:
            if path == found.path:
                raise
            continue
        # MAISI's networks have a family of their own.
        if any(matches_part(s, "denoiser") and s.where != "unet_state_dict" for s in states):
            return FamilyCandidate(
                NAME,
                TITLE,
                "ldm",
                0.4,
                (f"{path.name} has names of MONAI's DiffusionModelUNet",),
                (
                    MissingFact(
                        "config",
                        "the configuration that came with the weights; the networks cannot be told "
                        "from tensors alone",
                        "configs/inference.json",
                    ),
                ),
            )
    return None


def _convert_states(
    found: PathProbe, plan: BundlePlan, files: dict[str, Path], facts: FactCollector
) -> tuple[dict[str, StateDict], dict[str, dict[str, Any]], list[str]]:
    """Return tensors under MONAI's names, and the arguments of the networks they fit."""
    states: dict[str, StateDict] = {}
    arguments: dict[str, dict[str, Any]] = {}
    warnings = []
    for part in PARTS:
        target = plan.autoencoder if part == "autoencoder" else plan.denoiser
        rename = rename_autoencoder if part == "autoencoder" else rename_denoiser
        old = find_part_state(found, files[part], part)
        given = disable_flash_attention(target.arguments, part, facts)
        try:
            state, fitting = rename(old, given)
        except BadInput as error:
            raise BadInput(f"{files[part]}: {error}") from error
        if is_legacy(old):
            facts.facts.append(Fact(f"{part}: names", "monai-generative's", files[part].name))
            wrong = [
                f"{name} is {given[name]}"
                for name in ("include_fc", "use_combined_linear")
                if given.get(name, fitting[name]) != fitting[name]
            ]
            if wrong:
                warnings.append(
                    f"{part}: in {plan.origin} {', '.join(wrong)}, but weights of "
                    "monai-generative compute otherwise; they are used as they were trained"
                )
        check_part(part, fitting, state, files[part])
        states[part], arguments[part] = state, fitting
    return states, arguments, warnings


def _list_foreign_classes(found: PathProbe, files: dict[str, Path]) -> tuple[str, ...]:
    return tuple(sorted({name for path in files.values() for name in found.open(path).foreign}))


FAMILY = Family(NAME, recognise, load)
