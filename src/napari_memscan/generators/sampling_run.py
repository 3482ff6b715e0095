"""Drawing samples by a loop of our own: every step is seen and can be the last.

MONAI's ``sample()`` runs to its end once called; its networks and schedulers are used, not it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_memscan.errors import Hint, HintKind, JobFailed, is_out_of_memory
from napari_memscan.generators import decoding
from napari_memscan.generators import runtime as machine
from napari_memscan.generators.sample import DenoisingStep, GeneratedSample, SamplingSettings
from napari_memscan.volumes.orientation import to_ras
from napari_memscan.volumes.preprocessing import Window
from napari_memscan.volumes.volume import Volume

if TYPE_CHECKING:
    from torch import Tensor

    from napari_memscan.generators.guidance import Guidance
    from napari_memscan.generators.interface import VolumeGenerator
    from napari_memscan.generators.schedule import SamplingSchedule


class SamplingRun:
    """Draws samples of one model, by one schedule and in one way.

    Parameters
    ----------
    generator : VolumeGenerator
    schedule : SamplingSchedule
    settings : SamplingSettings
        How to compute.
    guidance : Guidance, optional
        Away from training volumes.
    """

    def __init__(
        self,
        generator: VolumeGenerator,
        schedule: SamplingSchedule,
        settings: SamplingSettings,
        guidance: Guidance | None = None,
    ) -> None:
        self._generator, self._schedule = generator, schedule
        self._settings, self._guidance = settings, guidance
        self._model, self._recipe = generator.model, generator.recipe
        self._device = generator.device

    def run(
        self, seeds: Sequence[int], conditions: Sequence[str], start: int
    ) -> Iterator[DenoisingStep | GeneratedSample]:
        """Yield each denoising step of a batch, then its samples; see `LDMGenerator.generate`."""
        import torch

        settings, generator = self._settings, self._generator
        total = len(self._schedule.timesteps)
        for first in range(0, len(seeds), settings.batch):
            own = seeds[first : first + settings.batch]
            full = [*own, *[own[-1]] * (settings.batch - len(own))]
            told = conditions[first : first + len(own)]
            labels = self._labels([*told, *[told[-1]] * (settings.batch - len(own))])
            randoms = [torch.Generator().manual_seed(seed) for seed in full]
            noise = [torch.randn((1, *self._recipe.latent_shape), generator=r) for r in randoms]
            latent = torch.cat(noise).to(self._device)
            for step in range(total):
                with self._computing():
                    latent = self._denoise(latent, labels, step, randoms)
                yield DenoisingStep(start + first, step + 1, total)
            for place, seed in enumerate(own):
                with self._computing():
                    volume = self._decode(latent[place : place + 1], seed)
                made = (generator.recipe_hash, generator.checkpoint_hash, str(settings))
                yield GeneratedSample(start + first + place, seed, volume, *made, told[place])

    def _labels(self, conditions: Sequence[str]) -> Tensor | None:
        import torch

        told = self._recipe.conditioning
        if told is None or not told.classes:
            return None
        return torch.tensor([told.label(name) for name in conditions], device=self._device)

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Have all as the settings say, for one step: between two, others may compute as well."""
        import torch

        self._generator.arrange_weights(self._settings.memory)
        try:
            with machine.use_threads(self._settings.threads), torch.inference_mode():
                yield
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise JobFailed(
                    f"{self._device}: memory does not suffice with {self._settings}. "
                    "What was finished is kept.",
                    Hint(HintKind.SAVE_MEMORY),
                ) from error
            raise

    def _denoise(
        self, latent: Tensor, labels: Tensor | None, step: int, randoms: Sequence[Any]
    ) -> Tensor:
        import torch

        schedule, settings = self._schedule, self._settings
        level = torch.full((len(latent),), schedule.timesteps[step], device=self._device)
        with machine.use_precision(settings.precision, self._device):
            arranged = machine.to_memory_format(latent, settings.memory)
            prediction = self._model.denoise(arranged, level, labels)
        prediction, latent = prediction.float().cpu(), latent.cpu()
        latents = []
        # One by one: each draws from the noise of its own seed.
        for i, random in enumerate(randoms):
            own, before = prediction[i : i + 1], latent[i : i + 1]
            if self._guidance is not None:
                own = self._guidance.guided(schedule, step, own, before)
            latents.append(schedule.step(step, own, before, random))
        return torch.cat(latents).to(self._device)

    def _decode(self, latent: Tensor, seed: int) -> Volume:
        settings = self._settings
        with machine.use_precision(settings.precision, self._device):
            latent = machine.to_memory_format(latent, settings.memory)
            image = decoding.decode_latent(self._model, latent, settings.decode)
        data = image[0, 0].float().cpu().contiguous().numpy()
        if not np.isfinite(data).all():
            raise JobFailed(
                f"seed {seed}: the generated volume holds NaN or infinity. The checkpoint may be "
                "damaged or the scale_factor in its recipe wrong."
            )
        return Volume(to_ras(self._to_units(data), self._recipe.axes), self._recipe.spacing)

    def _to_units(self, data: Any) -> Any:
        """Bring decoded values to the units of the training volumes.

        Clipped to the range the autoencoder was trained on, and a fixed intensity window is
        undone; other intensity rules have no inverse, and the volume stays in [0, 1]. Where the
        range is not known, nothing is guessed: values stay as they are decoded.
        """
        if self._recipe.decoded_range is None:
            return data
        low, high = self._recipe.decoded_range
        data = (np.clip(data, low, high) - low) / (high - low)
        intensity = self._recipe.preprocessing.intensity
        if isinstance(intensity, Window):
            data = intensity.low + data * (intensity.high - intensity.low)
        return data
