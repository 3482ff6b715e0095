"""What the weights of a checkpoint do not say: architecture, scheduler, scale, units."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_memscan.files import hash_of
from napari_memscan.volumes.preprocessing import Preprocessing

FORMAT = 1
"""Version of `recipe.json`; a larger number in a file means that a newer memscan wrote it."""

Shape = tuple[
    Annotated[int, Field(ge=1, le=4096)],
    Annotated[int, Field(ge=1, le=4096)],
    Annotated[int, Field(ge=1, le=4096)],
]

Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Spacing = tuple[Length, Length, Length]


class _Recipe(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits that change whenever the recipe does."""
        return hash_of(self.model_dump(mode="json"))


class SchedulerRecipe(_Recipe):
    """The noise schedule a denoiser was trained with (Ho et al. 2020, Song et al. 2021).

    Attributes
    ----------
    num_train_timesteps : int
        Number of noise levels in training.
    schedule : str
        Name of MONAI's noise schedule, such as ``scaled_linear_beta``.
    beta_start, beta_end : float
        First and last beta of a linear schedule.
    prediction_type : str
        What the network predicts: ``epsilon``, ``v_prediction`` or ``sample``.
    clip_sample : bool
        Clip the predicted clean latent to [-1, 1]; off for latents that are not bounded.
    """

    num_train_timesteps: int = Field(1000, ge=1, le=100_000)
    schedule: Literal["linear_beta", "scaled_linear_beta", "sigmoid_beta", "cosine"] = (
        "scaled_linear_beta"
    )
    beta_start: float = Field(0.0015, gt=0, lt=1)
    beta_end: float = Field(0.0195, gt=0, lt=1)
    prediction_type: Literal["epsilon", "v_prediction", "sample"] = "v_prediction"
    clip_sample: bool = False


class AutoencoderRecipe(_Recipe):
    """An autoencoder alone, as `memscan train autoencoder` makes it.

    Attributes
    ----------
    autoencoder : dict
        Arguments of ``monai.networks.nets.AutoencoderKL``.
    preprocessing : Preprocessing
        What training volumes went through; also the inverse for intensities.
    spacing : (float, float, float) or None
        Voxel size in mm of the volumes it was trained on; None when unknown.
    files : dict
        Part of the model to its weight file, inside the checkpoint's folder.
    provenance : dict
        How it was made: data, seed, steps, losses, versions. For people, not for the program.
    """

    format: int = Field(FORMAT, ge=1, le=FORMAT)
    kind: Literal["autoencoder"] = "autoencoder"
    autoencoder: dict[str, Any]
    preprocessing: Preprocessing
    spacing: Spacing | None = None
    files: dict[str, str] = {"autoencoder": "autoencoder.safetensors"}
    provenance: dict[str, Any] = {}


class LDMRecipe(_Recipe):
    """All that sampling from a latent diffusion model needs and its weights do not say.

    Attributes
    ----------
    autoencoder, denoiser : dict
        Arguments of ``monai.networks.nets.AutoencoderKL`` and ``DiffusionModelUNet``.
    latent_shape : (int, int, int, int)
        Channels, x, y, z of a latent as the denoiser sees it.
    scale_factor : float
        Latents are multiplied by it for the denoiser: 1 / std of the training latents
        (Rombach et al. 2022, appendix G).
    scheduler : SchedulerRecipe
        The noise schedule.
    sampler : str
        ``ddim`` or ``ddpm``: the default for sampling.
    steps : int
        Default number of denoising steps.
    preprocessing : Preprocessing
        What training volumes went through. A decoded volume in [0, 1] is brought back to the
        units of its intensity window where the rule is a window.
    spacing : (float, float, float) or None
        Voxel size in mm of a decoded volume; None when unknown.
    """

    format: int = Field(FORMAT, ge=1, le=FORMAT)
    kind: Literal["ldm"] = "ldm"
    autoencoder: dict[str, Any]
    denoiser: dict[str, Any]
    latent_shape: tuple[int, int, int, int]
    scale_factor: float = Field(gt=0, allow_inf_nan=False)
    scheduler: SchedulerRecipe = SchedulerRecipe()
    sampler: Literal["ddim", "ddpm"] = "ddim"
    steps: int = Field(25, ge=1, le=100_000)
    preprocessing: Preprocessing
    spacing: Spacing | None = None
    files: dict[str, str] = {
        "autoencoder": "autoencoder.safetensors",
        "denoiser": "denoiser.safetensors",
    }
    provenance: dict[str, Any] = {}

    @model_validator(mode="after")
    def _fits(self) -> LDMRecipe:
        if min(self.latent_shape) < 1:
            raise ValueError(f"latent_shape {self.latent_shape} must be positive")
        if self.steps > self.scheduler.num_train_timesteps:
            raise ValueError(
                f"steps ({self.steps}) exceed num_train_timesteps "
                f"({self.scheduler.num_train_timesteps})"
            )
        return self


class EmbedderRecipe(_Recipe):
    """A contrastive embedder (Dar et al. 2023, section 2.2).

    Attributes
    ----------
    input_shape : (int, int, int)
        Shape of the preprocessed volumes it takes, X, Y, Z.
    working_shape : (int, int, int)
        The volume is averaged down to this shape before the first convolution.
    downsample : (int, int, int)
        Powers of two: by how much the encoder shrinks each axis.
    n_hiddens : int
        Channels after the first convolution.
    dim : int
        Length of the vector.
    """

    format: int = Field(FORMAT, ge=1, le=FORMAT)
    kind: Literal["embedder"] = "embedder"
    network: Literal["contrastive"] = "contrastive"
    input_shape: Shape
    working_shape: Shape
    downsample: Shape
    n_hiddens: int = Field(16, ge=1)
    dim: int = Field(32, ge=2)
    preprocessing: Preprocessing
    files: dict[str, str] = {"embedder": "embedder.safetensors"}
    provenance: dict[str, Any] = {}


AnyRecipe = Annotated[LDMRecipe | AutoencoderRecipe | EmbedderRecipe, Field(discriminator="kind")]
