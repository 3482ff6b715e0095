"""Networks from recipes, and weights into them, strictly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.checkpoints.recipe import LDMRecipe, SchedulerRecipe
from napari_memscan.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor, nn


def build_autoencoder(arguments: Mapping[str, Any]) -> nn.Module:
    """Build MONAI's AutoencoderKL in evaluation mode; BadInput when an argument does not fit."""
    from monai.networks.nets import AutoencoderKL

    return _build(AutoencoderKL, "autoencoder", arguments)


def build_denoiser(arguments: Mapping[str, Any]) -> nn.Module:
    """Build MONAI's DiffusionModelUNet in evaluation mode; BadInput for a bad argument."""
    from monai.networks.nets import DiffusionModelUNet

    return _build(DiffusionModelUNet, "denoiser", arguments)


def build_scheduler(recipe: SchedulerRecipe, sampler: str) -> Any:
    """Build MONAI's DDIM or DDPM scheduler for a noise schedule.

    Parameters
    ----------
    recipe : SchedulerRecipe
        The schedule the denoiser was trained with.
    sampler : {"ddim", "ddpm"}
        How to walk it back.
    """
    from monai.networks.schedulers import DDIMScheduler, DDPMScheduler

    classes = {"ddim": DDIMScheduler, "ddpm": DDPMScheduler}
    if sampler not in classes:
        raise BadInput(f"sampler '{sampler}' is not known; choose ddim or ddpm.")
    betas: dict[str, float] = {}
    if recipe.schedule != "cosine":
        betas = {"beta_start": recipe.beta_start, "beta_end": recipe.beta_end}
    return classes[sampler](
        num_train_timesteps=recipe.num_train_timesteps,
        schedule=recipe.schedule,
        prediction_type=recipe.prediction_type,
        clip_sample=recipe.clip_sample,
        **betas,
    )


def _build(network: Any, what: str, arguments: Mapping[str, Any]) -> nn.Module:
    try:
        return network(**arguments).eval()
    except (
        TypeError,
        ValueError,
        RuntimeError,
        LookupError,
        ArithmeticError,
        AttributeError,
        ModuleNotFoundError,
    ) as error:
        raise BadInput(
            f"recipe.json: the arguments under '{what}' do not build a {network.__name__}: {error}"
        ) from error


def check_shapes(recipe: LDMRecipe, where: str | Path) -> None:
    """Refuse a latent shape that denoiser, autoencoder and preprocessing do not agree on.

    Both networks are run once without memory or arithmetic (PyTorch's meta device), so this
    costs next to nothing at any size and finds the error before the first step, not in it.

    Raises
    ------
    BadInput
        Says which part does not fit, with the shapes.
    """
    import torch

    shape = (1, *recipe.latent_shape)
    with torch.device("meta"), torch.inference_mode():
        denoiser: Any = build_denoiser(recipe.denoiser)
        autoencoder: Any = build_autoencoder(recipe.autoencoder)
        latent = torch.zeros(shape)
        predicted = _shape_of(denoiser, "denoiser", where, recipe, latent, torch.zeros(1))
        decode = autoencoder.decode_stage_2_outputs
        decoded = _shape_of(decode, "autoencoder", where, recipe, latent)
    if predicted != shape:
        raise BadInput(
            f"{where}: latent_shape is {recipe.latent_shape}, but the denoiser makes "
            f"{predicted[1:]} of it; its in_channels and out_channels must both be "
            f"{recipe.latent_shape[0]}."
        )
    if decoded != (1, 1, *recipe.preprocessing.shape):
        raise BadInput(
            f"{where}: a latent of latent_shape {recipe.latent_shape} decodes to {decoded[1:]}, "
            f"but preprocessing.shape asks for one channel of {recipe.preprocessing.shape}. "
            "Correct the one that is wrong."
        )


def _shape_of(
    network: Any, what: str, where: str | Path, recipe: LDMRecipe, *inputs: Tensor
) -> tuple[int, ...]:
    try:
        return tuple(network(*inputs).shape)
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise BadInput(
            f"{where}: latent_shape {recipe.latent_shape} does not fit the {what}: {error}"
        ) from error


def load_strict(module: nn.Module, state: Mapping[str, Tensor], where: str | Path) -> None:
    """Put `state` into `module`; every tensor must fit.

    Raises
    ------
    BadInput
        Names the tensors that are missing, left over or of another shape, with both shapes.
    """
    wanted = module.state_dict()
    missing = sorted(wanted.keys() - state.keys())
    unexpected = sorted(state.keys() - wanted.keys())
    shapes = [
        f"{key} is {tuple(state[key].shape)}, the recipe makes it {tuple(wanted[key].shape)}"
        for key in sorted(wanted.keys() & state.keys())
        if wanted[key].shape != state[key].shape
    ]
    problems = [f"another shape: {text}" for text in shapes]
    problems += [f"missing: {key}" for key in missing]
    problems += [f"not in the network: {key}" for key in unexpected]
    if problems:
        shown = "; ".join(problems[:5]) + ("; ..." if len(problems) > 5 else "")
        raise BadInput(
            f"{where}: recipe and weights do not fit ({len(problems)} tensors): {shown}. "
            "Use the recipe that belongs to these weights."
        )
    module.load_state_dict(dict(state), strict=True)
