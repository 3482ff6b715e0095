"""Sampling that keeps away from training volumes: anti-memorisation guidance by similarity.

Chen, Liu, Xu, "Towards Memorization-Free Diffusion Models", CVPR 2024: where the volume that a
denoising step is heading for is more similar to a training volume than ``lambda_t``, the predicted
noise gets ``c3 * sqrt(1 - abar_t) * grad sigma_t`` added. Their other two parts need a condition.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_memscan.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

    from napari_memscan.generators.schedule import SamplingSchedule


LIMIT_QUANTILE = 0.95
"""Of the null: so many validation volumes are less similar to every training volume."""

MAX_STRENGTH = 100.0


@dataclass(frozen=True, eq=False)
class Guidance:
    """Moves what is predicted away from the nearest training volume, where it is too near.

    The similarity is the correlation of two latents as deviations from the mean training latent:
    patients have most of their anatomy in common, and only what sets one apart is to be avoided.

    Use `Guidance.of`.

    Attributes
    ----------
    strength : float
        From 0, which changes nothing; 1 moves by about the length of a latent where noise is all
        there is. AMG's ``c3`` is this times the number of values of a latent, so that a strength
        means the same for small and large latents.
    mean : tensor (d,)
        Of the training latents, flat.
    units : tensor (n, d)
        Deviations from it, each of length one.
    shape : (int, int, int, int)
        Of a latent.
    limit : float
        Similarity that is not too near when all noise is gone, in [-1, 1].
    key : str
        Hash of what the latents were made of.

    Raises
    ------
    BadInput
        The strength is out of range.
    """

    strength: float
    mean: Tensor
    units: Tensor
    shape: tuple[int, ...]
    limit: float
    key: str = ""

    def __post_init__(self) -> None:
        check_strength(self.strength)

    @classmethod
    def of(cls, strength: float, training: Tensor, validation: Tensor, key: str = "") -> Guidance:
        """Keep away from training volumes, as far as validation volumes are.

        Parameters
        ----------
        strength : float
            See the class.
        training, validation : tensor (n, C, x, y, z), float32
            Latents, as `LDMGenerator.encode_volume` makes them. Validation volumes are the null:
            the limit is the similarity that the share `LIMIT_QUANTILE` of them does not reach.
        key : str
            Hash of what the latents were made of.

        Raises
        ------
        BadInput
            The strength is out of range, or volumes are too few.
        """
        import torch

        if len(training) < 2 or not len(validation):
            raise BadInput("guidance: needs at least two training volumes and a validation volume.")
        mean = training.flatten(1).mean(0)
        units = _normalise_rows(training.flatten(1) - mean)
        guidance = cls(strength, mean, units, tuple(training.shape[1:]), 1.0, key)
        nearest = guidance.similarities(validation).max(1).values
        return replace(guidance, limit=round(float(torch.quantile(nearest, LIMIT_QUANTILE)), 6))

    def __str__(self) -> str:
        """Return all that a sample depends on; empty for strength 0, which changes no byte."""
        if self.strength == 0:
            return ""
        return f"{self.strength:g}:{self.limit:.6f}:{len(self.units)}:{self.key[:16]}"

    def similarities(self, latents: Tensor) -> Tensor:
        """Return similarities (m, n) of latents (m, C, x, y, z) to those of training volumes."""
        return _normalise_rows(latents.float().flatten(1) - self.mean) @ self.units.T

    def threshold(self, level: float) -> float:
        """Return lambda_t: a parabola from 1 at pure noise (level 1) to the limit at none (0).

        Early predictions are blurred, so that those of unrelated volumes are alike too.
        """
        return self.limit + (1 - self.limit) * level**2

    def shift(self, clean: Tensor, level: float, noise: float) -> Tensor | None:
        """Return what to take from a predicted clean latent; None where it is far enough.

        The gradient of the similarity is taken with respect to the predicted clean latent and
        carried to ``x_t`` as for latents that are normally distributed, of variance one as a scale
        factor makes them: the network is not run backwards. That costs nothing, works with
        networks in another process, and does not fade where a memorised latent attracts
        everything about it, as the true Jacobian does.

        Parameters
        ----------
        clean : tensor (1, C, x, y, z)
            float32, as `Schedule.clean` returns it.
        level : float
            In [0, 1]; 1 is where denoising begins.
        noise : float
            Share of noise in the variance of ``x_t``.
        """
        import torch

        own = clean.flatten(1) - self.mean
        unit = _normalise_rows(own)
        similar = (unit @ self.units.T)[0]
        nearest = int(similar.argmax())
        sigma = float(similar[nearest])
        if self.strength == 0 or not sigma > self.threshold(level):
            return None
        length = float(torch.linalg.vector_norm(own))
        gradient = (self.units[nearest] - sigma * unit[0]) / max(length, 1e-6)
        return (self.strength * own.numel() * noise * gradient).reshape(clean.shape)

    def guided(
        self, schedule: SamplingSchedule, index: int, prediction: Tensor, latent: Tensor
    ) -> Tensor:
        """Return the denoiser's prediction for one latent, moved away where it must be.

        Parameters
        ----------
        schedule : SamplingSchedule
            Knows what is predicted.
        index : int
            Step, from 0.
        prediction, latent : tensor (1, C, x, y, z)
            float32, on the CPU.
        """
        clean = schedule.clean(index, prediction, latent)
        shift = self.shift(clean, schedule.level(index), schedule.noise(index))
        return prediction if shift is None else schedule.moved(index, prediction, shift)


def _normalise_rows(rows: Tensor) -> Tensor:
    import torch

    unit: Tensor = torch.nn.functional.normalize(rows, dim=1)
    return unit


def check_strength(strength: float) -> None:
    """Refuse a strength that is no number from 0 to `MAX_STRENGTH`."""
    if not 0 <= strength <= MAX_STRENGTH:
        raise BadInput(f"guidance {strength:g}: choose a strength from 0 to {MAX_STRENGTH:g}.")
