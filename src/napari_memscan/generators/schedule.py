"""The way back from noise to a latent, in as many steps as asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_memscan.checkpoints.networks import build_scheduler
from napari_memscan.checkpoints.recipe import FlowRecipe, SchedulerRecipe
from napari_memscan.errors import BadInput

if TYPE_CHECKING:
    from torch import Generator, Tensor


class SamplingSchedule:
    """A MONAI scheduler set to a number of steps.

    DDIM is MONAI's as it is. So is DDPM over all noise levels; over fewer, MONAI's step removes
    the noise of a single level where it should remove that of many, and what it returns is
    still mostly noise. There the variances are those between the levels that are kept
    (Nichol & Dhariwal 2021, section 4, "respacing"), which changes nothing when all are kept.

    Parameters
    ----------
    recipe : SchedulerRecipe or FlowRecipe
        The noise levels the denoiser was trained with.
    sampler : {"ddim", "ddpm", "rflow"}
        How to walk them back.
    steps : int
        In how many steps.
    cells : int
        Spatial positions of a latent: a rectified flow may spread its steps by it.

    Attributes
    ----------
    timesteps : list of int or float
        Noise levels as the denoiser knows them, largest first.

    Raises
    ------
    BadInput
        `sampler` is not known, or `steps` is not between 1 and the number of noise levels.
    """

    def __init__(
        self, recipe: SchedulerRecipe | FlowRecipe, sampler: str, steps: int, cells: int = 1
    ) -> None:
        levels = recipe.num_train_timesteps
        if not 1 <= steps <= levels:
            raise BadInput(f"steps {steps}: between 1 and {levels} fit this model.")
        self._scheduler: Any = build_scheduler(recipe, sampler)
        self._flow = isinstance(recipe, FlowRecipe)
        self._predicts, self._levels = recipe.prediction_type, levels
        if self._flow:
            self._scheduler.set_timesteps(steps, input_img_size_numel=cells)
        else:
            self._scheduler.set_timesteps(steps)
        self.timesteps: list[int] = self._scheduler.timesteps.tolist()
        self._positions = self.timesteps
        if sampler == "ddpm" and steps < levels:
            self._respace()

    def _respace(self) -> None:
        import torch

        kept = self._scheduler.alphas_cumprod[self.timesteps[::-1]]
        before = torch.cat([torch.ones(1), kept[:-1]])
        self._scheduler.alphas_cumprod = kept
        self._scheduler.alphas = kept / before
        self._scheduler.betas = 1 - self._scheduler.alphas
        self._positions = list(range(len(kept)))[::-1]

    def step(self, index: int, prediction: Tensor, latent: Tensor, random: Generator) -> Tensor:
        """Return the latent after step `index` (from 0), given the denoiser's prediction.

        Parameters
        ----------
        prediction, latent : tensor (1, C, x, y, z)
            On the CPU, so that the noise DDPM adds is the same on every device.
        random : torch.Generator
            Source of that noise.
        """
        result: Tensor
        if self._flow:
            following = self.timesteps[index + 1] if index + 1 < len(self.timesteps) else 0
            result = self._scheduler.step(prediction, self.timesteps[index], latent, following)[0]
            return result
        result = self._scheduler.step(prediction, self._positions[index], latent, generator=random)[
            0
        ]
        return result

    def level(self, index: int) -> float:
        """Return the noise level of step `index` in (0, 1]; 1 is the highest there is."""
        return min((float(self.timesteps[index]) + 1) / self._levels, 1.0)

    def noise(self, index: int) -> float:
        """Return the share of noise in the variance of the latent before step `index`."""
        signal, noise = self._parts(index)
        return noise**2 / (signal**2 + noise**2)

    def clean(self, index: int, prediction: Tensor, latent: Tensor) -> Tensor:
        """Return the latent without noise that a prediction speaks of."""
        signal, noise = self._parts(index)
        if self._predicts == "sample":
            return prediction
        if self._predicts == "velocity":
            return latent + noise * prediction
        if self._predicts == "v_prediction":
            return signal * latent - noise * prediction
        return (latent - noise * prediction) / signal

    def moved(self, index: int, prediction: Tensor, shift: Tensor) -> Tensor:
        """Return the prediction that speaks of ``clean(...) - shift`` instead."""
        signal, noise = self._parts(index)
        if self._predicts == "sample":
            return prediction - shift
        if self._predicts == "velocity":
            return prediction - shift / noise
        if self._predicts == "v_prediction":
            return prediction + shift / noise
        return prediction + shift * (signal / noise)

    def _parts(self, index: int) -> tuple[float, float]:
        """Return by what clean latent and noise are multiplied in the latent before a step."""
        if self._flow:
            noise = float(self.timesteps[index]) / self._levels
            return 1 - noise, noise
        kept = float(self._scheduler.alphas_cumprod[self._positions[index]])
        return kept**0.5, (1 - kept) ** 0.5
