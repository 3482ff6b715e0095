"""What a training is told; every field can be set from the command line with ``--set``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from napari_memscan.checkpoints.recipe import AnySchedule, FlowRecipe, SchedulerRecipe
from napari_memscan.errors import BadInput
from napari_memscan.training import DEFAULT_EMBEDDER
from napari_memscan.training.base_settings import TrainingSettings
from napari_memscan.training.embedder_settings import EmbedderSettings, StructuralSettings

__all__ = [
    "EMBEDDER_SETTINGS",
    "SETTINGS",
    "AutoencoderSettings",
    "DenoiserSettings",
    "EmbedderSettings",
    "StructuralSettings",
    "TrainingSettings",
    "get_settings_class",
]


class AutoencoderSettings(TrainingSettings):
    """Settings of ``memscan train autoencoder``.

    Attributes
    ----------
    network : {"AutoencoderKL", "VQVAE"}
        Of MONAI: latents are drawn from a normal distribution, or from a codebook.
    channels : list of int
        One entry a level. Each level after the first halves every axis; of VQVAE the first, too.
    latent_channels : int
        Channels of a latent.
    num_res_blocks : int
        Of each level.
    num_embeddings : int
        Vectors in the codebook of VQVAE.
    commitment, codebook_decay : float
        Weight of the distance of latents to their codes, and by how much of itself a code stays
        where it is in a step (van den Oord et al. 2017, appendix A.1).
    quantise_after : int
        Steps in which VQVAE learns without its codebook, whose codes follow the latents: those of
        an untrained network differ so little that a single code would take them all.
    l1_weight, kl_weight, ssim_weight, perceptual_weight : float
        Weights of the mean absolute error, the Kullback-Leibler divergence to a standard normal
        (summed over a latent; AutoencoderKL only), 1 - SSIM, and `PerceptualLoss`.
    adversarial_weight : float
        Of a patch discriminator (Rombach et al. 2022, appendix G); 0 for none.
    adversarial_start : int
        Steps before it has a say; it learns from then on.
    critic_channels, critic_layers : int
        Its width and depth.
    critic_rate : float
        Its learning rate.
    """

    later: ClassVar[frozenset[str]] = TrainingSettings.later | {
        "network",
        "num_embeddings",
        "commitment",
        "codebook_decay",
        "quantise_after",
        "l1_weight",
        "ssim_weight",
        "perceptual_weight",
        "adversarial_weight",
        "adversarial_start",
        "critic_channels",
        "critic_layers",
        "critic_rate",
    }

    steps: int = Field(700, ge=1)
    batch: int = Field(2, ge=1)
    network: Literal["AutoencoderKL", "VQVAE"] = "AutoencoderKL"
    channels: tuple[int, ...] = (16, 32, 64)
    latent_channels: int = Field(3, ge=1)
    num_res_blocks: int = Field(1, ge=1)
    num_embeddings: int = Field(512, ge=2, le=65_536)
    commitment: float = Field(0.25, gt=0)
    codebook_decay: float = Field(0.99, gt=0, lt=1)
    quantise_after: int = Field(100, ge=0)
    l1_weight: float = Field(1.0, ge=0)
    kl_weight: float = Field(1e-7, ge=0)
    ssim_weight: float = Field(0.0, ge=0)
    perceptual_weight: float = Field(0.0, ge=0)
    adversarial_weight: float = Field(0.0, ge=0)
    adversarial_start: int = Field(1000, ge=0)
    critic_channels: int = Field(32, ge=1)
    critic_layers: int = Field(3, ge=1)
    critic_rate: float = Field(3e-4, gt=0)

    @model_validator(mode="after")
    def _compares(self) -> AutoencoderSettings:
        if not (self.l1_weight or self.ssim_weight or self.perceptual_weight):
            raise ValueError("one of l1_weight, ssim_weight and perceptual_weight must not be 0")
        return self

    @property
    def halvings(self) -> int:
        """How often every axis is halved."""
        return len(self.channels) - (self.network == "AutoencoderKL")

    def latent_axes(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the axes of the latents of volumes of this shape.

        Raises
        ------
        BadInput
            They cannot be halved so often.
        """
        factor = 2**self.halvings
        if any(n % factor for n in shape):
            raise BadInput(
                f"preprocessing.shape {tuple(shape)}: an autoencoder with {len(self.channels)} "
                f"levels needs every axis to be a multiple of {factor}."
            )
        return tuple(n // factor for n in shape)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the network; see `checkpoints.networks`."""
        levels = len(self.channels)
        common = {
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": 1,
            "channels": list(self.channels),
        }
        if self.network == "VQVAE":
            return common | {
                "network": "VQVAE",
                "num_res_channels": list(self.channels),
                "num_res_layers": self.num_res_blocks,
                "downsample_parameters": [[2, 4, 1, 1]] * levels,
                "upsample_parameters": [[2, 4, 1, 1, 0]] * levels,
                "num_embeddings": self.num_embeddings,
                "embedding_dim": self.latent_channels,
                "commitment_cost": self.commitment,
                "decay": self.codebook_decay,
            }
        return common | {
            "latent_channels": self.latent_channels,
            "num_res_blocks": self.num_res_blocks,
            "norm_num_groups": 8,
            "attention_levels": [False] * levels,
            "with_encoder_nonlocal_attn": False,
            "with_decoder_nonlocal_attn": False,
        }


class DenoiserSettings(TrainingSettings):
    """Settings of ``memscan train denoiser``.

    Attributes
    ----------
    network : {"DiffusionModelUNet", "VideoUNet"}
        MONAI's U-Net, or that of Khader et al. 2023, which the paper used.
    channels : list of int
        Width of each level of the U-Net; the last level of MONAI's has self-attention.
    num_res_blocks : int
        Of each level of MONAI's.
    loss : {"l2", "l1"}
        Mean squared or mean absolute error of the prediction.
    ema_decay : float
        Decay of the exponential moving average of the weights; sampling uses the average.
    conditional : bool
        Learn volumes by their condition; MONAI's U-Net only.
    condition_dropout : float
        Share of the volumes of a step that are told no condition, so that it learns these too.
    condition_guidance : float or None
        Written to the recipe: sampling is guided by the condition; see `recipe.Conditioning`.
    duplicated, times : int
        The first `duplicated` training volumes are drawn `times` as often as the others, as if
        the cohort held them that many times: the way to study what duplication does.
    views : int
        Augmentation: so many flipped and slightly turned versions of each training volume are
        drawn as often as it is. They are made before the first step, as latents are.
    scheduler : SchedulerRecipe or FlowRecipe
        Noise levels and what is predicted: ``scheduler.prediction_type`` ``epsilon``,
        ``v_prediction`` or ``sample``; ``scheduler.schedule`` ``rectified_flow`` for a rectified
        flow.
    sampler, sample_steps
        Defaults for sampling, written to the recipe; a rectified flow has a sampler of its own.
    """

    later: ClassVar[frozenset[str]] = TrainingSettings.later | {
        "network",
        "loss",
        "conditional",
        "condition_dropout",
        "condition_guidance",
        "views",
    }

    steps: int = Field(3000, ge=1)
    batch: int = Field(8, ge=1)
    network: Literal["DiffusionModelUNet", "VideoUNet"] = "DiffusionModelUNet"
    channels: tuple[int, ...] = (32, 64, 64)
    num_res_blocks: int = Field(1, ge=1)
    loss: Literal["l2", "l1"] = "l2"
    ema_decay: float = Field(0.995, ge=0, lt=1)
    conditional: bool = False
    condition_dropout: float = Field(0.1, ge=0, lt=1)
    condition_guidance: float | None = Field(None, ge=0, allow_inf_nan=False)
    duplicated: int = Field(0, ge=0)
    times: int = Field(1, ge=1)
    views: int = Field(0, ge=0)
    scheduler: AnySchedule = SchedulerRecipe()
    sampler: Literal["ddim", "ddpm", "rflow"] = "ddim"
    sample_steps: int = Field(25, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _flow(cls, values: Any) -> Any:
        """Sample a rectified flow with its own sampler where none is named."""
        if not isinstance(values, dict) or "sampler" in values:
            return values
        schedule = values.get("scheduler")
        name = schedule.get("schedule") if isinstance(schedule, dict) else schedule
        if name == "rectified_flow" or isinstance(schedule, FlowRecipe):
            return values | {"sampler": "rflow"}
        return values

    @model_validator(mode="after")
    def _fits(self) -> DenoiserSettings:
        if isinstance(self.scheduler, FlowRecipe) != (self.sampler == "rflow"):
            raise ValueError("sampler: rflow is for the schedule rectified_flow, and only that")
        if self.sample_steps > self.scheduler.num_train_timesteps:
            raise ValueError(
                f"sample_steps {self.sample_steps}: at most scheduler.num_train_timesteps, "
                f"{self.scheduler.num_train_timesteps}"
            )
        if self.network == "VideoUNet" and any(c % self.channels[0] for c in self.channels):
            raise ValueError("channels: of VideoUNet each must be a multiple of the first")
        if self.network == "VideoUNet" and self.conditional:
            raise ValueError("conditional: VideoUNet takes no condition; take DiffusionModelUNet")
        if self.condition_guidance is not None and not self.conditional:
            raise ValueError("condition_guidance: needs conditional=true")
        if self.condition_guidance is not None and not self.condition_dropout:
            raise ValueError(
                "condition_guidance: needs condition_dropout above 0, or 'no condition', away "
                "from which it guides, is never learnt"
            )
        return self

    def check_axes(self, axes: Sequence[int]) -> None:
        """Refuse axes of latents that the levels of the U-Net cannot halve.

        Raises
        ------
        BadInput
            Says by what they must be divisible.
        """
        halved = 2 ** (len(self.channels) - 1)
        axes = tuple(axes)[self.network == "VideoUNet" :]
        if any(n % halved for n in axes):
            raise BadInput(
                f"channels: {len(self.channels)} levels halve the latents' axes {axes} to no "
                f"whole number; each must be a multiple of {halved}. Take fewer levels."
            )

    def arguments(self, latent_channels: int, classes: int = 0) -> dict[str, Any]:
        """Return the arguments of the network; see `checkpoints.networks`."""
        if self.network == "VideoUNet":
            return {
                "network": "VideoUNet",
                "dim": self.channels[0],
                "channels": latent_channels,
                "dim_mults": [c // self.channels[0] for c in self.channels],
            }
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
        } | ({"num_class_embeds": classes + 1} if classes else {})


SETTINGS: dict[str, type[TrainingSettings]] = {
    "autoencoder": AutoencoderSettings,
    "denoiser": DenoiserSettings,
    "embedder": EmbedderSettings,
}
"""Part of a model to the settings of its training."""

EMBEDDER_SETTINGS: dict[str, type[TrainingSettings]] = {
    "contrastive": EmbedderSettings,
    "structural": StructuralSettings,
}
"""Kind of embedder to the settings of its training."""


def get_settings_class(part: str, kind: str | None = None) -> type[TrainingSettings]:
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
    if (kind := kind or DEFAULT_EMBEDDER) not in EMBEDDER_SETTINGS:
        raise BadInput(f"embedder kind '{kind}': choose one of {', '.join(EMBEDDER_SETTINGS)}.")
    return EMBEDDER_SETTINGS[kind]
