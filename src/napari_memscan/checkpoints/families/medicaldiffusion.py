"""Checkpoints of medicaldiffusion (Khader et al. 2023), read into networks of our own.

That project has no licence: only the layout of its files, and names and shapes of its tensors,
are used here. A diffusion file holds the whole model; what it does not hold is by how much each
axis is shrunk (all kernels are alike, only the strides differ) and how large a latent is.
"""

from __future__ import annotations

import re
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
from napari_memscan.checkpoints.families.vqgan_sizes import VQGANSettings, VQGANSizes
from napari_memscan.checkpoints.networks import build_autoencoder, build_denoiser, check_weights_fit
from napari_memscan.checkpoints.probe import PathProbe
from napari_memscan.checkpoints.recipe import AutoencoderRecipe, LDMRecipe, SchedulerRecipe
from napari_memscan.checkpoints.recipe_fields import CheckpointKind
from napari_memscan.checkpoints.state_dicts import StateDict, sort_states
from napari_memscan.errors import BadInput
from napari_memscan.volumes.preprocessing import MinMax, Preprocessing

NAME = "medicaldiffusion"
TITLE = "medicaldiffusion (Khader et al. 2023)"
DEFAULT_ORIGIN = "the family's default"
TRAINING_PREFIXES = ("image_discriminator.", "video_discriminator.", "perceptual_model.")
"""What only the training of the VQ-GAN needs."""
SCHEDULE_NAMES = (
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
)
UNVERIFIED_WARNING = (
    "the networks were written from descriptions of medicaldiffusion, and no published weights "
    "were compared: look at a few samples before you trust the numbers"
)
ADVICE = "Use the file as the training wrote it; conditional and changed networks are not known."


@dataclass(frozen=True)
class _ModelFile:
    """One diffusion state, which holds the VQ-GAN too, or a VQ-GAN alone."""

    path: Path
    state: StateDict
    whole: bool
    others: tuple[str, ...] = ()

    @property
    def vqgan(self) -> StateDict:
        state = self.state.below("vqgan.") if self.whole else self.state
        return state.without([name for name in state.tensors if name.startswith(TRAINING_PREFIXES)])

    @property
    def unet(self) -> StateDict:
        return self.state.below("denoise_fn.")

    @property
    def channels(self) -> int:
        """Channels of a code."""
        return self.vqgan.shape("codebook.embeddings")[-1]

    @property
    def largest(self) -> int:
        """The largest factor by which an axis is shrunk: every block halves at least one."""
        return int(2 ** len(_list_numbers(self.vqgan, "encoder.conv_blocks")))


def _find_model(found: PathProbe) -> _ModelFile | None:
    """Return the diffusion file if there is one, else the VQ-GAN."""
    models = []
    for path in found.weight_files:
        try:
            model = _read_model(path, found)
        except BadInput:
            continue  # whoever knows the file says so
        if model is not None:
            models.append(model)
    models = [m for m in models if m.whole] or models
    if not models:
        return None
    first = models[0]
    return _ModelFile(first.path, first.state, first.whole, tuple(m.path.name for m in models))


def _read_model(path: Path, found: PathProbe) -> _ModelFile | None:
    for state in sort_states(found.states(path), "ema", "model"):
        for whole, prefix in ((True, "vqgan."), (False, "")):
            codes = state.shape(f"{prefix}codebook.embeddings")
            names = [f"{prefix}encoder.conv_first.conv.weight", f"{prefix}codebook.z_avg"]
            names += ["denoise_fn.init_conv.weight", "betas"] if whole else []
            if len(codes) == 2 and state.has(*names):
                return _ModelFile(path, state, whole)
    return None


def _list_numbers(state: StateDict, name: str) -> list[int]:
    pattern = re.compile(rf"{re.escape(name)}\.(\d{{1,3}})\.")
    return sorted({int(m[1]) for m in map(pattern.match, state.tensors) if m})


def _infer_vqgan_arguments(model: _ModelFile) -> dict[str, Any]:
    """Return all arguments that shapes tell: all but `downsample`."""
    first = model.vqgan.shape("encoder.conv_first.conv.weight")
    codes = model.vqgan.shape("codebook.embeddings")
    if len(first) != 5 or len(codes) != 2 or first[1] != 1 or model.largest < 2:
        raise BadInput(
            f"{model.path}: the VQ-GAN's first convolution is {first}, its codes {codes}, its "
            f"blocks shrink by {model.largest}; one channel in 3D and at least a block are needed."
        )
    return {
        "network": "VQGAN3D",
        "n_hiddens": first[0],
        "image_channels": first[1],
        "n_codes": codes[0],
        "embedding_dim": codes[1],
    }


def _infer_unet_arguments(model: _ModelFile) -> dict[str, Any]:
    unet = model.unet
    first = unet.shape("init_conv.weight")
    bias = unet.shape("time_rel_pos_bias.relative_attention_bias.weight")
    widths = [unet.shape(f"downs.{i}.0.block1.proj.weight") for i in _list_numbers(unet, "downs")]
    if len(first) != 5 or len(bias) != 2 or not widths or () in widths:
        raise BadInput(
            f"{model.path}: 'denoise_fn' is not medicaldiffusion's video U-Net (first convolution "
            f"{first}, {len(widths)} stages); its other denoisers are not supported."
        )
    return {
        "network": "VideoUNet",
        "dim": first[0],
        "channels": first[1],
        "dim_mults": [width[0] // first[0] for width in widths],
        "heads": bias[1],
    }


def _read_vqgan_settings(found: PathProbe, model: _ModelFile) -> VQGANSettings:
    """Read them from the VQ-GAN's own checkpoint: the declared one, or one that lies beside."""
    stated = found.declared.autoencoder
    if not model.whole:
        paths = [model.path]
    elif stated is not None:
        paths = [found.partner(stated, "autoencoder")]
    else:
        paths = sorted(model.path.parent.glob("*.ckpt"))
    for path in paths:
        try:
            if stated is None:
                found.inside(path)
            other = _read_model(path, found)
            if other is None or other.whole or not _has_same_codes(model, other):
                raise BadInput(
                    f"{path}: not the VQ-GAN that {model.path.name} holds (other codes). Name the "
                    "checkpoint it was trained with, or leave it out."
                )
        except BadInput:
            if stated is not None:
                raise
            continue
        return VQGANSettings.of(found.open(path).content, path.name)
    return VQGANSettings()


def _has_same_codes(one: _ModelFile, other: _ModelFile) -> bool:
    import torch

    a, b = (m.vqgan.tensors["codebook.embeddings"] for m in (one, other))
    return a.shape == b.shape and torch.allclose(a.float(), b.float(), rtol=1e-3, atol=1e-5)


def recognise(found: PathProbe) -> FamilyCandidate | None:
    """Recognise a diffusion file by its denoiser beside a VQ-GAN, a VQ-GAN by its codes."""
    model = _find_model(found)
    if model is None:
        return None
    facts = FactCollector(found)
    if model.whole:
        reason = f"'{model.state.where}' in {model.path.name} holds denoise_fn, vqgan and betas"
    else:
        reason = f"{model.path.name} holds codes, encoder and decoder of the 3D VQ-GAN"
    if len(model.others) > 1:
        several = f"which file: there are {', '.join(model.others[:5])}; name one"
        facts.missing.append(MissingFact("", several))
    VQGANSizes.gather(
        found, facts, _read_vqgan_settings(found, model), model.channels, model.largest
    )
    kind: CheckpointKind = "ldm" if model.whole else "autoencoder"
    return FamilyCandidate(NAME, TITLE, kind, 0.98, (reason,), tuple(facts.missing))


def load(found: PathProbe) -> Checkpoint:
    """Read a diffusion file as a whole LDM, or a VQ-GAN as an autoencoder."""
    model = _find_model(found)
    if model is None:
        raise BadInput(f"{found.path}: not a checkpoint of {TITLE}.")
    if len(model.others) > 1:
        raise BadInput(
            f"{found.path}: holds several models ({', '.join(model.others[:5])}). Name one of the "
            "files: how much a model memorises changes from one to the next."
        )
    facts = FactCollector(found)
    arguments = {"autoencoder": _infer_vqgan_arguments(model)}
    states = {"autoencoder": model.vqgan}
    halved = 1
    if model.whole:
        arguments["denoiser"] = _infer_unet_arguments(model)
        states["denoiser"] = model.unet
        halved = 2 ** (len(arguments["denoiser"]["dim_mults"]) - 1)
    sizes = VQGANSizes.gather(
        found, facts, _read_vqgan_settings(found, model), model.channels, model.largest
    )
    facts.check()
    shape = sizes.shape(model.path, found.declared.shape, model.channels, model.largest, halved)
    arguments["autoencoder"]["downsample"] = list(sizes.downsample or ())
    _check_names(model, arguments, states)

    intensity = facts.choose("intensity", (MinMax(), DEFAULT_ORIGIN))
    common = {
        **arguments,
        "axes": sizes.axes,
        "decoded_range": facts.choose("decoded_range", ((-1.0, 1.0), DEFAULT_ORIGIN)),
        "spacing": facts.choose("spacing"),
        "preprocessing": build_recipe(model.path, Preprocessing, shape=shape, intensity=intensity),
        "provenance": {"family": NAME},
    }
    warnings = [UNVERIFIED_WARNING]
    recipe: LDMRecipe | AutoencoderRecipe
    if model.whole:
        recipe = _build_ldm_recipe(model, facts, latent_shape=sizes.latent, **common)
        if model.state.where != "ema":
            warnings.append("no 'ema' in the file: the weights of the last step are used")
    else:
        recipe = build_recipe(model.path, AutoencoderRecipe, **common)
    report = LoadReport(
        NAME,
        TITLE,
        dict.fromkeys(states, model.path),
        states,
        found.open(model.path).foreign,
        tuple(facts.facts),
        tuple(warnings),
    )
    return Checkpoint(found.path, recipe, {k: s.tensors for k, s in states.items()}, report)


def _check_names(
    model: _ModelFile, arguments: dict[str, Any], states: dict[str, StateDict]
) -> None:
    import torch

    with torch.device("meta"):
        networks = [build_autoencoder(arguments["autoencoder"], model.path)]
        networks += [build_denoiser(arguments["denoiser"], model.path)] if model.whole else []
    for network, state in zip(networks, states.values(), strict=True):
        check_weights_fit(network, state.tensors, model.path, ADVICE)
    strange = [
        name
        for name in model.state.tensors
        if model.whole
        and not name.startswith(("denoise_fn.", "vqgan."))
        and name not in SCHEDULE_NAMES
    ]
    if strange:
        names = ", ".join(strange[:3])
        raise BadInput(f"{model.path}: holds {names}, which is not known. {ADVICE}")


def _build_ldm_recipe(model: _ModelFile, facts: FactCollector, **fields: Any) -> LDMRecipe:
    betas = tuple(model.state.tensors["betas"].double().tolist())
    facts.choose("weights", (f"'{model.state.where}'", "the checkpoint"))
    facts.choose("noise levels", (len(betas), "the checkpoint"))
    scheduler = build_recipe(
        model.path,
        SchedulerRecipe,
        num_train_timesteps=len(betas),
        schedule="cosine",
        betas=betas,
        clip_sample=True,
        prediction_type=facts.choose("prediction_type", ("epsilon", DEFAULT_ORIGIN)),
    )
    return build_recipe(
        model.path,
        LDMRecipe,
        latent_scaling="codebook",
        scheduler=scheduler,
        sampler=facts.choose("sampler", ("ddpm", DEFAULT_ORIGIN)),
        steps=facts.choose("steps", (len(betas), "all noise levels")),
        **fields,
    )


FAMILY = Family(NAME, recognise, load)
