"""Networks from recipes, and weights into them, strictly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.checkpoints.recipe import FlowRecipe, SchedulerRecipe
from napari_memscan.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor, nn

BUILD_ERRORS = (
    TypeError,
    ValueError,
    RuntimeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    ImportError,
)
"""What a network raises whose arguments make no sense."""

AUTOENCODERS = {
    "AutoencoderKL": "monai.networks.nets",
    "VQVAE": "napari_memscan.checkpoints.nets.vqvae",
    "AutoencoderKlMaisi": "monai.apps.generation.maisi.networks.autoencoderkl_maisi",
    "VQGAN3D": "napari_memscan.checkpoints.nets.vqgan3d",
}
DENOISERS = {
    "DiffusionModelUNet": "monai.networks.nets",
    "DiffusionModelUNetMaisi": "monai.apps.generation.maisi.networks.diffusion_model_unet_maisi",
    "MedlordUNet": "napari_memscan.checkpoints.nets.medlord_unet",
    "VideoUNet": "napari_memscan.checkpoints.nets.video_unet",
}


def build_autoencoder(arguments: Mapping[str, Any], where: str | Path = "recipe.json") -> nn.Module:
    """Build an autoencoder in evaluation mode.

    Parameters
    ----------
    arguments : dict
        Of the network; ``network`` names it, by default MONAI's AutoencoderKL.
    where : path
        What names them, for messages.

    Raises
    ------
    BadInput
        The network is not known, or an argument does not fit.
    """
    return _build_network(AUTOENCODERS, "AutoencoderKL", "autoencoder", arguments, where)


def build_denoiser(arguments: Mapping[str, Any], where: str | Path = "recipe.json") -> nn.Module:
    """Build a denoiser in evaluation mode; by default MONAI's DiffusionModelUNet."""
    return _build_network(DENOISERS, "DiffusionModelUNet", "denoiser", arguments, where)


def build_scheduler(recipe: SchedulerRecipe | FlowRecipe, sampler: str) -> Any:
    """Build MONAI's DDIM, DDPM or rectified flow scheduler for a noise schedule.

    Parameters
    ----------
    recipe : SchedulerRecipe or FlowRecipe
        The schedule the denoiser was trained with.
    sampler : {"ddim", "ddpm", "rflow"}
        How to walk it back.

    Raises
    ------
    BadInput
        The sampler is not known, or does not go with the schedule.
    """
    from monai.networks.schedulers import DDIMScheduler, DDPMScheduler, RFlowScheduler

    if sampler not in ("ddim", "ddpm", "rflow"):
        raise BadInput(f"sampler '{sampler}' is not known; choose ddim, ddpm or rflow.")
    if isinstance(recipe, FlowRecipe) != (sampler == "rflow"):
        fitting = "rflow" if isinstance(recipe, FlowRecipe) else "ddim or ddpm"
        raise BadInput(f"sampler '{sampler}' does not go with this model; choose {fitting}.")
    if isinstance(recipe, FlowRecipe):
        return RFlowScheduler(**recipe.model_dump(exclude={"schedule"}))
    betas: dict[str, float] = {}
    if recipe.schedule != "cosine":
        betas = {"beta_start": recipe.beta_start, "beta_end": recipe.beta_end}
    extra = {}
    if sampler == "ddim":
        extra = {"steps_offset": recipe.steps_offset, "set_alpha_to_one": recipe.set_alpha_to_one}
    scheduler = (DDIMScheduler if sampler == "ddim" else DDPMScheduler)(
        num_train_timesteps=recipe.num_train_timesteps,
        schedule=recipe.schedule,
        prediction_type=recipe.prediction_type,
        clip_sample=recipe.clip_sample,
        **extra,
        **betas,
    )
    if recipe.betas is not None:
        _set_betas(scheduler, recipe)
    return scheduler


def _set_betas(scheduler: Any, recipe: SchedulerRecipe) -> None:
    import torch

    # In double precision: the last beta of a cosine is 0.9999, and 1 - beta what matters.
    betas = torch.tensor(recipe.betas, dtype=torch.float64)
    scheduler.betas = betas.float()
    scheduler.alphas = (1 - betas).float()
    scheduler.alphas_cumprod = torch.cumprod(1 - betas, dim=0).float()
    if hasattr(scheduler, "final_alpha_cumprod") and not recipe.set_alpha_to_one:
        scheduler.final_alpha_cumprod = scheduler.alphas_cumprod[0]


def _build_network(
    known: Mapping[str, str],
    default: str,
    what: str,
    arguments: Mapping[str, Any],
    where: str | Path,
) -> nn.Module:
    arguments = dict(arguments)
    _check_numbers(arguments, what, where)
    name = str(arguments.pop("network", default))
    if name not in known:
        raise BadInput(
            f"{where}: network '{name[:60]}' under '{what}' is not known; known are "
            f"{', '.join(known)}."
        )
    network = getattr(import_module(known[name]), name)
    try:
        return network(**arguments).eval()
    except BUILD_ERRORS as error:
        raise BadInput(
            f"{where}: the arguments under '{what}' do not build a {name}: {str(error)[:300]}"
        ) from error


MOST_LEVELS, MOST_BLOCKS, MOST_CHANNELS = 16, 64, 65_536
"""Far above what any 3D network has; below what would keep a computer building for hours."""


def _check_numbers(value: Any, what: str, where: str | Path, name: str = "") -> None:
    """Refuse lists and numbers that no network of this sort has, before anything is built."""
    items: Any = ()
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = ((name, item) for item in value)
    wrong = ""
    if isinstance(value, list | tuple) and len(value) > MOST_LEVELS:
        wrong = f"a list of {len(value):,}"
    elif isinstance(value, int) and not isinstance(value, bool):
        most = MOST_BLOCKS if any(t in name for t in ("block", "layer", "depth")) else MOST_CHANNELS
        wrong = f"{value:.3g}" if abs(value) > most else ""
    if wrong:
        raise BadInput(f"{where}: '{name}' under '{what}' is {wrong}; no such network is built.")
    for key, item in items:
        _check_numbers(item, what, where, str(key))


def load_strict(module: nn.Module, state: Mapping[str, Tensor], where: str | Path) -> None:
    """Put `state` into `module`; every tensor must fit.

    Raises
    ------
    BadInput
        As `check_weights_fit`.
    """
    check_weights_fit(module, state, where)
    module.load_state_dict(dict(state), strict=True)


def build_with_weights(
    build: Callable[[], nn.Module], state: Mapping[str, Tensor], where: str | Path
) -> nn.Module:
    """Build a network and put `state` into it, compared on PyTorch's meta device first.

    A recipe may ask for more memory than there is; so nothing is allocated before it is known
    that the weights are of that size.

    Parameters
    ----------
    build : callable
        Returns the network.
    state : dict of str to tensor
        All its tensors.
    where : path
        Of the weights, for messages.

    Raises
    ------
    BadInput
        The recipe's numbers do not build a network, or names the tensors that do not fit.
    """
    import torch

    try:
        with torch.device("meta"):
            sketch = build()
    except (ValueError, RuntimeError, TypeError, OverflowError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise BadInput(f"{where}/recipe.json: {reason}.") from error
    check_weights_fit(sketch, state, where)
    network = build()
    load_strict(network, state, where)
    return network


def check_weights_fit(
    module: nn.Module,
    state: Mapping[str, Tensor],
    where: str | Path,
    advice: str = "Use the recipe that belongs to these weights.",
) -> None:
    """Compare names and shapes of `state` with those of `module`, which may be on the meta device.

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
            f"{where}: recipe and weights do not fit ({len(problems)} tensors): {shown}. {advice}"
        )
