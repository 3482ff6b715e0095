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
from napari_memscan.checkpoints.families.configured import (
    check_part,
    latent_from,
    published,
    schedule_of,
    state_of,
    where,
    without_flash,
)
from napari_memscan.checkpoints.families.interface import Candidate, Facts, Family, built
from napari_memscan.checkpoints.families.maisi_files import Model, bare, model_of
from napari_memscan.checkpoints.probe import Found
from napari_memscan.checkpoints.recipe import Conditioning, LDMRecipe
from napari_memscan.checkpoints.states import State
from napari_memscan.errors import BadInput
from napari_memscan.volumes.preprocessing import Percentile, Preprocessing, Window

NAME = "maisi"
TITLE = "MAISI / NV-Generate (NVIDIA)"
CODE = "the project's code"
FIRST_MR = 8
"""Modalities from this number on are MR, those below CT."""
WHOLE = 80**3
"""Up to so many positions the project decodes a latent as a whole; above, in windows."""
REGIONS = ("head", "chest", "abdomen", "pelvis")
ALSO = {"thorax": "chest", "lower": "pelvis"}
_PROJECTION = re.compile(r"(^|\.)(attentions\.\d+|attention)\.attn\.out_proj\.(weight|bias)$")


def recognise(found: Found) -> Candidate | None:
    """Recognise a configuration with MAISI's denoiser, or weights that lie as MAISI's do."""
    try:
        model = model_of(found)
        if model is None:
            seen = bare(found)
            missing = ("config: the configuration of the networks, as config=configs/config_network"
                       "_rflow.json",)  # fmt: skip
            return Candidate(NAME, TITLE, "ldm", 0.5, (seen,), missing) if seen else None
        facts = Facts(found)
        _known(found, model, facts)
    except BadInput as error:
        what = "a configuration describes MAISI's denoiser"
        return Candidate(NAME, TITLE, "ldm", 0.9, (what,), (str(error),))
    reasons = [f"{where(model.network)} describes MAISI's networks"]
    reasons += [f"{path.name} is there" for path in model.files.values() if path]
    whole = all(model.files.values())
    return Candidate(
        NAME, TITLE, "ldm", 0.98 if whole else 0.9, tuple(reasons), tuple(facts.missing)
    )


def load(found: Found) -> Checkpoint:
    """Read configurations and weights, and hold names and shapes against the networks."""
    from napari_memscan.checkpoints.latent_model import check_shapes, in_ras

    model = model_of(found)
    if model is None:
        raise BadInput(
            f"{found.path}: {bare(found) or 'no weights of ' + TITLE}; the configuration of the "
            "networks is needed too: --set config=configs/config_network_rflow.json."
        )
    facts = Facts(found)
    known = _known(found, model, facts)
    facts.check()
    files = {part: path for part, path in model.files.items() if path is not None}
    autoencoder = _autoencoder(model, facts)
    denoiser = {"network": "DiffusionModelUNetMaisi",
                **without_flash(model.denoiser.arguments, "denoiser", facts)}  # fmt: skip
    states = {part: state_of(found, path, part) for part, path in files.items()}
    states["denoiser"], warnings = _without_projection(states["denoiser"], denoiser)
    for part, arguments in (("autoencoder", autoencoder), ("denoiser", denoiser)):
        check_part(part, arguments, states[part], files[part])
    latent, axes = known["latent_shape"], known["axes"]
    # What it decodes to; `check_shapes` makes sure.
    decoded = tuple(n * _factor(model) for n in latent[1:])
    recipe = built(
        found.path, LDMRecipe, autoencoder=autoencoder, denoiser=denoiser,
        **{k: v for k, v in known.items() if k != "intensity"},
        preprocessing=built(
            found.path, Preprocessing, shape=in_ras(decoded, axes), spacing=known["spacing"],
            intensity=known["intensity"],
        ),
        provenance={
            "scale_factor": next(f.origin for f in facts.facts if f.name == "scale_factor")
        },
    )  # fmt: skip
    check_shapes(recipe, found.path)
    if prod(latent[1:]) > WHOLE:
        warnings.append(
            "the project decodes latents of this size in overlapping windows; memscan does so only "
            "where memory does not suffice for the whole (--decode window does it always). Values "
            "differ a little between the two"
        )
    if "trained_controlnet_path" in model.network:
        warnings.append(
            "this bundle samples with a mask through ControlNet; memscan samples without, as the "
            "project's image-only sampling does"
        )
    report = LoadReport(
        NAME, TITLE, files, states,
        tuple(sorted({n for path in files.values() for n in found.open(path).foreign})),
        tuple(facts.facts), (*warnings, *published(found.root, files)),
    )  # fmt: skip
    return Checkpoint(found.path, recipe, {k: s.tensors for k, s in states.items()}, report)


def _autoencoder(model: Model, facts: Facts) -> dict[str, Any]:
    """Return its arguments without what only saves a GPU's memory."""
    arguments = {"network": "AutoencoderKlMaisi", **model.autoencoder.arguments}
    arguments = without_flash(arguments, "autoencoder", facts)
    for name, plain in (("num_splits", 1), ("norm_float16", False), ("use_checkpointing", False)):
        if arguments.get(name, plain) != plain:
            facts.facts.append(
                Fact(f"autoencoder: {name}", str(plain), "memscan: the same on any device")
            )
        arguments[name] = plain
    return arguments


def _without_projection(state: State, denoiser: Mapping[str, Any]) -> tuple[State, list[str]]:
    """Leave out projections of attention blocks where the configuration has none.

    Files of the DDPM model hold them, and the project's own code drops them.
    """
    import torch

    if denoiser.get("include_fc"):
        return state, []
    left = [name for name in state.tensors if _PROJECTION.search(name)]
    neutral = all(
        torch.equal(value.float(), torch.eye(len(value)) if value.ndim == 2 else torch.zeros(1)
                    .expand_as(value))
        for value in (state.tensors[name] for name in left)
    )  # fmt: skip
    warnings = [] if neutral else [
        f"denoiser: {len(left)} tensors of attention projections (out_proj) are not used, as the "
        "configuration says (include_fc is false there or left out); some versions of MONAI "
        "apply them"
    ]  # fmt: skip
    return state.without(left), warnings


def _known(found: Found, model: Model, facts: Facts) -> dict[str, Any]:
    """Return the fields of the recipe by name, and note what is missing."""
    for part, path in model.files.items():
        if path is None:
            facts.missing.append(f"{part}: {model.named[part]}")
    network, origin = model.network, where(model.network)
    schedule, sampler = schedule_of(network.target("noise_scheduler"), network)
    arguments = model.denoiser.arguments
    channels = arguments.get("out_channels", 4)
    factor = _factor(model)
    shaped = latent_from(found.declared.shape, channels, factor, found.path)
    sized = latent_from(model.value("dim"), channels, factor, found.path)
    known: dict[str, Any] = {
        "latent_shape": facts.need(
            "latent_shape", "channels and axes of a latent, as 4,64,64,32",
            (shaped, "declared shape"), (sized, model.sampling_origin),
            (network.latent_shape(), origin),
        ),
        "scale_factor": facts.need(
            "scale_factor", "1/std of the training latents; the checkpoint should hold it",
            model.scale_factor,
        ),
        "scheduler": schedule,
        "sampler": facts.choose("sampler", (sampler, origin)),
        "steps": facts.choose(
            "steps", *model.told("num_inference_steps"), (30 if sampler == "rflow" else 1000, CODE)
        ),
        "spacing": facts.need(
            "spacing", "voxel size in mm, as 1.0,1.0,1.0", *model.told("spacing")
        ),
        "axes": facts.choose("axes", ("RAS", CODE)),
        "decoded_range": facts.choose("decoded_range", ((0.0, 1.0), CODE)),
    }  # fmt: skip
    if found.declared.prediction_type is not None:
        raise BadInput(f"{found.path}: prediction_type is known of this model; leave it out.")
    label = _label(found, model, facts)
    known["conditioning"] = _conditioning(found, model, facts, label)
    mr = label is not None and label >= FIRST_MR
    rule = Percentile(low=0, high=99.5) if mr else Window(low=-1000, high=1000)
    text = "MR: percentiles 0 to 99.5" if mr else "CT: -1000 to 1000 HU"
    stated = found.declared.intensity
    known["intensity"] = stated or rule
    facts.facts.append(
        Fact("intensity", stated.rule if stated else text, "declared" if stated else CODE)
    )
    return known


def _factor(model: Model) -> int:
    """Return by how much the autoencoder shrinks each axis."""
    widths = model.autoencoder.arguments.get("num_channels")
    return int(2 ** (len(widths) - 1)) if isinstance(widths, list | tuple) else 1


def _label(found: Found, model: Model, facts: Facts) -> int | None:
    classes = model.denoiser.arguments.get("num_class_embeds")
    if classes is None:
        return None
    label = facts.need(
        "class_label", "the modality, as class_label=1 for CT or 9 for T1-weighted MR",
        *model.told("modality"),
    )  # fmt: skip
    if label is not None and label >= classes:
        raise BadInput(
            f"{found.path}: class_label {label}: the denoiser knows {classes}, counted from 0."
        )
    return label


def _conditioning(
    found: Found, model: Model, facts: Facts, label: int | None
) -> Conditioning | None:
    arguments = model.denoiser.arguments
    regions = None
    if arguments.get("include_top_region_index_input") or arguments.get(
        "include_bottom_region_index_input"
    ):
        ends = (model.value("top_region_index"), model.value("bottom_region_index"))
        regions = facts.need(
            "regions", "top and bottom body region, one-hot of head, chest, abdomen and pelvis, "
            "as regions=[[0,1,0,0],[0,0,1,0]]",
            (ends if all(ends) else None, model.sampling_origin),
            (_regions(model.network.data.get("body_region")), where(model.network)),
        )  # fmt: skip
    guidance = None
    if label is not None:
        # Theirs too is without + scale * (with - without); 0 means that there is none.
        scales = [(value or None, origin) for value, origin in model.told("cfg_guidance_scale")]
        guidance = facts.choose("guidance", *scales)
    return built(
        found.path, Conditioning, class_label=label, regions=regions, guidance=guidance,
        spacing=bool(arguments.get("include_spacing_input")),
    )  # fmt: skip


def _regions(names: Any) -> tuple[Any, Any] | None:
    """Return the first and last of the body regions a bundle lists, one-hot."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    known = [ALSO.get(name, name) for name in names]
    places = sorted(REGIONS.index(name) for name in known if name in REGIONS)
    if not places:
        return None
    top, bottom = (tuple(float(i == place) for i in range(4)) for place in (places[0], places[-1]))
    return top, bottom


FAMILY = Family(NAME, recognise, load)
