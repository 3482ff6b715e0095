"""What a training is told; every field can be set from the command line with ``--set``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from napari_memscan.checkpoints.recipe import SchedulerRecipe
from napari_memscan.errors import BadInput
from napari_memscan.training import DEFAULT_EMBEDDER


class Settings(BaseModel):
    """Settings that every training has.

    Attributes
    ----------
    steps : int
        Optimiser steps in all.
    batch : int
        Volumes in a step.
    learning_rate : float
        Peak; reached after a twentieth of the steps, then a cosine to zero.
    clip : float
        Gradients are clipped to this norm.
    validate_every : int
        Steps between two validation losses.
    save_every : int
        Steps between two saved states; a killed training goes on from the last one.
    seed : int
        Of weights, batches and noise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(1000, ge=1)
    batch: int = Field(4, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    clip: float = Field(1.0, gt=0)
    validate_every: int = Field(100, ge=1)
    save_every: int = Field(100, ge=1)
    seed: int = 1


class AutoencoderSettings(Settings):
    """Settings of ``memscan train autoencoder``.

    Attributes
    ----------
    channels : list of int
        One entry a level; each level after the first halves every axis.
    latent_channels : int
        Channels of a latent.
    kl_weight : float
        Weight of the Kullback-Leibler term beside the mean absolute error.
    """

    steps: int = Field(700, ge=1)
    batch: int = Field(2, ge=1)
    channels: tuple[int, ...] = (16, 32, 64)
    latent_channels: int = Field(3, ge=1)
    num_res_blocks: int = Field(1, ge=1)
    kl_weight: float = Field(1e-7, ge=0)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of MONAI's ``AutoencoderKL``."""
        return {
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": 1,
            "channels": list(self.channels),
            "latent_channels": self.latent_channels,
            "num_res_blocks": self.num_res_blocks,
            "norm_num_groups": 8,
            "attention_levels": [False] * len(self.channels),
            "with_encoder_nonlocal_attn": False,
            "with_decoder_nonlocal_attn": False,
        }


class DenoiserSettings(Settings):
    """Settings of ``memscan train denoiser``.

    Attributes
    ----------
    channels : list of int
        Width of each level of the U-Net; the last level has self-attention.
    ema_decay : float
        Decay of the exponential moving average of the weights; sampling uses the average.
    duplicated, times : int
        The first `duplicated` training volumes are drawn `times` as often as the others, as if
        the cohort held them that many times: the way to study what duplication does.
    sampler, sample_steps
        Defaults for sampling, written to the recipe.
    """

    steps: int = Field(3000, ge=1)
    batch: int = Field(8, ge=1)
    channels: tuple[int, ...] = (32, 64, 64)
    num_res_blocks: int = Field(1, ge=1)
    ema_decay: float = Field(0.995, ge=0, lt=1)
    duplicated: int = Field(0, ge=0)
    times: int = Field(1, ge=1)
    scheduler: SchedulerRecipe = SchedulerRecipe()
    sampler: str = "ddim"
    sample_steps: int = Field(25, ge=1)

    def arguments(self, latent_channels: int) -> dict[str, Any]:
        """Return the arguments of MONAI's ``DiffusionModelUNet``."""
        levels = len(self.channels)
        return {
            "spatial_dims": 3,
            "in_channels": latent_channels,
            "out_channels": latent_channels,
            "channels": list(self.channels),
            "num_res_blocks": self.num_res_blocks,
            "attention_levels": [False] * (levels - 1) + [True],
            "num_head_channels": [0] * (levels - 1) + [self.channels[-1]],
            "norm_num_groups": 8,
        }


class EmbedderSettings(Settings):
    """Settings of ``memscan train embedder`` (Dar et al. 2023, section 2.2).

    Attributes
    ----------
    working_shape : (int, int, int) or None
        Volumes are averaged down to it first; None takes half of each axis, rounded to what
        `downsample` divides.
    temperature : float
        Of the NT-Xent loss.
    flip_axes : tuple of int
        Axes that the augmented view flips, each with probability 0.5. The paper flips one.
    degrees : float
        The augmented view is rotated by up to this about each axis. The paper uses 5.
    blur, noise : float
        The augmented view is blurred by up to this many voxels of the working shape, and gets
        noise of up to this standard deviation (volumes span -1 to 1). The paper uses neither, and
        its embedder misses copies that a generator has blurred.
    """

    steps: int = Field(1000, ge=1)
    batch: int = Field(32, ge=2)
    learning_rate: float = Field(1e-3, gt=0)
    working_shape: tuple[int, int, int] | None = None
    downsample: tuple[int, int, int] = (4, 4, 4)
    n_hiddens: int = Field(8, ge=1)
    dim: int = Field(32, ge=2)
    temperature: float = Field(0.07, gt=0)
    flip_axes: tuple[int, ...] = (0,)
    degrees: float = Field(5.0, ge=0, le=180)
    blur: float = Field(1.2, ge=0, le=8)
    noise: float = Field(0.05, ge=0)


class StructuralSettings(Settings):
    """Settings of ``memscan train embedder --kind structural``.

    Both views of a volume are augmented, by all that leaves a copy a copy; the correlation of two
    vectors is regressed onto how alike the two volumes are (after DeepSSIM++, arXiv 2609.03615).

    Attributes
    ----------
    working_shape : (int, int, int) or None
        Volumes are averaged down to it first; None takes half of each axis, 8 to 32 voxels.
    width, stages, cells, hidden, dim, dropout
        Of the network; see `MultiScaleEncoder`.
    temperature : float
        Of the NT-Xent loss.
    regression : float
        Weight of the regression beside NT-Xent.
    flip_axes : tuple of int
        Axes that views flip, each with probability 0.5.
    degrees : float
        Views are rotated by up to this about each axis.
    shift, zoom : float
        By up to this share of an axis, and of the size.
    blur : float
        Up to this many voxels of the working shape.
    noise : float
        Up to this standard deviation; volumes span 0 to 1.
    gamma : float
        Intensities to a power between 1 over this and this.
    bias : float
        Intensities change by up to this share from the middle to either end of each axis.
    elastic : float
        Near-duplicates made in training are deformed by up to this share of each axis.
    """

    steps: int = Field(600, ge=1)
    batch: int = Field(24, ge=2)
    learning_rate: float = Field(2e-3, gt=0)
    working_shape: tuple[int, int, int] | None = None
    width: int = Field(16, ge=4)
    stages: int = Field(3, ge=1, le=8)
    cells: int = Field(4, ge=1, le=16)
    hidden: int = Field(256, ge=2)
    dim: int = Field(64, ge=2)
    dropout: float = Field(0.1, ge=0, lt=1)
    temperature: float = Field(0.1, gt=0)
    regression: float = Field(5.0, ge=0)
    flip_axes: tuple[Annotated[int, Field(ge=0, le=2)], ...] = (0, 1, 2)
    degrees: float = Field(12.0, ge=0, le=180)
    shift: float = Field(0.08, ge=0, lt=1)
    zoom: float = Field(0.08, ge=0, lt=1)
    blur: float = Field(0.8, ge=0, le=8)
    noise: float = Field(0.05, ge=0)
    gamma: float = Field(1.6, ge=1)
    bias: float = Field(0.3, ge=0, lt=1)
    elastic: float = Field(0.12, gt=0, lt=0.5)


SETTINGS: dict[str, type[Settings]] = {
    "autoencoder": AutoencoderSettings,
    "denoiser": DenoiserSettings,
    "embedder": EmbedderSettings,
}
"""Part of a model to the settings of its training."""

EMBEDDERS: dict[str, type[Settings]] = {
    "contrastive": EmbedderSettings,
    "structural": StructuralSettings,
}
"""Kind of embedder to the settings of its training."""


def settings_of(part: str, kind: str | None = None) -> type[Settings]:
    """Return the settings' class of a part of a model, and for an embedder of its kind.

    Raises
    ------
    BadInput
        No such part or kind, or a kind for what has none.
    """
    if part not in SETTINGS:
        raise BadInput(f"'{part}' cannot be trained; choose one of {', '.join(SETTINGS)}.")
    if part != "embedder":
        if kind is not None:
            raise BadInput(f"a kind is for embedders; there is one sort of {part} only.")
        return SETTINGS[part]
    if (kind := kind or DEFAULT_EMBEDDER) not in EMBEDDERS:
        raise BadInput(f"embedder kind '{kind}': choose one of {', '.join(EMBEDDERS)}.")
    return EMBEDDERS[kind]
