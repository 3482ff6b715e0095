"""Sampling from a latent diffusion model with our own loop: every step is seen and can be the last.

MONAI's ``sample()`` runs to its end once called; its networks and schedulers are used, not it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_memscan.checkpoints.device import choose_device
from napari_memscan.checkpoints.native import checkpoint_hash, load_weights, read_recipe
from napari_memscan.checkpoints.networks import (
    build_autoencoder,
    build_denoiser,
    build_scheduler,
    load_strict,
)
from napari_memscan.checkpoints.recipe import LDMRecipe
from napari_memscan.errors import BadInput, JobFailed
from napari_memscan.generators.interface import Sample, Step
from napari_memscan.volumes.preprocessing import Window
from napari_memscan.volumes.volume import Volume

if TYPE_CHECKING:
    from torch import Tensor


class LDMGenerator:
    """Draws volumes from a 3D latent diffusion model.

    Parameters
    ----------
    folder : path
        Of the checkpoint: recipe.json and weights.
    device : str
        ``auto``, ``cpu``, ``cuda`` ...

    Attributes
    ----------
    recipe : LDMRecipe
        All that the weights do not say.
    recipe_hash, checkpoint_hash : str
        Written beside every sample.

    Raises
    ------
    BadInput
        Not an LDM checkpoint, or recipe and weights do not fit.
    """

    def __init__(self, folder: str | Path, device: str = "auto") -> None:
        recipe = read_recipe(folder, "ldm")
        assert isinstance(recipe, LDMRecipe)
        self.recipe = recipe
        self.recipe_hash = recipe.hash
        self.checkpoint_hash = checkpoint_hash(folder)
        self.device = choose_device(device)
        self._autoencoder: Any = build_autoencoder(recipe.autoencoder)
        self._denoiser: Any = build_denoiser(recipe.denoiser)
        load_strict(self._autoencoder, load_weights(folder, "autoencoder"), folder)
        load_strict(self._denoiser, load_weights(folder, "denoiser"), folder)
        channels = recipe.denoiser.get("in_channels")
        if channels != recipe.latent_shape[0]:
            raise BadInput(
                f"{folder}/recipe.json: latent_shape {recipe.latent_shape} has "
                f"{recipe.latent_shape[0]} channels, the denoiser takes {channels}."
            )
        for network in (self._autoencoder, self._denoiser):
            network.to(self.device).eval()

    def generate(
        self,
        seeds: Sequence[int],
        *,
        steps: int | None = None,
        sampler: str | None = None,
        start: int = 0,
    ) -> Iterator[Step | Sample]:
        """Draw one volume for each seed.

        Each sample is denoised on its own, all its noise drawn from its own seed on the CPU.
        Convolutions round differently at other batch sizes; so the same seed gives the same
        bytes whatever is drawn before, after or beside it.

        Parameters
        ----------
        seeds : sequence of int
            One a sample.
        steps : int, optional
            Denoising steps; default from the recipe.
        sampler : {"ddim", "ddpm"}, optional
            Default from the recipe.
        start : int
            Index of the first sample.

        Yields
        ------
        Step
            After each denoising step; not asking on stops there.
        Sample
            After decoding.

        Raises
        ------
        BadInput
            `steps` or `sampler` does not fit the recipe.
        JobFailed
            The decoded volume is not finite.
        """
        steps = self.recipe.steps if steps is None else steps
        levels = self.recipe.scheduler.num_train_timesteps
        if not 1 <= steps <= levels:
            raise BadInput(f"steps {steps}: between 1 and {levels} fit this model.")
        scheduler = build_scheduler(self.recipe.scheduler, sampler or self.recipe.sampler)
        scheduler.set_timesteps(steps)
        return self._run(seeds, scheduler, start)

    def _run(self, seeds: Sequence[int], scheduler: Any, start: int) -> Iterator[Step | Sample]:
        import torch

        total = len(scheduler.timesteps)
        for index, seed in enumerate(seeds, start):
            random = torch.Generator().manual_seed(seed)
            latent = torch.randn((1, *self.recipe.latent_shape), generator=random)
            latent = latent.to(self.device)
            for step, t in enumerate(scheduler.timesteps, 1):
                latent = self._denoise(latent, t, scheduler, random)
                yield Step(index, step, total)
            yield Sample(
                index, seed, self._decode(latent, seed), self.recipe_hash, self.checkpoint_hash
            )

    def _denoise(self, latent: Tensor, t: Tensor, scheduler: Any, random: Any) -> Tensor:
        import torch

        with torch.inference_mode():
            prediction = self._denoiser(latent, torch.full((1,), int(t), device=self.device))
            # On the CPU: noise that the scheduler adds then is the same on every device.
            result: Tensor = scheduler.step(prediction.cpu(), t, latent.cpu(), generator=random)[0]
            return result.to(self.device)

    def _decode(self, latent: Tensor, seed: int) -> Volume:
        import torch

        with torch.inference_mode():
            image = self._autoencoder.decode_stage_2_outputs(latent / self.recipe.scale_factor)
        if image.ndim != 5 or image.shape[1] != 1:
            raise BadInput(
                f"the autoencoder gives shape {tuple(image.shape)}; one 3D channel is expected."
            )
        data = image[0, 0].float().cpu().numpy()
        if not np.isfinite(data).all():
            raise JobFailed(
                f"seed {seed}: the generated volume holds NaN or infinity. The checkpoint may be "
                "damaged or the scale_factor in its recipe wrong."
            )
        return Volume(self._to_units(np.clip(data, 0, 1)), self.recipe.spacing)

    def _to_units(self, data: Any) -> Any:
        """Undo a fixed intensity window; other rules have no inverse and stay in [0, 1]."""
        intensity = self.recipe.preprocessing.intensity
        if isinstance(intensity, Window):
            data = intensity.low + data * (intensity.high - intensity.low)
        return np.ascontiguousarray(data, dtype=np.float32)
