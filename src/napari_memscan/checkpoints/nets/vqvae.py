"""MONAI's VQVAE, quantising large latents in little memory."""

from __future__ import annotations

from monai.networks import nets
from torch import Tensor

from napari_memscan.checkpoints.nets.vqgan3d import find_nearest_codes


class VQVAE(nets.VQVAE):
    """MONAI's network with the same weights and results; for inference only.

    MONAI computes the distance of every latent vector to every code at once, and a row of zeros
    with a one for each: for MedLoRD's 64 x 64 x 32 latents and 16,384 codes over 30 GB.
    """

    def quantize(self, encodings: Tensor) -> tuple[Tensor, Tensor]:
        """Return the nearest codes of (N, C, X, Y, Z), and a training loss of 0."""
        codes = self.get_parameter("quantizer.quantizer.embedding.weight")
        return find_nearest_codes(encodings, codes), encodings.new_zeros(())
