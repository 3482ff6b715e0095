"""What the weights of a checkpoint do not say: architecture, scheduler, scale, units."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from napari_memscan.checkpoints.conditioning import Conditioning
from napari_memscan.checkpoints.embedder_recipes import (
    AnyEmbedderRecipe,
    BackboneRecipe,
    ContrastiveRecipe,
    SlicesRecipe,
    StructuralRecipe,
    TrustedRecipe,
)
from napari_memscan.checkpoints.recipe_fields import (
    FORMAT,
    Axes,
    CheckpointKind,
    CropStart,
    FiniteNumber,
    ModelRecipe,
    RecipePart,
    Regions,
    Shape,
    VoxelSize,
    format_shape,
)
from napari_memscan.volumes.preprocessing import Preprocessing

__all__ = [
    "FORMAT",
    "AnyEmbedderRecipe",
    "AnyRecipe",
    "AutoencoderRecipe",
    "Axes",
    "BackboneRecipe",
    "Conditioning",
    "ContrastiveRecipe",
    "FiniteNumber",
    "FlowRecipe",
    "LDMRecipe",
    "Recipe",
    "Regions",
    "SchedulerRecipe",
    "Shape",
    "SlicesRecipe",
    "StructuralRecipe",
    "TrustedRecipe",
    "VoxelSize",
]


class SchedulerRecipe(RecipePart):
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
    steps_offset, set_alpha_to_one
        Of MONAI's DDIM scheduler.
    betas : tuple of float or None
        The schedule itself, where the checkpoint holds it; goes before the formula.
    """

    _later: ClassVar[frozenset[str]] = frozenset({"steps_offset", "set_alpha_to_one", "betas"})

    num_train_timesteps: int = Field(1000, ge=1, le=100_000)
    schedule: Literal["linear_beta", "scaled_linear_beta", "sigmoid_beta", "cosine"] = (
        "scaled_linear_beta"
    )
    beta_start: float = Field(0.0015, gt=0, lt=1)
    beta_end: float = Field(0.0195, gt=0, lt=1)
    prediction_type: Literal["epsilon", "v_prediction", "sample"] = "v_prediction"
    clip_sample: bool = False
    steps_offset: int = Field(0, ge=0, le=1000)
    set_alpha_to_one: bool = True
    betas: tuple[Annotated[float, Field(ge=0, le=1)], ...] | None = None

    @model_validator(mode="after")
    def _lengths(self) -> SchedulerRecipe:
        if self.betas is not None and len(self.betas) != self.num_train_timesteps:
            raise ValueError(
                f"betas are {len(self.betas)}, num_train_timesteps {self.num_train_timesteps}; "
                "one for each is needed"
            )
        return self


class FlowRecipe(RecipePart):
    """A rectified flow (Liu et al. 2022), as MONAI's ``RFlowScheduler`` walks it.

    Attributes
    ----------
    num_train_timesteps : int
        Number of levels in training.
    use_discrete_timesteps, use_timestep_transform, base_img_size_numel
        Of MONAI's scheduler: how the levels are spread over the steps for a latent of this size.
    """

    schedule: Literal["rectified_flow"] = "rectified_flow"
    num_train_timesteps: int = Field(1000, ge=1, le=100_000)
    use_discrete_timesteps: bool = True
    use_timestep_transform: bool = False
    base_img_size_numel: int = Field(32 * 32 * 32, ge=1)

    @property
    def prediction_type(self) -> str:
        """A rectified flow always predicts the velocity."""
        return "velocity"


def _get_schedule_tag(value: Any) -> str:
    schedule = value.get("schedule") if isinstance(value, dict) else getattr(value, "schedule", "")
    return "flow" if schedule == "rectified_flow" else "noise"


AnySchedule = Annotated[
    Annotated[SchedulerRecipe, Tag("noise")] | Annotated[FlowRecipe, Tag("flow")],
    Discriminator(_get_schedule_tag),
]


class AutoencoderRecipe(ModelRecipe):
    """An autoencoder alone, as `memscan train autoencoder` makes it.

    Attributes
    ----------
    autoencoder : dict
        Arguments of ``monai.networks.nets.AutoencoderKL``.
    preprocessing : Preprocessing
        What training volumes went through; also the inverse for intensities.
    spacing : (float, float, float) or None
        Voxel size in mm of the volumes it was trained on; None when unknown.
    decoded_range, axes
        See `LDMRecipe`: what the network takes and gives.
    files : dict
        Part of the model to its weight file, inside the checkpoint's folder.
    provenance : dict
        How it was made: data, seed, steps, losses, versions. For people, not for the program.
    """

    use: ClassVar[CheckpointKind] = "autoencoder"
    _later: ClassVar[frozenset[str]] = frozenset({"decoded_range", "axes"})

    format: int = Field(FORMAT, ge=1, le=FORMAT)
    kind: Literal["autoencoder"] = "autoencoder"
    autoencoder: dict[str, Any]
    preprocessing: Preprocessing
    spacing: VoxelSize | None = None
    decoded_range: tuple[FiniteNumber, FiniteNumber] | None = (0.0, 1.0)
    axes: Axes = "RAS"
    files: dict[str, str] = Field({"autoencoder": "autoencoder.safetensors"})
    provenance: dict[str, Any] = Field({})

    def summarise(self) -> str:
        """Say in one line what the model is."""
        shape = format_shape(self.preprocessing.shape)
        return f"autoencoder alone: volumes {shape}; not an LDM yet"


class LDMRecipe(ModelRecipe):
    """All that sampling from a latent diffusion model needs and its weights do not say.

    Attributes
    ----------
    autoencoder, denoiser : dict
        Arguments of the networks; ``network`` names another one than ``AutoencoderKL`` and
        ``DiffusionModelUNet`` of MONAI (see `checkpoints.networks`).
    latent_shape : (int, int, int, int)
        Channels and three axes of a latent as the denoiser makes it.
    latent_scaling : {"factor", "codebook"}
        How latents are scaled for the denoiser: by a factor, or so that the smallest and largest
        value of the codebook become -1 and 1 (Khader et al. 2023).
    scale_factor : float or None
        Latents are multiplied by it for the denoiser: 1 / std of the training latents
        (Rombach et al. 2022, appendix G). None for ``codebook`` only.
    decode_shape : (int, int, int) or None
        The latent is cropped to it, about the centre, before it is decoded.
    decode_start : (int, int, int) or None
        First voxel that cropping keeps. None is that of MONAI's CenterSpatialCrop; padding of
        one voxel at the far end, as MONAI's own DivisiblePad does it, asks for 0.
    scheduler : SchedulerRecipe or FlowRecipe
        The noise schedule.
    sampler : str
        ``ddim``, ``ddpm`` or ``rflow``: the default for sampling.
    conditioning : Conditioning or None
        What else the denoiser is told.
    decoded_range : (float, float) or None
        Decoded values that become 0 and 1; None when unknown: volumes stay as they are decoded.
    axes : str
        Where the axes of latents and decoded arrays point to; volumes are turned to RAS.
    steps : int
        Default number of denoising steps.
    preprocessing : Preprocessing
        What training volumes went through. A decoded volume in [0, 1] is brought back to the
        units of its intensity window where the rule is a window.
    spacing : (float, float, float) or None
        Voxel size in mm of a volume along X, Y, Z; None when unknown.
    """

    use: ClassVar[CheckpointKind] = "ldm"
    _later: ClassVar[frozenset[str]] = frozenset(
        {"latent_scaling", "decode_shape", "decode_start", "conditioning", "decoded_range", "axes"}
    )

    format: int = Field(FORMAT, ge=1, le=FORMAT)
    kind: Literal["ldm"] = "ldm"
    autoencoder: dict[str, Any]
    denoiser: dict[str, Any]
    latent_shape: tuple[int, int, int, int]
    latent_scaling: Literal["factor", "codebook"] = "factor"
    scale_factor: float | None = Field(None, gt=0, allow_inf_nan=False)
    decode_shape: Shape | None = None
    decode_start: tuple[CropStart, CropStart, CropStart] | None = None
    scheduler: AnySchedule = SchedulerRecipe()
    sampler: Literal["ddim", "ddpm", "rflow"] = "ddim"
    conditioning: Conditioning | None = None
    decoded_range: tuple[FiniteNumber, FiniteNumber] | None = (0.0, 1.0)
    axes: Axes = "RAS"
    steps: int = Field(25, ge=1, le=100_000)
    preprocessing: Preprocessing
    spacing: VoxelSize | None = None
    files: dict[str, str] = Field(
        {"autoencoder": "autoencoder.safetensors", "denoiser": "denoiser.safetensors"}
    )
    provenance: dict[str, Any] = Field({})

    def summarise(self) -> str:
        """Say in one line what the model is."""
        text = (
            f"3D LDM: latent {format_shape(self.latent_shape)}, {self.scheduler.prediction_type}, "
            f"{self.sampler.upper()} {self.steps} steps, "
            f"volumes {format_shape(self.preprocessing.shape)}"
        )
        if self.conditioning is not None and self.conditioning.classes:
            text += f", knows {', '.join(self.conditioning.classes)}"
        return text

    @model_validator(mode="after")
    def _fits(self) -> LDMRecipe:
        if min(self.latent_shape) < 1:
            raise ValueError(f"latent_shape {self.latent_shape} must be positive")
        if self.decode_start is not None and (
            self.decode_shape is None
            or any(
                start + kept > have
                for start, kept, have in zip(
                    self.decode_start, self.decode_shape, self.latent_shape[1:], strict=True
                )
            )
        ):
            raise ValueError("decode_start: with decode_shape, and inside the latent")
        if (self.latent_scaling == "factor") != (self.scale_factor is not None):
            raise ValueError("scale_factor: needed with latent_scaling 'factor', and only there")
        if isinstance(self.scheduler, FlowRecipe) != (self.sampler == "rflow"):
            raise ValueError("sampler: rflow is for the schedule rectified_flow, and only that")
        if self.decoded_range is not None and not self.decoded_range[0] < self.decoded_range[1]:
            raise ValueError(f"decoded_range {self.decoded_range}: the first must be smaller")
        if self.conditioning is not None and self.conditioning.spacing and self.spacing is None:
            raise ValueError("spacing: the denoiser is told the voxel size, so it must be known")
        if self.conditioning is not None and self.conditioning.classes:
            known = self.denoiser.get("num_class_embeds")
            if known != (wanted := len(self.conditioning.classes) + 1):
                raise ValueError(f"classes: the denoiser's num_class_embeds must be {wanted}")
        if self.steps > self.scheduler.num_train_timesteps:
            raise ValueError(
                f"steps ({self.steps}) exceed num_train_timesteps "
                f"({self.scheduler.num_train_timesteps})"
            )
        return self


StoredRecipe = LDMRecipe | AutoencoderRecipe | AnyEmbedderRecipe
AnyRecipe = Annotated[StoredRecipe, Field(discriminator="kind")]
"""What recipe.json may hold."""

Recipe = StoredRecipe | TrustedRecipe
