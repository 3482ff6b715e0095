"""A volume as a model's autoencoder gives it back: the best copy that the model can make."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_memscan.errors import JobFailed
from napari_memscan.generators.decoding import parse_window
from napari_memscan.volumes.orientation import to_ras

if TYPE_CHECKING:
    from napari_memscan.generators.ldm import LDMGenerator
    from napari_memscan.typing import Array


def reconstruct_volume(generator: LDMGenerator, volume: Array, decode: str = "whole") -> Array:
    """Encode a volume and decode it again.

    Whatever the denoiser has learnt by heart, it comes out through the decoder: a perfect copy of a
    patient in latent space looks like this, softer than the patient.

    Parameters
    ----------
    generator : LDMGenerator
        Whose autoencoder; the mean of the latent is taken, nothing is drawn.
    volume : array (X, Y, Z), float32
        In [0, 1], RAS, of the recipe's preprocessing.
    decode : str
        ``whole``, or windows as `decoding.parse_window` reads them.

    Returns
    -------
    array (X, Y, Z), float32
        In [0, 1].

    Raises
    ------
    JobFailed
        The autoencoder returned NaN or infinity.
    """
    import torch

    recipe, model = generator.recipe, generator.model
    low, high = recipe.decoded_range or (0.0, 1.0)
    window = parse_window(decode)
    with torch.inference_mode():
        latent = model.encode_mean(model.codec.prepare(volume, generator.device))
        if window is None:
            out = model.codec.decode_unscaled(latent)
        else:
            from monai.inferers import sliding_window_inference

            roi, overlap = window
            out = sliding_window_inference(
                latent, roi, 1, model.codec.decode_unscaled, overlap=overlap, mode="gaussian"
            )
        values = out.float().cpu().numpy()[0, 0]
    if not np.isfinite(values).all():
        raise JobFailed(
            f"{generator.path}: its autoencoder made NaN or infinity of a training volume. The "
            "checkpoint may be damaged."
        )
    values = to_ras(values, recipe.axes)
    result: Array = np.clip((values - low) / (high - low), 0, 1).astype(np.float32)
    return result
