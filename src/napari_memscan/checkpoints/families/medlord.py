"""Checkpoints of MedLoRD (Cardio-AI/medlord, Apache-2.0): VQ-VAE, U-Net and two YAML files.

Its U-Net is monai-generative's without the activation before the last convolution, which is why
that is called ``out.1`` instead of ``out.2``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_memscan.checkpoints.checkpoint import Checkpoint, LoadReport
from napari_memscan.checkpoints.families.family import (
    FactCollector,
    Family,
    FamilyCandidate,
    MissingFact,
    build_recipe,
)
from napari_memscan.checkpoints.families.medlord_configs import (
    MedlordConfig,
    compute_shrink_factor,
    find_configs,
    make_unet_test,
    make_vqvae_test,
    read_scale_factor,
    read_schedule,
)
from napari_memscan.checkpoints.families.monai_generative import rename_denoiser
from napari_memscan.checkpoints.latent_model import check_shapes, from_ras_order, to_ras_order
from napari_memscan.checkpoints.networks import build_autoencoder, build_denoiser, check_weights_fit
from napari_memscan.checkpoints.probe import PathProbe
from napari_memscan.checkpoints.recipe import AutoencoderRecipe, LDMRecipe
from napari_memscan.checkpoints.recipe_fields import CheckpointKind
from napari_memscan.checkpoints.state_dicts import StateDict, sort_states
from napari_memscan.errors import BadInput
from napari_memscan.volumes.preprocessing import Preprocessing, Window

NAME = "medlord"
TITLE = "MedLoRD (Cardio-AI)"
DEFAULT_ORIGIN = "the family's default"
ADVICE = "Use the whole file, and the configuration that it was trained with."
REQUIRED_NAMES = {
    "denoiser": ("conv_in.conv.weight", "time_embed.0.weight", "out.1.conv.weight"),
    "autoencoder": ("encoder.blocks.0.conv.weight", "quantizer.quantizer.embedding.weight"),
}
SCALE_TOLERANCE = 0.2
"""A stated scale factor that is further off the configuration's than this share is doubted."""


@dataclass(frozen=True)
class _NetworkFile:
    """The weights of one network, and the configurations that could be theirs."""

    path: Path
    state: StateDict
    configs: list[MedlordConfig]
    several: tuple[str, ...] = ()


def _find_network(found: PathProbe, paths: list[Path], name: str) -> _NetworkFile | None:
    """Return the file that holds this network; the best one, if that is there."""
    fitting: list[tuple[Path, StateDict]] = []
    for path in paths:
        try:
            states = found.states(path)
        except BadInput:
            # Whoever knows the file says so; one that was stated must be readable.
            if str(path) == found.declared.autoencoder:
                raise
            continue
        ordered = sort_states(states, "ema.shadow", "model", "state_dict", "")
        state = next((s for s in ordered if s.has(*REQUIRED_NAMES[name])), None)
        if state is not None:
            fitting.append((path, state))
    # The trainings call it so: the one of the smallest validation loss.
    fitting.sort(key=lambda item: item[0].name != "best_model.pth")
    if not fitting:
        return None
    path, state = fitting[0]
    fits = (make_unet_test if name == "denoiser" else make_vqvae_test)(state)
    folders = list(dict.fromkeys([path.parent, found.root]))
    several = () if path.name == "best_model.pth" else tuple(p.name for p, _ in fitting)
    return _NetworkFile(path, state, find_configs(found, folders, fits), several)


def _find_networks(found: PathProbe) -> tuple[_NetworkFile | None, _NetworkFile | None]:
    """Return VQ-VAE and U-Net; a named file is the U-Net, or the VQ-VAE alone."""
    unet = _find_network(found, found.weight_files, "denoiser")
    paths, stated = found.weight_files, found.declared.autoencoder
    if unet is not None and stated is not None:
        paths = [found.partner(stated, "autoencoder")]
    elif unet is not None and not found.is_folder:
        paths = [p for p in sorted(unet.path.parent.glob("*.pth")) if p != unet.path]
    return _find_network(found, paths, "autoencoder"), unet


def _note_missing(parts: dict[str, _NetworkFile | None], facts: FactCollector) -> None:
    """Note what is not there, or there more than once."""
    examples = {"autoencoder": "vqgan_ds8_new.yaml", "denoiser": "medlord.yaml"}
    for name, part in parts.items():
        if part is None:
            what = "its weights lie in a file of their own"
            facts.missing.append(MissingFact(name, what, "best_model.pth"))
            continue
        if len(part.several) > 1:
            several = f"which file is the {name}: {', '.join(part.several[:5])}"
            facts.missing.append(MissingFact("", several))
        if not part.configs:
            what = (
                "a folder that holds the YAML files of both networks, or the YAML of the "
                f"{name} ({part.path.name})"
            )
            facts.missing.append(MissingFact("config", what, examples[name]))
        elif len(part.configs) > 1:
            names = ", ".join(config.path.name for config in part.configs[:5])
            what = f"{names} fit the {name}; name the one it was trained by"
            facts.missing.append(MissingFact("config", what))


def recognise(found: PathProbe) -> FamilyCandidate | None:
    """Recognise a U-Net by its early last convolution, a VQ-VAE by what lies beside it."""
    vqvae, unet = _find_networks(found)
    first = unet or vqvae
    if first is None or (
        unet is None and not first.configs and not _is_training_state(found, first.path)
    ):
        return None
    facts = FactCollector(found)
    _gather_sizes(found, facts, vqvae, unet)
    where = f"'{first.state.where}' in {first.path.name}" if first.state.where else first.path.name
    kind: CheckpointKind = "ldm"
    reason = f"{where} is monai-generative's U-Net with its last convolution at out.1"
    if unet is None:
        kind, reason = "autoencoder", f"{where} is MONAI's VQVAE, with MedLoRD's training or YAML"
    score = 0.97 if unet else 0.8
    return FamilyCandidate(NAME, TITLE, kind, score, (reason,), tuple(facts.missing))


def _is_training_state(found: PathProbe, path: Path) -> bool:
    content = found.open(path).content
    return isinstance(content, dict) and "optimizer_g" in content and "best_loss" in content


def _gather_sizes(
    found: PathProbe, facts: FactCollector, vqvae: _NetworkFile | None, unet: _NetworkFile | None
) -> tuple[tuple[int, int, int, int] | None, float | None]:
    """Return a latent's shape and the scale factor; note what nobody has said."""
    parts = {"autoencoder": vqvae, **({"denoiser": unet} if unet else {})}
    _note_missing(parts, facts)
    axes = (
        facts.choose("axes", ("RAS", f"{DEFAULT_ORIGIN}: its training does not turn volumes"))
        or "RAS"
    )
    scale = None
    if unet is not None and unet.configs:
        scale = facts.need(
            "scale_factor",
            "what latents were multiplied by in training (training.scale_factor)",
            (read_scale_factor(unet.configs[0]), unet.configs[0].path.name),
            example="1.11",
        )
    if vqvae is None or not vqvae.configs:
        return facts.choose("latent_shape"), scale
    smaller, shape = compute_shrink_factor(vqvae.configs[0]), found.declared.shape
    channels = vqvae.state.shape("quantizer.quantizer.embedding.weight")[-1]
    derived: tuple[int, int, int, int] | None = None
    if shape is not None:
        a, b, c = (n // smaller for n in from_ras_order(shape, axes))
        derived = (channels, a, b, c)
    latent = facts.need(
        "latent_shape",
        f"channels and axes of a latent (or shape: voxels of a volume along X, Y, Z, each {smaller}"
        " times as many)",
        (derived, f"declared shape / {smaller}"),
        example=f"{channels},64,64,32",
    )
    return latent, scale


def load(found: PathProbe) -> Checkpoint:
    """Put both files and both configurations together, or the VQ-VAE and its own."""
    vqvae, unet = _find_networks(found)
    facts = FactCollector(found)
    latent, scale = _gather_sizes(found, facts, vqvae, unet)
    facts.check()
    if vqvae is None or latent is None:
        raise BadInput(f"{found.path}: not a checkpoint of {TITLE}.")
    autoencoder = _build_vqvae_arguments(vqvae.configs[0])
    states = {"autoencoder": vqvae.state}
    shape = _compute_decoded_shape(found, vqvae, latent)
    common = {
        "autoencoder": autoencoder,
        "axes": found.declared.axes or "RAS",
        "decoded_range": facts.choose("decoded_range", ((-1.0, 1.0), DEFAULT_ORIGIN)),
        "spacing": facts.choose("spacing"),
        "preprocessing": build_recipe(
            vqvae.path,
            Preprocessing,
            shape=shape,
            intensity=facts.choose(
                "intensity", (Window(low=-1000, high=1000), f"{DEFAULT_ORIGIN}: HU")
            ),
        ),
        "provenance": {"family": NAME},
    }
    _check_network(autoencoder, vqvae.state, vqvae)
    recipe: LDMRecipe | AutoencoderRecipe
    if unet is None:
        recipe = build_recipe(vqvae.path, AutoencoderRecipe, **common)
    else:
        states["denoiser"], denoiser = _convert_unet(unet)
        _check_network(denoiser, states["denoiser"], unet)
        recipe = _build_ldm_recipe(
            unet, facts, denoiser=denoiser, latent_shape=latent, scale_factor=scale, **common
        )
        check_shapes(recipe, unet.path)
    files = {"autoencoder": vqvae.path, **({"denoiser": unet.path} if unet else {})}
    foreign = {name for path in files.values() for name in found.open(path).foreign}
    report = LoadReport(
        NAME,
        TITLE,
        files,
        states,
        tuple(sorted(foreign)),
        tuple(facts.facts),
        tuple(_collect_warnings(found, unet)),
    )
    return Checkpoint(found.path, recipe, {k: s.tensors for k, s in states.items()}, report)


def _collect_warnings(found: PathProbe, unet: _NetworkFile | None) -> list[str]:
    warnings = []
    if found.declared.axes is None:
        warnings.append(
            "the training leaves volumes as their files have them, so their axes are not known; "
            "RAS is taken. Otherwise state them, such as axes=LPS"
        )
    if unet is None:
        return warnings
    if unet.configs[0].params.get("use_flash_attention"):
        warnings.append("use_flash_attention is left out: it only chooses how to compute")
    if unet.state.where != "ema.shadow":
        warnings.append("no moving average ('ema') in the file: the weights of the last step")
    said, stated = read_scale_factor(unet.configs[0]), found.declared.scale_factor
    if stated and said and abs(stated / said - 1) > SCALE_TOLERANCE:
        warnings.append(
            f"scale_factor {stated:g} is declared, but {unet.configs[0].path.name} was trained "
            f"with {said:g} (MedLoRD's sampler takes 1 unless it is told)"
        )
    return warnings


def _build_vqvae_arguments(config: MedlordConfig) -> dict[str, Any]:
    # The rest is of training only.
    unused = ("num_channels", "use_checkpointing", "ddp_sync")
    arguments = {name: value for name, value in config.params.items() if name not in unused}
    return {**arguments, "network": "VQVAE", "channels": config.params["num_channels"]}


def _convert_unet(part: _NetworkFile) -> tuple[StateDict, dict[str, Any]]:
    """Return state and arguments under MONAI's names."""
    config = part.configs[0]
    arguments = {**config.params, "network": "MedlordUNet", "use_flash_attention": False}
    arguments["channels"] = arguments.pop("num_channels")
    if arguments.get("with_conditioning") or arguments.get("num_class_embeds"):
        raise BadInput(f"{config.path}: conditional denoisers of MedLoRD are not supported.")
    # The end is not monai-generative's, so it is kept out of the renaming.
    end = {name: tensor for name, tensor in part.state.tensors.items() if name.startswith("out.")}
    rest = {name: tensor for name, tensor in part.state.tensors.items() if name not in end}
    state, arguments = rename_denoiser(
        StateDict(rest, part.state.where, part.state.prefix), arguments
    )
    state.tensors.update(end)
    return state, arguments


def _check_network(arguments: dict[str, Any], state: StateDict, part: _NetworkFile) -> None:
    import torch

    build = build_autoencoder if arguments["network"] == "VQVAE" else build_denoiser
    with torch.device("meta"):
        network = build(arguments, part.configs[0].path)
    check_weights_fit(
        network, state.tensors, f"{part.path} with {part.configs[0].path.name}", ADVICE
    )


def _compute_decoded_shape(
    found: PathProbe, part: _NetworkFile, latent: tuple[int, ...]
) -> tuple[int, ...]:
    """Return what a latent decodes to, along X, Y, Z."""
    smaller, stated = compute_shrink_factor(part.configs[0]), found.declared.shape
    shape = to_ras_order(tuple(n * smaller for n in latent[1:]), found.declared.axes or "RAS")
    if stated is not None and stated != shape:
        raise BadInput(
            f"{part.path}: the VQ-VAE shrinks every axis by {smaller}, so a latent of {latent} "
            f"decodes to {shape} (X, Y, Z), but the stated shape is {stated}. Each axis of the "
            f"shape must be a multiple of {smaller}."
        )
    return shape


def _build_ldm_recipe(part: _NetworkFile, facts: FactCollector, **fields: Any) -> LDMRecipe:
    scheduler = read_schedule(part.configs[0], facts)
    facts.choose("weights", (f"'{part.state.where or 'bare'}'", part.path.name))
    return build_recipe(
        part.path,
        LDMRecipe,
        scheduler=scheduler,
        sampler=facts.choose("sampler", ("ddpm", DEFAULT_ORIGIN)),
        steps=facts.choose("steps", (scheduler.num_train_timesteps, "all noise levels")),
        **fields,
    )


FAMILY = Family(NAME, recognise, load)
