"""MAISI and NV-Generate (NVIDIA): bundles 0.4 and 1.0, and folders of NV-Generate-CTMR.

The weights bring their scale factor along; spacing, modality, region and guidance stand in
configurations beside them. Masks and ControlNet are not needed to sample without them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import prod
from typing import Any

from napari_memscan.checkpoints.checkpoint import Checkpoint, Fact, LoadReport
from napari_memscan.checkpoints.families.family import (
    FactCollector,
    Family,
    FamilyCandidate,
    MissingFact,
    build_missing,
    build_recipe,
)
from napari_memscan.checkpoints.families.maisi_files import (
    MaisiModel,
    explain_missing_config,
    find_maisi_model,
)
from napari_memscan.checkpoints.families.monai_config import (
    check_part,
    check_published_md5,
    compute_latent_shape,
    convert_schedule,
    disable_flash_attention,
    find_part_state,
    format_origin,
)
from napari_memscan.checkpoints.probe import PathProbe
from napari_memscan.checkpoints.recipe import Conditioning, LDMRecipe
from napari_memscan.checkpoints.state_dicts import StateDict
from napari_memscan.errors import BadInput, Hint, HintKind
from napari_memscan.volumes.preprocessing import Percentile, Preprocessing, Window

NAME = "maisi"
TITLE = "MAISI / NV-Generate (NVIDIA)"
CODE_ORIGIN = "the project's code"
FIRST_MR = 8
"""Modalities from this number on are MR, those below CT."""
MAX_WHOLE_POSITIONS = 80**3
"""Up to so many positions the project decodes a latent as a whole; above, in windows."""
REGIONS = ("head", "chest", "abdomen", "pelvis")
REGION_ALIASES = {"thorax": "chest", "lower": "pelvis"}
_PROJECTION = re.compile(r"(^|\.)(attentions\.\d+|attention)\.attn\.out_proj\.(weight|bias)$")


def recognise(found: PathProbe) -> FamilyCandidate | None:
    """Recognise a configuration with MAISI's denoiser, or weights that lie as MAISI's do."""
    try:
        model = find_maisi_model(found)
        if model is None:
            seen = explain_missing_config(found)
            missing = (
                MissingFact(
                    "config",
                    "the configuration of the networks",
                    "configs/config_network_rflow.json",
                ),
            )
            return FamilyCandidate(NAME, TITLE, "ldm", 0.5, (seen,), missing) if seen else None
        facts = FactCollector(found)
        _gather_fields(found, model, facts)
    except BadInput as error:
        what = "a configuration describes MAISI's denoiser"
        return FamilyCandidate(NAME, TITLE, "ldm", 0.9, (what,), (build_missing(error),))
    reasons = [f"{format_origin(model.network)} describes MAISI's networks"]
    reasons += [f"{path.name} is there" for path in model.files.values() if path]
    whole = all(model.files.values())
    return FamilyCandidate(
        NAME, TITLE, "ldm", 0.98 if whole else 0.9, tuple(reasons), tuple(facts.missing)
    )


def load(found: PathProbe) -> Checkpoint:
    """Read configurations and weights, and hold names and shapes against the networks."""
    from napari_memscan.checkpoints.latent_model import check_shapes, to_ras_order

    model = find_maisi_model(found)
    if model is None:
        raise BadInput(
            f"{found.path}: {explain_missing_config(found) or 'no weights of ' + TITLE}; the"
            " configuration of the networks is needed too.",
            Hint(HintKind.STATE, "config=configs/config_network_rflow.json"),
        )
    facts = FactCollector(found)
    known = _gather_fields(found, model, facts)
    facts.check()
    files = {part: path for part, path in model.files.items() if path is not None}
    autoencoder = _build_autoencoder_arguments(model, facts)
    denoiser = {
        "network": "DiffusionModelUNetMaisi",
        **disable_flash_attention(model.denoiser.arguments, "denoiser", facts),
    }
    states = {part: find_part_state(found, path, part) for part, path in files.items()}
    states["denoiser"], warnings = _drop_projections(states["denoiser"], denoiser)
    for part, arguments in (("autoencoder", autoencoder), ("denoiser", denoiser)):
        check_part(part, arguments, states[part], files[part])
    latent, axes = known["latent_shape"], known["axes"]
    # What it decodes to; `check_shapes` makes sure.
    decoded = tuple(n * _compute_shrink_factor(model) for n in latent[1:])
    recipe = build_recipe(
        found.path,
        LDMRecipe,
        autoencoder=autoencoder,
        denoiser=denoiser,
        **{k: v for k, v in known.items() if k != "intensity"},
        preprocessing=build_recipe(
            found.path,
            Preprocessing,
            shape=to_ras_order(decoded, axes),
            spacing=known["spacing"],
            intensity=known["intensity"],
        ),
        provenance={
            "scale_factor": next(f.origin for f in facts.facts if f.name == "scale_factor")
        },
    )
    check_shapes(recipe, found.path)
    if prod(latent[1:]) > MAX_WHOLE_POSITIONS:
        warnings.append(
            "the project decodes latents of this size in overlapping windows; memscan does so only "
            "where memory does not suffice for the whole, or where asked to. Values "
            "differ a little between the two"
        )
    if "trained_controlnet_path" in model.network:
        warnings.append(
            "this bundle samples with a mask through ControlNet; memscan samples without, as the "
            "project's image-only sampling does"
        )
    report = LoadReport(
        NAME,
        TITLE,
        files,
        states,
        tuple(sorted({n for path in files.values() for n in found.open(path).foreign})),
        tuple(facts.facts),
        (*warnings, *check_published_md5(found.root, files)),
    )
    return Checkpoint(found.path, recipe, {k: s.tensors for k, s in states.items()}, report)


def _build_autoencoder_arguments(model: MaisiModel, facts: FactCollector) -> dict[str, Any]:
    """Return its arguments without what only saves a GPU's memory."""
    arguments = {"network": "AutoencoderKlMaisi", **model.autoencoder.arguments}
    arguments = disable_flash_attention(arguments, "autoencoder", facts)
    for name, plain in (("num_splits", 1), ("norm_float16", False), ("use_checkpointing", False)):
        if arguments.get(name, plain) != plain:
            facts.facts.append(
                Fact(f"autoencoder: {name}", str(plain), "memscan: the same on any device")
            )
        arguments[name] = plain
    return arguments


def _drop_projections(state: StateDict, denoiser: Mapping[str, Any]) -> tuple[StateDict, list[str]]:
    """Leave out projections of attention blocks where the configuration has none.

    Files of the DDPM model hold them, and the project's own code drops them.
    """
    import torch

    if denoiser.get("include_fc"):
        return state, []
    left = [name for name in state.tensors if _PROJECTION.search(name)]
    neutral = all(
        torch.equal(
            value.float(),
            torch.eye(len(value)) if value.ndim == 2 else torch.zeros(1).expand_as(value),
        )
        for value in (state.tensors[name] for name in left)
    )
    warnings = (
        []
        if neutral
        else [
            f"denoiser: {len(left)} tensors of attention projections (out_proj) are not used, as"
            " the configuration says (include_fc is false there or left out); some versions of"
            " MONAI apply them"
        ]
    )
    return state.without(left), warnings


def _gather_fields(found: PathProbe, model: MaisiModel, facts: FactCollector) -> dict[str, Any]:
    """Return the fields of the recipe by name, and note what is missing."""
    for part, path in model.files.items():
        if path is None:
            facts.missing.append(MissingFact(part, model.named[part]))
    network, origin = model.network, format_origin(model.network)
    schedule, sampler = convert_schedule(network.target("noise_scheduler"), network)
    arguments = model.denoiser.arguments
    channels = arguments.get("out_channels", 4)
    factor = _compute_shrink_factor(model)
    shaped = compute_latent_shape(found.declared.shape, channels, factor, found.path)
    sized = compute_latent_shape(model.value("dim"), channels, factor, found.path)
    known: dict[str, Any] = {
        "latent_shape": facts.need(
            "latent_shape",
            "channels and axes of a latent",
            (shaped, "declared shape"),
            (sized, model.sampling_origin),
            (network.latent_shape(), origin),
            example="4,64,64,32",
        ),
        "scale_factor": facts.need(
            "scale_factor",
            "1/std of the training latents; the checkpoint should hold it",
            model.scale_factor,
        ),
        "scheduler": schedule,
        "sampler": facts.choose("sampler", (sampler, origin)),
        "steps": facts.choose(
            "steps",
            *model.find_values("num_inference_steps"),
            (30 if sampler == "rflow" else 1000, CODE_ORIGIN),
        ),
        "spacing": facts.need(
            "spacing", "voxel size in mm", *model.find_values("spacing"), example="1.0,1.0,1.0"
        ),
        "axes": facts.choose("axes", ("RAS", CODE_ORIGIN)),
        "decoded_range": facts.choose("decoded_range", ((0.0, 1.0), CODE_ORIGIN)),
    }
    if found.declared.prediction_type is not None:
        raise BadInput(f"{found.path}: prediction_type is known of this model; leave it out.")
    label = _choose_class_label(found, model, facts)
    known["conditioning"] = _build_conditioning(found, model, facts, label)
    mr = label is not None and label >= FIRST_MR
    rule = Percentile(low=0, high=99.5) if mr else Window(low=-1000, high=1000)
    text = "MR: percentiles 0 to 99.5" if mr else "CT: -1000 to 1000 HU"
    stated = found.declared.intensity
    known["intensity"] = stated or rule
    facts.facts.append(
        Fact("intensity", stated.rule if stated else text, "declared" if stated else CODE_ORIGIN)
    )
    return known


def _compute_shrink_factor(model: MaisiModel) -> int:
    """Return by how much the autoencoder shrinks each axis."""
    widths = model.autoencoder.arguments.get("num_channels")
    return int(2 ** (len(widths) - 1)) if isinstance(widths, list | tuple) else 1


def _choose_class_label(found: PathProbe, model: MaisiModel, facts: FactCollector) -> int | None:
    classes = model.denoiser.arguments.get("num_class_embeds")
    if classes is None:
        return None
    label = facts.need(
        "class_label",
        "the modality (1 for CT, 9 for T1-weighted MR)",
        *model.find_values("modality"),
        example="1",
    )
    if label is not None and label >= classes:
        raise BadInput(
            f"{found.path}: class_label {label}: the denoiser knows {classes}, counted from 0."
        )
    return label


def _build_conditioning(
    found: PathProbe, model: MaisiModel, facts: FactCollector, label: int | None
) -> Conditioning | None:
    arguments = model.denoiser.arguments
    regions = None
    if arguments.get("include_top_region_index_input") or arguments.get(
        "include_bottom_region_index_input"
    ):
        ends = (model.value("top_region_index"), model.value("bottom_region_index"))
        regions = facts.need(
            "regions",
            "top and bottom body region, one-hot of head, chest, abdomen and pelvis",
            (ends if all(ends) else None, model.sampling_origin),
            (_encode_regions(model.network.data.get("body_region")), format_origin(model.network)),
            example="[[0,1,0,0],[0,0,1,0]]",
        )
    guidance = None
    if label is not None:
        # Theirs too is without + scale * (with - without); 0 means that there is none.
        scales = [
            (value or None, origin) for value, origin in model.find_values("cfg_guidance_scale")
        ]
        guidance = facts.choose("guidance", *scales)
    return build_recipe(
        found.path,
        Conditioning,
        class_label=label,
        regions=regions,
        guidance=guidance,
        spacing=bool(arguments.get("include_spacing_input")),
    )


def _encode_regions(names: Any) -> tuple[Any, Any] | None:
    """Return the first and last of the body regions a bundle lists, one-hot."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    known = [REGION_ALIASES.get(name, name) for name in names]
    places = sorted(REGIONS.index(name) for name in known if name in REGIONS)
    if not places:
        return None
    top, bottom = (tuple(float(i == place) for i in range(4)) for place in (places[0], places[-1]))
    return top, bottom


FAMILY = Family(NAME, recognise, load)
