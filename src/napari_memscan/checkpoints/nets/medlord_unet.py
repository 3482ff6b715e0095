"""The denoiser of MedLoRD: MONAI's U-Net without the activation before its last convolution."""

from __future__ import annotations

from typing import Any

from monai.networks.nets import DiffusionModelUNet
from torch import nn


class MedlordUNet(DiffusionModelUNet):
    """Predicts noise or velocity of latents (N, C, x, y, z).

    MedLoRD (Cardio-AI/medlord, Apache-2.0) copied monai-generative's U-Net and took out the
    activation between the last normalisation and the last convolution. The weights would fit
    MONAI's network under other names and give something else there.

    Parameters
    ----------
    **arguments
        Of ``monai.networks.nets.DiffusionModelUNet``.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        norm, _, convolution = self.get_submodule("out").children()
        self.out = nn.Sequential(norm, convolution)
