"""What configuration and code of each project of the MONAI family say, as one `BundlePlan`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from napari_memscan.checkpoints.bundle_config import BundleConfig, ConfigTarget
from napari_memscan.checkpoints.families.monai_config import ScheduleRecipe as AnySchedule
from napari_memscan.checkpoints.families.monai_config import (
    convert_schedule,
    format_origin,
    list_configs,
    read_class_name,
    read_steps,
)
from napari_memscan.checkpoints.families.monai_files import find_weight_files
from napari_memscan.checkpoints.families.training_transforms import (
    NO_TRANSFORMS,
    NO_VALUE,
    SourcedValue,
    TrainingTransforms,
    read_training_transforms,
)
from napari_memscan.checkpoints.probe import PathProbe
from napari_memscan.checkpoints.recipe import SchedulerRecipe
from napari_memscan.errors import BadInput, Hint, HintKind
from napari_memscan.volumes.preprocessing import MinMax, Percentile

AUTOENCODER_KEYS = ("autoencoder_def", "autoencoder", "stage1#params")
DENOISER_KEYS = ("diffusion_def", "network_def", "unet_def", "diffusion", "unet", "ldm#params")
SCHEDULER_KEYS = ("noise_scheduler", "scheduler", "ldm#scheduler")
TUTORIAL_TITLE = "MONAI's 3d_ldm tutorial"
BRAIN_TITLE = "MONAI bundle, brain image synthesis"
BUNDLE_TITLE = "MONAI bundle, latent diffusion"
GENERATIVE_BRAIN_TITLE = "generative_brain (Pinaya et al.)"
BRLP_TITLE = "BrLP (Puglisi et al. 2024)"
BRLP_NAMES = (
    "age",
    "sex",
    "diagnosis",
    "cerebral_cortex",
    "hippocampus",
    "amygdala",
    "cerebral_white_matter",
    "lateral_ventricle",
)


@dataclass(frozen=True)
class BundlePlan:
    """All that configuration and family say of a model, before what the user states.

    Attributes
    ----------
    title, origin : str
        The project, and where its values stand.
    autoencoder, denoiser : ConfigTarget
        The networks.
    schedule, sampler
        As `convert_schedule` returns them.
    files : dict
        Part to weight file; None is one that is not there.
    named : dict
        Part to the name under which it was looked for.
    latent_shape, decode_shape, decode_start, steps, scale_factor : SourcedValue
        Values with their origin.
    context, names
        Values for the denoiser and what they are.
    training : TrainingTransforms
        What training volumes went through.
    warnings : tuple of str
        What a reader of the numbers must know.
    folder : Path
        That files must not leave.
    """

    title: str
    origin: str
    autoencoder: ConfigTarget
    denoiser: ConfigTarget
    schedule: AnySchedule
    sampler: str
    folder: Path
    files: dict[str, Path | None] = field(default_factory=dict)
    named: dict[str, str] = field(default_factory=dict)
    latent_shape: SourcedValue = NO_VALUE
    decode_shape: SourcedValue = NO_VALUE
    decode_start: tuple[int, int, int] | None = None
    steps: SourcedValue = NO_VALUE
    scale_factor: SourcedValue = NO_VALUE
    context: SourcedValue = NO_VALUE
    names: tuple[str, ...] = ()
    training: TrainingTransforms = NO_TRANSFORMS
    warnings: tuple[str, ...] = ()

    @property
    def model(self) -> tuple[Any, ...]:
        """What makes two plans plans of the same model, wherever they stand."""
        return (
            self.autoencoder,
            self.denoiser,
            self.schedule,
            self.sampler,
            self.files,
            self.latent_shape.value,
            self.steps.value,
            self.training.spacing.value,
        )


def has_networks(config: BundleConfig) -> bool:
    """Return whether a configuration describes both networks."""
    plain = all(isinstance(config.data.get(key), dict) for key in ("stage1", "ldm"))
    return plain or (
        read_class_name(config, *AUTOENCODER_KEYS) == "AutoencoderKL"
        and find_denoiser_key(config) != ""
    )


def find_denoiser_key(config: BundleConfig) -> str:
    """Return where a configuration describes the denoiser.

    In one bundle ``network_def`` refers to the autoencoder, so the class decides.
    """
    for key in DENOISER_KEYS:
        if read_class_name(config, key) == "DiffusionModelUNet":
            return key
    return ""


def read_bundle_plan(found: PathProbe, config: BundleConfig) -> BundlePlan:
    """Return what a configuration and its project's code say.

    Raises
    ------
    BadInput
        Something in it would need code to run, is not known, or leads out of the folder.
    """
    if "ldm" in config and "stage1" in config:
        return _read_generative_brain(found, config)
    key = next(k for k in AUTOENCODER_KEYS if read_class_name(config, k))
    autoencoder, denoiser = config.target(key), config.target(find_denoiser_key(config))
    training = read_training_transforms(list_configs(found))
    files, named = find_weight_files(found, config)
    origin = format_origin(config)
    common: dict[str, Any] = {
        "origin": origin,
        "autoencoder": autoencoder,
        "denoiser": denoiser,
        "files": files,
        "named": named,
        "folder": found.root,
        "latent_shape": SourcedValue(config.latent_shape(), origin),
        "scale_factor": SourcedValue(_read_number(config, "scale_factor"), origin),
    }
    if "NoiseScheduler" in config:
        return _read_tutorial_plan(config, training, common)
    scheduler = next((k for k in SCHEDULER_KEYS if k in config), None)
    if scheduler is None:
        raise BadInput(
            f"{config.path}: names no scheduler (one of {', '.join(SCHEDULER_KEYS)}), so the noise "
            "levels are not known. The configuration that was used to sample has one.",
            Hint(HintKind.STATE, "config=FILE"),
        )
    schedule, sampler = convert_schedule(config.target(scheduler), config)
    default = 50 if sampler == "ddim" else schedule.num_train_timesteps
    steps = SourcedValue(read_steps(config), origin)
    names, values = _read_conditions(config)
    plan = BundlePlan(
        title=BUNDLE_TITLE,
        schedule=schedule,
        sampler=sampler,
        training=training,
        names=names,
        steps=steps if steps.value else SourcedValue(default, "the family's default"),
        context=SourcedValue(values or None, origin),
        **common,
    )
    return _adapt_brain_plan(plan) if "ventricular_vol" in config else plan


def _adapt_brain_plan(plan: BundlePlan) -> BundlePlan:
    documented = "the bundle's documentation"
    training = TrainingTransforms(
        SourcedValue((1.0, 1.0, 1.0), documented),
        SourcedValue("LAS", "the bundle's saver"),
        SourcedValue(MinMax(), documented),
        SourcedValue((0.0, 1.0), documented),
    )
    unscaled = SourcedValue(1.0, "the bundle's sampler, which decodes latents as they are")
    return replace(
        plan,
        title=BRAIN_TITLE,
        training=training,
        scale_factor=plan.scale_factor if plan.scale_factor.value else unscaled,
        warnings=(
            "scale factor 1 is what the bundle samples with; how the model was trained was not "
            "published",
        ),
    )


def _read_tutorial_plan(
    config: BundleConfig, training: TrainingTransforms, common: dict[str, Any]
) -> BundlePlan:
    target = config.target("NoiseScheduler", default="DDPMScheduler")
    # The rest of it stands in the tutorial's inference.py and utils.py.
    target = replace(target, arguments={"schedule": "scaled_linear_beta", **target.arguments})
    schedule, sampler = convert_schedule(target, config)
    code = "the tutorial's code"
    spacing: Any = config.data.get("spacing")
    told = tuple(map(float, spacing)) if _is_triple(spacing) else None
    size: Any = config.data.get("diffusion_train", {})
    size = size.get("patch_size") if isinstance(size, dict) else None
    if _is_triple(size) and common["latent_shape"].value is None:
        channels = common["autoencoder"].arguments.get("latent_channels", 3)
        factor = compute_downsampling_factor(common["autoencoder"])
        common["latent_shape"] = SourcedValue(
            (channels, *(n // factor for n in size)), f"{common['origin']}: diffusion_train"
        )
    warnings = []
    if isinstance(schedule, SchedulerRecipe) and schedule.clip_sample:
        warnings.append(
            "the tutorial samples with MONAI's default of clipping predicted latents to [-1, 1], "
            "and so does memscan here"
        )
    return BundlePlan(
        title=TUTORIAL_TITLE,
        schedule=schedule,
        sampler=sampler,
        steps=SourcedValue(schedule.num_train_timesteps, code),
        training=TrainingTransforms(
            training.spacing if training.spacing.value else SourcedValue(told, common["origin"]),
            SourcedValue("RAS", code),
            SourcedValue(Percentile(low=0, high=99.5), code),
            SourcedValue((0.0, 1.0), code),
        ),
        warnings=tuple(warnings),
        **common,
    )


def _read_generative_brain(found: PathProbe, config: BundleConfig) -> BundlePlan:
    schedule, sampler = convert_schedule(config.target("ldm#scheduler", "DDIMScheduler"), config)
    denoiser = config.target("ldm#params", "DiffusionModelUNet")
    if denoiser.arguments.get("with_conditioning"):
        raise BadInput(
            f"{config.path}: this model is steered by texts (a CLIP encoder's 77 vectors), which "
            "memscan cannot give it. Sample with the project's own script and scan the folder of "
            "volumes."
        )
    files, named = find_weight_files(found, config)
    return BundlePlan(
        GENERATIVE_BRAIN_TITLE,
        format_origin(config),
        config.target("stage1#params", "AutoencoderKL"),
        denoiser,
        schedule,
        sampler,
        found.root,
        files,
        named,
        steps=SourcedValue(200, "the family's default"),
    )


def find_brlp_plan(found: PathProbe) -> BundlePlan | None:
    """Return the plan of BrLP, whose constants stand in its code; None where it is another."""
    if not found.path.is_dir() or found.configs:
        return None
    files: dict[str, Path | None] = {}
    for part, stem in {"autoencoder": "autoencoder", "denoiser": "unet"}.items():
        pattern = re.compile(rf"{stem}-ep-(\d+)\.pth")
        epochs = [(int(m[1]), p) for p in found.weight_files if (m := pattern.fullmatch(p.name))]
        if not epochs:
            return None
        files[part] = max(epochs)[1]
    code = "the family's default"
    autoencoder = {
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 1,
        "latent_channels": 3,
        "channels": [64, 128, 128, 128],
        "num_res_blocks": 2,
        "norm_num_groups": 32,
        "norm_eps": 1e-6,
        "attention_levels": [False] * 4,
        "with_decoder_nonlocal_attn": False,
        "with_encoder_nonlocal_attn": False,
    }
    denoiser = {
        "spatial_dims": 3,
        "in_channels": 3,
        "out_channels": 3,
        "num_res_blocks": 2,
        "channels": [256, 512, 768],
        "attention_levels": [False, True, True],
        "norm_num_groups": 32,
        "norm_eps": 1e-6,
        "resblock_updown": True,
        "num_head_channels": [0, 512, 768],
        "transformer_num_layers": 1,
        "with_conditioning": True,
        "cross_attention_dim": 8,
        "upcast_attention": True,
        "use_flash_attention": False,
    }
    return BundlePlan(
        BRLP_TITLE,
        code,
        ConfigTarget("AutoencoderKL", autoencoder),
        ConfigTarget("DiffusionModelUNet", denoiser),
        SchedulerRecipe(beta_start=0.0015, beta_end=0.0205, prediction_type="epsilon"),
        "ddim",
        found.root,
        files,
        latent_shape=SourcedValue((3, 16, 20, 16), code),
        decode_shape=SourcedValue((15, 18, 15), code),
        # It pads with DivisiblePad and undoes that: one voxel at the far end, none at the near.
        decode_start=(0, 1, 0),
        steps=SourcedValue(50, code),
        names=BRLP_NAMES,
        training=TrainingTransforms(
            SourcedValue((1.5, 1.5, 1.5), code),
            SourcedValue("LAS", code),
            SourcedValue(MinMax(), code),
            SourcedValue((0.0, 1.0), code),
        ),
        warnings=("BrLP pads its volumes of 120 x 144 x 120 to 122 x 146 x 122 afterwards",),
    )


def compute_downsampling_factor(autoencoder: ConfigTarget) -> int:
    """Return by how much an AutoencoderKL shrinks each axis."""
    channels = autoencoder.arguments.get("channels", autoencoder.arguments.get("num_channels"))
    return int(2 ** (len(channels) - 1)) if isinstance(channels, list | tuple) else 1


def _is_triple(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(type(n) in (int, float) and n > 0 for n in value)
    )


def _read_number(config: BundleConfig, key: str) -> float | None:
    value: Any = config.data.get(key)
    return float(value) if type(value) in (int, float) and value > 0 else None


def _read_conditions(config: BundleConfig) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Return names and values that the key ``conditioning`` puts together from other keys."""
    names = re.findall(r"@(\w+)", str(config.data.get("conditioning", "")))
    values: dict[str, Any] = {name: config.data.get(name) for name in names}
    known = [name for name in names if type(values[name]) in (int, float)]
    return tuple(known), tuple(float(values[name]) for name in known)
