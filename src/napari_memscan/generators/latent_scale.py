"""The scale factor of an LDM against the latents of its training volumes."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_memscan.checkpoints.checkpoint import Checkpoint
from napari_memscan.checkpoints.latent_model import LatentCodec
from napari_memscan.checkpoints.networks import build_autoencoder, build_with_weights
from napari_memscan.checkpoints.recipe import LDMRecipe

if TYPE_CHECKING:
    import torch

SCALE_TOLERANCE = 0.2
"""Further off than this share, a scale factor is doubted (checkpoints often lost theirs)."""


@dataclass(frozen=True)
class LatentScale:
    """What the latents of training volumes say about the scale factor.

    Attributes
    ----------
    std : float
        Standard deviation of the unscaled latents: of their means and of what is drawn about them.
    n : int
        Number of training volumes encoded.
    error : float
        Mean absolute error of decoding what was encoded, in [0, 1] intensities.
    """

    std: float
    n: int
    error: float

    @property
    def factor(self) -> float:
        """1 / std, the scale factor that makes latents of variance one (Rombach et al. 2022)."""
        return 1 / self.std

    @property
    def origin(self) -> str:
        """Where such a scale factor comes from, for the record."""
        return f"estimated: 1/std of the latents of {self.n} training volumes"

    def warning(self, recipe: LDMRecipe) -> str:
        """Return what to say of a recipe's scale factor; empty when it is near enough."""
        if recipe.scale_factor is None or not np.isfinite(self.factor):
            return ""
        if abs(recipe.scale_factor / self.factor - 1) <= SCALE_TOLERANCE:
            return ""
        return (
            f"scale factor: the model's is {recipe.scale_factor:.4g}, but 1/std of the latents of "
            f"{self.n} training volumes is {self.factor:.4g}. With a wrong one synthetic volumes "
            "are too flat or too noisy, and copies can be missed. If the model was trained with "
            f"1/std, state scale_factor={self.factor:.4g}."
        )


def measure_latent_scale(
    checkpoint: Checkpoint, volumes: Sequence[Any], device: torch.device
) -> Generator[int, None, LatentScale]:
    """Encode training volumes and return what their latents say; yields how many are done.

    Parameters
    ----------
    checkpoint : Checkpoint
        Of an LDM.
    volumes : sequence of callables
        Each returns a preprocessed volume (X, Y, Z) in [0, 1]; read one at a time.
    device : torch.device
        Where to encode.
    """
    import torch

    recipe = checkpoint.recipe
    assert isinstance(recipe, LDMRecipe)
    network = build_with_weights(
        partial(build_autoencoder, recipe.autoencoder, checkpoint.path),
        checkpoint.weights("autoencoder"),
        checkpoint.report.files["autoencoder"],
    )
    codec = LatentCodec(recipe, network.to(device).eval())
    low, high = recipe.decoded_range or (0.0, 1.0)
    count, total, squares, error = 0, 0.0, 0.0, 0.0
    for done, read in enumerate(volumes, 1):
        with torch.inference_mode():
            x = codec.prepare(read(), device)
            encoded = codec.network.encode(x)
            sigma = encoded[1] if isinstance(encoded, tuple) else None
            mean = encoded[0] if isinstance(encoded, tuple) else codec.encode_mean(x)
            total += float(mean.double().sum())
            squares += float(mean.double().square().sum())
            if sigma is not None:
                squares += float(sigma.double().square().sum())
            count += mean.numel()
            decoded = codec.decode_unscaled(mean)
            error += float((decoded - x).abs().mean()) / (high - low)
        yield done
    variance = squares / count - (total / count) ** 2
    return LatentScale(float(np.sqrt(max(variance, 0))), len(volumes), error / len(volumes))
