"""Fits an autoencoder: volumes through a small latent and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_memscan.checkpoints.networks import build_autoencoder
from napari_memscan.checkpoints.recipe import AutoencoderRecipe, Recipe
from napari_memscan.errors import BadInput
from napari_memscan.training.perceptual_loss import PerceptualLoss
from napari_memscan.training.settings import AutoencoderSettings
from napari_memscan.training.tasks import Pictures, TrainingTask, add_channel
from napari_memscan.typing import Split, SplitArrays
from napari_memscan.volumes.preprocessing import Preprocessing

SSIM_WINDOW = 7
"""Edge of the window of SSIM, in voxels."""

RARE_CODE_SHARE = 0.1
"""A code used less often than this share of what is fair is put elsewhere."""


class AutoencoderTask(TrainingTask):
    """Reconstruct volumes; for the terms of the loss see `AutoencoderSettings`.

    KL: Rombach et al. 2022, section 3.1. VQ: van den Oord et al. 2017, the codebook follows the
    latents by a moving average. Patch discriminator: hinge loss, as in Esser et al. 2021.
    """

    def __init__(
        self,
        arrays: SplitArrays,
        settings: AutoencoderSettings,
        preprocessing: Preprocessing,
        spacing: tuple[float, float, float] | None,
    ) -> None:
        self.arguments = settings.arguments()
        settings.latent_axes(preprocessing.shape)
        if settings.ssim_weight and min(preprocessing.shape) < SSIM_WINDOW:
            raise BadInput(
                f"preprocessing.shape {preprocessing.shape}: ssim_weight needs every axis to have "
                f"{SSIM_WINDOW} voxels."
            )
        self.settings, self.preprocessing, self.spacing = settings, preprocessing, spacing
        self.data = add_channel(arrays)
        self.weights = torch.ones(len(self.data[Split.TRAINING]))
        self.quantised = settings.network == "VQVAE"
        self.network = _build_vqvae(self.arguments) if self.quantised else self._built()
        self.perceptual = PerceptualLoss() if settings.perceptual_weight else None
        self._ssim = _build_ssim_loss() if settings.ssim_weight else None
        if settings.adversarial_weight:
            self.discriminator = self._build_discriminator()
        self._last: tuple[Tensor, Tensor] | None = None

    def _built(self) -> nn.Module:
        return build_autoencoder(self.arguments)

    def _build_discriminator(self) -> nn.Module:
        from monai.networks.nets import PatchDiscriminator

        chosen = self.settings
        shortest = min(self.preprocessing.shape)
        most = max(0, (shortest // 3).bit_length() - 1)  # Patches of 3 voxels must be left.
        if chosen.critic_layers > most:
            raise BadInput(
                f"critic_layers {chosen.critic_layers}: the discriminator halves volumes so often "
                f"that nothing is left of {shortest} voxels; at most {most} fit."
            )
        # Instances, not batches: two volumes are too few for statistics of a batch.
        return PatchDiscriminator(
            spatial_dims=3,
            channels=chosen.critic_channels,
            in_channels=1,
            out_channels=1,
            num_layers_d=chosen.critic_layers,
            norm="INSTANCE",
        )

    @torch.no_grad()
    def _place_codes(
        self, network: nn.Module, latent: Tensor, random: torch.Generator, all_of_them: bool
    ) -> None:
        """Put codes that are hardly used where latents are (Dhariwal et al. 2020, section 3)."""
        vectors = latent.movedim(1, -1).flatten(0, -2).float()
        quantizer: Any = network.get_submodule("quantizer.quantizer")
        weight, used = quantizer.embedding.weight, quantizer.ema_cluster_size
        fair = len(vectors) / len(weight)
        rows = torch.randint(len(vectors), (len(weight),), generator=random).to(latent.device)
        chosen = vectors[rows]
        if torch.distributed.is_initialized():
            torch.distributed.broadcast(chosen, 0)  # One codebook for all processes.
        moved = (
            torch.ones_like(used, dtype=torch.bool)
            if all_of_them
            else used < RARE_CODE_SHARE * fair
        )
        weight.copy_(torch.where(moved[:, None], chosen, weight))
        quantizer.ema_w.copy_(torch.where(moved[:, None], chosen * fair, quantizer.ema_w))
        used.copy_(torch.where(moved, fair, used))

    def loss(self, network: nn.Module, batch: Tensor, random: torch.Generator) -> Tensor:
        """Return the weighted sum of all terms but that of the discriminator."""
        chosen, net = self.settings, network
        if self.quantised:
            latent = net.encode(batch)  # type: ignore[operator]
            early = net.training and self.step < chosen.quantise_after
            if net.training:
                self._place_codes(net, latent.detach(), random, all_of_them=early)
            codes, term = net.quantize(latent)  # type: ignore[operator]
            if early:  # Nor may latents be drawn to codes: all would end at one.
                codes, term = latent, term * 0
            output = net.decode(codes)  # type: ignore[operator]
        else:
            mu, sigma = net.encode(batch)  # type: ignore[operator]
            noise = torch.randn(mu.shape, generator=random).to(mu)
            output = net.decode(mu + sigma * noise)  # type: ignore[operator]
            kl = 0.5 * (mu**2 + sigma**2 - torch.log(sigma**2 + 1e-12) - 1)
            term = chosen.kl_weight * kl.flatten(1).sum(1).mean()
        self._last = (output, batch)
        total: Tensor = chosen.l1_weight * functional.l1_loss(output, batch) + term
        if self._ssim is not None:
            total = total + chosen.ssim_weight * self._ssim(output, batch)
        if self.perceptual is not None:
            total = total + chosen.perceptual_weight * self.perceptual(output, batch)
        return total

    def generator_loss(self) -> Tensor:
        """Return minus what the discriminator says of the last reconstructions, weighted."""
        assert self._last is not None
        assert self.discriminator is not None
        self.discriminator.requires_grad_(False)
        said = self.discriminator(self._last[0])[-1]
        self.discriminator.requires_grad_(True)
        return -self.settings.adversarial_weight * said.mean()

    def discriminator_loss(self, discriminator: nn.Module) -> Tensor:
        """Hinge loss: real volumes above 1, reconstructions below -1."""
        assert self._last is not None
        output, batch = self._last
        # Both in one run: the same weights may not be run twice between two synchronisations.
        said = discriminator(torch.cat([batch, output.detach()]))[-1]
        real, made = said.chunk(2)
        return 0.5 * (functional.relu(1 - real).mean() + functional.relu(1 + made).mean())

    @torch.no_grad()
    def pictures(self, network: nn.Module, n: int) -> Pictures:
        """Return validation volumes, and what comes back of them."""
        net: Any = network
        volumes = self.data[Split.VALIDATION][:n].to(next(network.parameters()).device)
        if self.quantised:
            made = [net(v[None])[0] for v in volumes]
        else:
            made = [net.decode(net.encode(v[None])[0]) for v in volumes]
        both = {"validation volumes": volumes, "reconstructed": torch.cat(made)}
        return {name: value[:, 0].float().cpu().numpy() for name, value in both.items()}

    def result(self, state: dict[str, Tensor], provenance: dict[str, Any]) -> tuple[Recipe, Any]:
        """Return an autoencoder checkpoint."""
        recipe = AutoencoderRecipe(
            autoencoder=self.arguments,
            preprocessing=self.preprocessing,
            spacing=self.spacing,
            provenance=provenance,
        )
        return recipe, {"autoencoder": state}


def _build_vqvae(arguments: dict[str, Any]) -> nn.Module:
    """Build MONAI's own network: that of `checkpoints.nets` does not learn its codes."""
    from monai.networks.nets import VQVAE

    build_autoencoder(arguments)  # Says in words which argument does not fit.
    return VQVAE(**{k: v for k, v in arguments.items() if k != "network"})


def _build_ssim_loss() -> Any:
    from monai.losses.ssim_loss import SSIMLoss

    return SSIMLoss(spatial_dims=3, data_range=1.0, win_size=SSIM_WINDOW)
