"""Fits a denoiser in the latents of a trained autoencoder."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle, islice
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from napari_memscan.checkpoints.latent_model import LatentCodec, LatentModel
from napari_memscan.checkpoints.loading import load_weights
from napari_memscan.checkpoints.native_format import read_recipe
from napari_memscan.checkpoints.networks import (
    build_autoencoder,
    build_denoiser,
    build_scheduler,
    load_strict,
)
from napari_memscan.checkpoints.recipe import (
    AutoencoderRecipe,
    Conditioning,
    FlowRecipe,
    LDMRecipe,
    Recipe,
)
from napari_memscan.errors import BadInput
from napari_memscan.training.augmentation_views import add_views
from napari_memscan.training.conditions import Conditions, drop_labels, learn_conditioning
from napari_memscan.training.settings import DenoiserSettings
from napari_memscan.training.tasks import Pictures, TrainingTask, add_channel
from napari_memscan.typing import Split, SplitArrays

SUPPORTED_AUTOENCODERS = ("AutoencoderKL", "VQVAE")
"""Autoencoders whose latents a denoiser is trained on here."""


class DenoiserTask(TrainingTask):
    """Predict noise or velocity in latents.

    Noise levels: Ho et al. 2020. Velocity: Salimans & Ho 2022. Rectified flow: Liu et al. 2022,
    with the levels of MONAI's scheduler. Latents are computed once, before the first step.
    """

    def __init__(
        self,
        arrays: SplitArrays,
        settings: DenoiserSettings,
        autoencoder: Path,
        device: torch.device,
        conditions: Conditions | None = None,
    ) -> None:
        recipe = read_recipe(autoencoder)
        if not isinstance(recipe, AutoencoderRecipe | LDMRecipe):
            raise BadInput(f"{autoencoder}: the denoiser needs a trained autoencoder here.")
        plain = recipe.autoencoder.get("network", "AutoencoderKL") in SUPPORTED_AUTOENCODERS
        if not plain or recipe.axes != "RAS" or recipe.decoded_range != (0.0, 1.0):
            raise BadInput(
                f"{autoencoder}: a denoiser is trained on MONAI's"
                f" {' or '.join(SUPPORTED_AUTOENCODERS)} with axes RAS and intensities in 0 to 1"
                " only; this autoencoder is of another sort."
            )
        shape = arrays[Split.TRAINING].shape[1:]
        if shape != recipe.preprocessing.shape:
            raise BadInput(
                f"{autoencoder}: made for volumes {recipe.preprocessing.shape}, but the study's "
                f"are {shape}. Train the autoencoder on this study first."
            )
        self.settings, self.base = settings, recipe
        self.weights = torch.ones(len(arrays[Split.TRAINING]))
        self.weights[: settings.duplicated] = settings.times
        self.conditioning: Conditioning | None = None
        if settings.conditional:
            self.conditioning = learn_conditioning(
                conditions, self.weights, settings.condition_guidance
            )
        told = self.conditioning or Conditioning()
        self.autoencoder_state = load_weights(autoencoder, "autoencoder")
        network = build_autoencoder(recipe.autoencoder)
        load_strict(network, self.autoencoder_state, autoencoder)
        self._codec = LatentCodec(
            _get_autoencoder_recipe(recipe), network.to(device).requires_grad_(False)
        )
        volumes: dict[Split, Iterable[Tensor]] = dict(add_channel(arrays))
        if settings.views:
            # Each volume is followed by its versions, which have its weight and its condition.
            volumes[Split.TRAINING] = add_views(
                volumes[Split.TRAINING], settings.views, settings.seed
            )
            self.weights = self.weights.repeat_interleave(1 + settings.views)
        latents = {k: self._encoded(v, device) for k, v in volumes.items()}
        network.cpu()  # Only pictures need it again.
        self.scale_factor = float(1 / latents[Split.TRAINING].std())
        self.shape = tuple(latents[Split.TRAINING].shape[1:])
        settings.check_axes(self.shape[1:])
        scaled = {k: v * self.scale_factor for k, v in latents.items()}
        self.data = dict(scaled)
        if settings.conditional and conditions is not None:
            for split, own in scaled.items():
                labels = torch.tensor([told.label(name) for name in conditions[split]])
                labels = labels.repeat_interleave(len(own) // len(labels))
                self.data[split] = TensorDataset(own, labels)
        self.arguments = settings.arguments(self.shape[0], len(told.classes))
        self.network = build_denoiser(self.arguments)
        self.scheduler = build_scheduler(settings.scheduler, settings.sampler)

    @torch.inference_mode()
    def _encoded(self, volumes: Iterable[Tensor], device: torch.device) -> Tensor:
        """Encode one volume at a time to the mean of its distribution, which is no sample."""
        found = [self._codec.encode_mean(v[None].to(device)).cpu() for v in volumes]
        return torch.cat(found).clone()

    def loss(self, network: nn.Module, batch: Any, random: torch.Generator) -> Tensor:
        """Return the error of the prediction at random noise levels.

        A batch is latents, for a conditional denoiser with their class labels.
        """
        told: dict[str, Tensor] = {}
        if self.conditioning is not None:
            batch, labels = batch
            share = self.settings.condition_dropout if network.training else 0.0
            told["class_labels"] = drop_labels(labels, share, random)
        noise = torch.randn(batch.shape, generator=random).to(batch)
        t = self._levels(batch, random)
        noisy = self.scheduler.add_noise(batch, noise, t)
        kind = self.settings.scheduler.prediction_type
        if kind == "velocity":
            target = batch - noise
        elif kind == "v_prediction":
            target = self.scheduler.get_velocity(batch, noise, t)
        else:
            target = noise if kind == "epsilon" else batch
        error = functional.l1_loss if self.settings.loss == "l1" else functional.mse_loss
        return error(network(noisy, t, **told), target)

    def _levels(self, batch: Tensor, random: torch.Generator) -> Tensor:
        recipe = self.settings.scheduler
        levels = recipe.num_train_timesteps
        if not isinstance(recipe, FlowRecipe):
            return torch.randint(levels, (len(batch),), generator=random).to(batch.device)
        # As RFlowScheduler.sample_timesteps, but from a generator.
        t = torch.rand(len(batch), generator=random) * levels
        if recipe.use_discrete_timesteps:
            t = t.long()
        if recipe.use_timestep_transform:
            from monai.networks.schedulers.rectified_flow import timestep_transform

            cells = batch.shape[2:].numel()
            t = timestep_transform(t, cells, recipe.base_img_size_numel, 1.0, levels)
        return t.to(batch.device)

    @torch.no_grad()
    def pictures(self, network: nn.Module, n: int) -> Pictures:
        """Sample volumes as the recipe says, always from the same noise; conditions take turns."""
        from napari_memscan.generators.schedule import SamplingSchedule

        device = next(network.parameters()).device
        recipe = self._recipe({})
        model = LatentModel(recipe, self._codec.network, network)
        told = recipe.conditioning or Conditioning()
        names = list(islice(cycle(told.classes or ("",)), n))
        labels = torch.tensor([told.label(name) for name in names], device=device)
        schedule = SamplingSchedule(
            recipe.scheduler, recipe.sampler, recipe.steps, prod(self.shape[1:])
        )
        random = torch.Generator().manual_seed(0)
        latent = torch.randn((n, *self.shape), generator=random)
        for step, level in enumerate(schedule.timesteps):
            levels = torch.full((n,), level, device=device)
            prediction = model.denoise(latent.to(device), levels, labels).float().cpu()
            latent = schedule.step(step, prediction, latent, random)
        self._codec.network.to(device)
        made = torch.cat([model.decode(one[None].to(device)).float().cpu() for one in latent])
        self._codec.network.cpu()
        volumes = made[:, 0].clamp(0, 1).numpy()
        return {
            f"sampled {name}".strip(): volumes[[own == name for own in names]]
            for name in dict.fromkeys(names)
        }

    def result(self, state: dict[str, Tensor], provenance: dict[str, Any]) -> tuple[Recipe, Any]:
        """Return a whole LDM: the autoencoder it was trained on, and the denoiser."""
        recipe = self._recipe({"denoiser": provenance, "autoencoder": self.base.provenance})
        return recipe, {"autoencoder": self.autoencoder_state, "denoiser": state}

    def _recipe(self, provenance: dict[str, Any]) -> LDMRecipe:
        return LDMRecipe.model_validate(
            {
                "autoencoder": self.base.autoencoder,
                "denoiser": self.arguments,
                "latent_shape": self.shape,
                "scale_factor": self.scale_factor,
                "scheduler": self.settings.scheduler,
                "sampler": self.settings.sampler,
                "steps": self.settings.sample_steps,
                "conditioning": self.conditioning,
                "preprocessing": self.base.preprocessing,
                "spacing": self.base.spacing,
                "provenance": provenance,
            }
        )


def _get_autoencoder_recipe(recipe: AutoencoderRecipe | LDMRecipe) -> AutoencoderRecipe:
    """Return the recipe of the autoencoder alone, whose latents are not scaled."""
    if isinstance(recipe, AutoencoderRecipe):
        return recipe
    return AutoencoderRecipe(autoencoder=recipe.autoencoder, preprocessing=recipe.preprocessing)
