"""What is fitted: one small class for each part of a model, driven by `training.run`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from napari_memscan.checkpoints.loading import load_weights
from napari_memscan.checkpoints.native import read_recipe
from napari_memscan.checkpoints.networks import (
    build_autoencoder,
    build_denoiser,
    build_scheduler,
    load_strict,
)
from napari_memscan.checkpoints.recipe import AutoencoderRecipe, EmbedderRecipe, LDMRecipe, Recipe
from napari_memscan.embedders.encoder import ContrastiveEncoder, scale_to_unit, shrink
from napari_memscan.errors import BadInput
from napari_memscan.training.settings import (
    AutoencoderSettings,
    DenoiserSettings,
    EmbedderSettings,
)
from napari_memscan.training.views import augmented, degraded, nt_xent
from napari_memscan.volumes.preprocessing import Preprocessing

Arrays = dict[str, NDArray[np.float32]]


class Task(Protocol):
    """One part of a model being fitted.

    Attributes
    ----------
    network : nn.Module
        What the optimiser changes.
    data : dict of str to tensor
        ``training`` and ``validation``, one row an example.
    weights : tensor (n_training,)
        How often each training example is drawn, relative to the others.
    """

    network: nn.Module
    data: dict[str, Tensor]
    weights: Tensor

    def loss(self, network: nn.Module, batch: Tensor, random: torch.Generator) -> Tensor:
        """Return the loss of a batch; all randomness comes from `random` (a CPU generator)."""
        ...

    def result(self, state: dict[str, Tensor], provenance: dict[str, Any]) -> tuple[Recipe, Any]:
        """Return recipe and weights to save, given the network's (averaged) state."""
        ...


def _with_channel(arrays: Arrays) -> dict[str, Tensor]:
    return {k: torch.from_numpy(np.ascontiguousarray(v))[:, None] for k, v in arrays.items()}


class AutoencoderTask(Task):
    """Reconstruct volumes through a small latent: L1 + KL (Rombach et al. 2022, section 3.1)."""

    def __init__(
        self,
        arrays: Arrays,
        settings: AutoencoderSettings,
        preprocessing: Preprocessing,
        spacing: tuple[float, float, float] | None,
    ) -> None:
        self.arguments = settings.arguments()
        factor = 2 ** (len(settings.channels) - 1)
        if any(n % factor for n in preprocessing.shape):
            raise BadInput(
                f"preprocessing.shape {preprocessing.shape}: an autoencoder with "
                f"{len(settings.channels)} levels needs every axis to be a multiple of {factor}."
            )
        self.settings, self.preprocessing, self.spacing = settings, preprocessing, spacing
        self.network = build_autoencoder(self.arguments)
        self.data = _with_channel(arrays)
        self.weights = torch.ones(len(self.data["training"]))

    def loss(self, network: nn.Module, batch: Tensor, random: torch.Generator) -> Tensor:
        """Mean absolute error + weighted KL divergence to a standard normal."""
        mu, sigma = network.encode(batch)  # type: ignore[operator]
        noise = torch.randn(mu.shape, generator=random).to(mu)
        output = network.decode(mu + sigma * noise)  # type: ignore[operator]
        kl = 0.5 * (mu**2 + sigma**2 - torch.log(sigma**2 + 1e-12) - 1)
        kl = kl.flatten(1).sum(1).mean()
        return functional.l1_loss(output, batch) + self.settings.kl_weight * kl

    def result(self, state: dict[str, Tensor], provenance: dict[str, Any]) -> tuple[Recipe, Any]:
        """Return an autoencoder checkpoint."""
        recipe = AutoencoderRecipe(
            autoencoder=self.arguments,
            preprocessing=self.preprocessing,
            spacing=self.spacing,
            provenance=provenance,
        )
        return recipe, {"autoencoder": state}


class DenoiserTask(Task):
    """Predict noise or velocity in the latents of a trained autoencoder (Ho et al. 2020)."""

    def __init__(
        self, arrays: Arrays, settings: DenoiserSettings, autoencoder: Path, device: torch.device
    ) -> None:
        recipe = read_recipe(autoencoder)
        if not isinstance(recipe, AutoencoderRecipe | LDMRecipe):
            raise BadInput(f"{autoencoder}: the denoiser needs a trained autoencoder here.")
        plain = recipe.autoencoder.get("network", "AutoencoderKL") == "AutoencoderKL"
        if not plain or recipe.axes != "RAS" or recipe.decoded_range != (0.0, 1.0):
            raise BadInput(
                f"{autoencoder}: a denoiser is trained on MONAI's AutoencoderKL with axes RAS and "
                "intensities in 0 to 1 only; this autoencoder is of another sort."
            )
        if tuple(arrays["training"].shape[1:]) != recipe.preprocessing.shape:
            raise BadInput(
                f"{autoencoder}: made for volumes {recipe.preprocessing.shape}, but the study's "
                f"are {arrays['training'].shape[1:]}. Train the autoencoder on this study first."
            )
        self.settings, self.base = settings, recipe
        self.autoencoder_state = load_weights(autoencoder, "autoencoder")
        network = build_autoencoder(recipe.autoencoder)
        load_strict(network, self.autoencoder_state, autoencoder)
        latents = {k: _encode(network.to(device), v) for k, v in _with_channel(arrays).items()}
        self.scale_factor = float(1 / latents["training"].std())
        self.data = {k: v * self.scale_factor for k, v in latents.items()}
        self.arguments = settings.arguments(latents["training"].shape[1])
        self.network = build_denoiser(self.arguments)
        self.scheduler = build_scheduler(settings.scheduler, "ddpm")
        self.weights = torch.ones(len(latents["training"]))
        self.weights[: settings.duplicated] = settings.times

    def loss(self, network: nn.Module, batch: Tensor, random: torch.Generator) -> Tensor:
        """Mean squared error of the prediction at random noise levels."""
        noise = torch.randn(batch.shape, generator=random).to(batch)
        levels = self.settings.scheduler.num_train_timesteps
        t = torch.randint(levels, (len(batch),), generator=random).to(batch.device)
        noisy = self.scheduler.add_noise(batch, noise, t)
        kind = self.settings.scheduler.prediction_type
        if kind == "v_prediction":
            target = self.scheduler.get_velocity(batch, noise, t)
        else:
            target = noise if kind == "epsilon" else batch
        return functional.mse_loss(network(noisy, t), target)

    def result(self, state: dict[str, Tensor], provenance: dict[str, Any]) -> tuple[Recipe, Any]:
        """Return a whole LDM: the autoencoder it was trained on, and the denoiser."""
        c, x, y, z = self.data["training"].shape[1:]
        recipe = LDMRecipe.model_validate(
            {
                "autoencoder": self.base.autoencoder,
                "denoiser": self.arguments,
                "latent_shape": (c, x, y, z),
                "scale_factor": self.scale_factor,
                "scheduler": self.settings.scheduler,
                "sampler": self.settings.sampler,
                "steps": self.settings.sample_steps,
                "preprocessing": self.base.preprocessing,
                "spacing": self.base.spacing,
                "provenance": {"denoiser": provenance, "autoencoder": self.base.provenance},
            }
        )
        return recipe, {"autoencoder": self.autoencoder_state, "denoiser": state}


@torch.inference_mode()
def _encode(network: Any, volumes: Tensor) -> Tensor:
    """Encode one volume at a time to the mean of its latent distribution, which is no sample."""
    device = next(network.parameters()).device
    return torch.cat([network.encode(v[None].to(device))[0].cpu() for v in volumes]).clone()


class EmbedderTask(Task):
    """Pull two views of a volume together, push others away (Dar et al. 2023, section 2.2)."""

    def __init__(
        self, arrays: Arrays, settings: EmbedderSettings, preprocessing: Preprocessing
    ) -> None:
        d = settings.downsample
        x, y, z = preprocessing.shape
        working = settings.working_shape or (
            max(d[0], x // 2 // d[0] * d[0]),
            max(d[1], y // 2 // d[1] * d[1]),
            max(d[2], z // 2 // d[2] * d[2]),
        )
        try:
            self.network = ContrastiveEncoder(settings.n_hiddens, d, working, settings.dim)
        except ValueError as error:
            raise BadInput(f"embedder settings: {error}.") from error
        self.settings, self.preprocessing, self.working = settings, preprocessing, working
        self.data = {k: shrink(scale_to_unit(v), working) for k, v in _with_channel(arrays).items()}
        self.weights = torch.ones(len(self.data["training"]))

    def loss(self, network: nn.Module, batch: Tensor, random: torch.Generator) -> Tensor:
        """NT-Xent between each volume and an augmented view of it."""
        chosen = self.settings
        view = augmented(batch, random, chosen.flip_axes, chosen.degrees)
        view = degraded(view, random, chosen.blur, chosen.noise)
        return nt_xent(network(view), network(batch), chosen.temperature)

    def result(self, state: dict[str, Tensor], provenance: dict[str, Any]) -> tuple[Recipe, Any]:
        """Return an embedder checkpoint."""
        recipe = EmbedderRecipe(
            input_shape=self.preprocessing.shape,
            working_shape=self.working,
            downsample=self.settings.downsample,
            n_hiddens=self.settings.n_hiddens,
            dim=self.settings.dim,
            preprocessing=self.preprocessing,
            provenance=provenance,
        )
        return recipe, {"embedder": state}
