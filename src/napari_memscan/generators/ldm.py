"""Sampling from a latent diffusion model with our own loop: every step is seen and can be the last.

MONAI's ``sample()`` runs to its end once called; its networks and schedulers are used, not it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_memscan.checkpoints.declared import Declared
from napari_memscan.checkpoints.device import choose_device
from napari_memscan.checkpoints.latent_model import LatentModel
from napari_memscan.checkpoints.loading import load
from napari_memscan.checkpoints.recipe import LDMRecipe
from napari_memscan.errors import BadInput, JobFailed
from napari_memscan.generators.interface import Sample, Step
from napari_memscan.generators.schedule import Schedule
from napari_memscan.volumes.orientation import to_ras
from napari_memscan.volumes.preprocessing import Window
from napari_memscan.volumes.volume import Volume

if TYPE_CHECKING:
    from torch import Tensor


class LDMGenerator:
    """Draws volumes from a 3D latent diffusion model.

    Parameters
    ----------
    path : path
        Of a checkpoint of any known family; see `checkpoints.loading.load`.
    device : str
        ``auto``, ``cpu``, ``cuda`` ...
    declared : Declared or mapping, optional
        What the checkpoint's files do not say.
    trust : bool
        Code that comes with the checkpoint may be run, in a process of its own.

    Attributes
    ----------
    recipe : LDMRecipe
        All that the weights do not say.
    report : LoadReport
        How the checkpoint was loaded.
    model : LatentModel
        The networks.
    recipe_hash, checkpoint_hash : str
        Written beside every sample.

    Raises
    ------
    BadInput
        Not an LDM checkpoint, or recipe and weights do not fit.
    """

    def __init__(
        self,
        path: str | Path,
        device: str = "auto",
        declared: Mapping[str, Any] | Declared | None = None,
        trust: bool = False,
    ) -> None:
        checkpoint = load(path, declared, kind="ldm")
        assert isinstance(checkpoint.recipe, LDMRecipe)
        self.path = path
        self.recipe = checkpoint.recipe
        self.report = checkpoint.report
        self.recipe_hash = self.recipe.hash
        self.checkpoint_hash = checkpoint.hash
        self.device = choose_device(device)
        self.model = LatentModel.of(checkpoint, self.device)

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
            One a sample; each fits 64 bits.
        steps : int, optional
            Denoising steps, at most as many as the recipe has noise levels; default from the
            recipe.
        sampler : {"ddim", "ddpm", "rflow"}, optional
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
            `steps` or `sampler` does not fit the recipe, or a seed does not fit 64 bits.
        JobFailed
            The decoded volume is not finite.
        """
        steps = self.recipe.steps if steps is None else steps
        schedule = Schedule(
            self.recipe.scheduler,
            sampler or self.recipe.sampler,
            steps,
            prod(self.recipe.latent_shape[1:]),
        )
        for seed in seeds:
            if not -(2**63) <= seed < 2**64:
                raise BadInput(f"seed {seed}: a seed must fit 64 bits.")
        return self._run(seeds, schedule, start)

    def _run(self, seeds: Sequence[int], schedule: Schedule, start: int) -> Iterator[Step | Sample]:
        import torch

        total = len(schedule.timesteps)
        for index, seed in enumerate(seeds, start):
            random = torch.Generator().manual_seed(seed)
            latent = torch.randn((1, *self.recipe.latent_shape), generator=random)
            latent = latent.to(self.device)
            for step in range(total):
                latent = self._denoise(latent, step, schedule, random)
                yield Step(index, step + 1, total)
            yield Sample(
                index, seed, self._decode(latent, seed), self.recipe_hash, self.checkpoint_hash
            )

    def _denoise(self, latent: Tensor, step: int, schedule: Schedule, random: Any) -> Tensor:
        import torch

        level = torch.full((1,), schedule.timesteps[step], device=self.device)
        with torch.inference_mode():
            prediction = self.model.denoise(latent, level)
            return schedule.step(step, prediction.cpu(), latent.cpu(), random).to(self.device)

    def _decode(self, latent: Tensor, seed: int) -> Volume:
        import torch

        with torch.inference_mode():
            image = self.model.decode(latent)
        data = image[0, 0].float().cpu().numpy()
        if not np.isfinite(data).all():
            raise JobFailed(
                f"seed {seed}: the generated volume holds NaN or infinity. The checkpoint may be "
                "damaged or the scale_factor in its recipe wrong."
            )
        return Volume(to_ras(self._to_units(data), self.recipe.axes), self.recipe.spacing)

    def _to_units(self, data: Any) -> Any:
        """Bring decoded values to the units of the training volumes.

        Clipped to the range the autoencoder was trained on, and a fixed intensity window is
        undone; other intensity rules have no inverse, and the volume stays in [0, 1]. Where the
        range is not known, nothing is guessed: values stay as they are decoded.
        """
        if self.recipe.decoded_range is None:
            return data
        low, high = self.recipe.decoded_range
        data = (np.clip(data, low, high) - low) / (high - low)
        intensity = self.recipe.preprocessing.intensity
        if isinstance(intensity, Window):
            data = intensity.low + data * (intensity.high - intensity.low)
        return data
