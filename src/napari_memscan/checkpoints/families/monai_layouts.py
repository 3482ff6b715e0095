"""What configuration and code of each project of the MONAI family say, as one `Plan`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from napari_memscan.checkpoints.bundle import Config, Target
from napari_memscan.checkpoints.families.configured import Schedule as AnySchedule
from napari_memscan.checkpoints.families.configured import (
    class_under,
    configs_beside,
    schedule_of,
    steps_in,
    where,
)
from napari_memscan.checkpoints.families.monai_files import files_of
from napari_memscan.checkpoints.families.transforms import (
    NOTHING,
    UNTOLD,
    Told,
    Training,
    training_of,
)
from napari_memscan.checkpoints.probe import Found
from napari_memscan.checkpoints.recipe import SchedulerRecipe
from napari_memscan.errors import BadInput
from napari_memscan.volumes.preprocessing import MinMax, Percentile

AUTOENCODER = ("autoencoder_def", "autoencoder", "stage1#params")
DENOISER = ("diffusion_def", "network_def", "unet_def", "diffusion", "unet", "ldm#params")
SCHEDULER = ("noise_scheduler", "scheduler", "ldm#scheduler")
TUTORIAL = "MONAI's 3d_ldm tutorial"
BRAIN = "MONAI bundle, brain image synthesis"
BUNDLE = "MONAI bundle, latent diffusion"
GENERATIVE_BRAIN = "generative_brain (Pinaya et al.)"
BRLP = "BrLP (Puglisi et al. 2024)"
BRLP_NAMES = (
    "age", "sex", "diagnosis", "cerebral_cortex", "hippocampus", "amygdala",
    "cerebral_white_matter", "lateral_ventricle",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """All that configuration and family say of a model, before what the user states.

    Attributes
    ----------
    title, origin : str
        The project, and where its values stand.
    autoencoder, denoiser : Target
        The networks.
    schedule, sampler
        As `schedule_of` returns them.
    files : dict
        Part to weight file; None is one that is not there.
    named : dict
        Part to the name under which it was looked for.
    latent_shape, decode_shape, decode_start, steps, scale_factor : Told
        Values with their origin.
    context, names
        Values for the denoiser and what they are.
    training : Training
        What training volumes went through.
    warnings : tuple of str
        What a reader of the numbers must know.
    folder : Path
        That files must not leave.
    """

    title: str
    origin: str
    autoencoder: Target
    denoiser: Target
    schedule: AnySchedule
    sampler: str
    folder: Path
    files: dict[str, Path | None] = field(default_factory=dict)
    named: dict[str, str] = field(default_factory=dict)
    latent_shape: Told = NOTHING
    decode_shape: Told = NOTHING
    decode_start: tuple[int, int, int] | None = None
    steps: Told = NOTHING
    scale_factor: Told = NOTHING
    context: Told = NOTHING
    names: tuple[str, ...] = ()
    training: Training = UNTOLD
    warnings: tuple[str, ...] = ()

    @property
    def model(self) -> tuple[Any, ...]:
        """What makes two plans plans of the same model, wherever they stand."""
        return (
            self.autoencoder, self.denoiser, self.schedule, self.sampler, self.files,
            self.latent_shape.value, self.steps.value, self.training.spacing.value,
        )  # fmt: skip


def has_networks(config: Config) -> bool:
    """Return whether a configuration describes both networks."""
    plain = all(isinstance(config.data.get(key), dict) for key in ("stage1", "ldm"))
    return plain or (
        class_under(config, *AUTOENCODER) == "AutoencoderKL" and denoiser_key(config) != ""
    )


def denoiser_key(config: Config) -> str:
    """Return where a configuration describes the denoiser.

    In one bundle ``network_def`` refers to the autoencoder, so the class decides.
    """
    for key in DENOISER:
        if class_under(config, key) == "DiffusionModelUNet":
            return key
    return ""


def plan_of(found: Found, config: Config) -> Plan:
    """Return what a configuration and its project's code say.

    Raises
    ------
    BadInput
        Something in it would need code to run, is not known, or leads out of the folder.
    """
    if "ldm" in config and "stage1" in config:
        return _generative_brain(found, config)
    key = next(k for k in AUTOENCODER if class_under(config, k))
    autoencoder, denoiser = config.target(key), config.target(denoiser_key(config))
    training = training_of(configs_beside(found))
    files, named = files_of(found, config)
    origin = where(config)
    common: dict[str, Any] = {
        "origin": origin, "autoencoder": autoencoder, "denoiser": denoiser, "files": files,
        "named": named, "folder": found.root, "latent_shape": Told(config.latent_shape(), origin),
        "scale_factor": Told(_number(config, "scale_factor"), origin),
    }  # fmt: skip
    if "NoiseScheduler" in config:
        return _tutorial(config, training, common)
    scheduler = next((k for k in SCHEDULER if k in config), None)
    if scheduler is None:
        raise BadInput(
            f"{config.path}: names no scheduler (one of {', '.join(SCHEDULER)}), so the noise "
            "levels are not known. Name the configuration that was used to sample: "
            "--set config=FILE."
        )
    schedule, sampler = schedule_of(config.target(scheduler), config)
    default = 50 if sampler == "ddim" else schedule.num_train_timesteps
    steps = Told(steps_in(config), origin)
    names, values = _conditions(config)
    plan = Plan(
        title=BUNDLE, schedule=schedule, sampler=sampler, training=training, names=names,
        steps=steps if steps.value else Told(default, "the family's default"),
        context=Told(values or None, origin), **common,
    )  # fmt: skip
    return _brain(plan) if "ventricular_vol" in config else plan


def _brain(plan: Plan) -> Plan:
    documented = "the bundle's documentation"
    training = Training(
        Told((1.0, 1.0, 1.0), documented),
        Told("LAS", "the bundle's saver"),
        Told(MinMax(), documented),
        Told((0.0, 1.0), documented),
    )
    unscaled = Told(1.0, "the bundle's sampler, which decodes latents as they are")
    return replace(
        plan,
        title=BRAIN,
        training=training,
        scale_factor=plan.scale_factor if plan.scale_factor.value else unscaled,
        warnings=(
            "scale factor 1 is what the bundle samples with; how the model was trained was not "
            "published",
        ),
    )


def _tutorial(config: Config, training: Training, common: dict[str, Any]) -> Plan:
    target = config.target("NoiseScheduler", default="DDPMScheduler")
    # The rest of it stands in the tutorial's inference.py and utils.py.
    target = replace(target, arguments={"schedule": "scaled_linear_beta", **target.arguments})
    schedule, sampler = schedule_of(target, config)
    code = "the tutorial's code"
    spacing: Any = config.data.get("spacing")
    told = tuple(map(float, spacing)) if _three(spacing) else None
    size: Any = config.data.get("diffusion_train", {})
    size = size.get("patch_size") if isinstance(size, dict) else None
    if _three(size) and common["latent_shape"].value is None:
        channels = common["autoencoder"].arguments.get("latent_channels", 3)
        factor = shrink(common["autoencoder"])
        common["latent_shape"] = Told(
            (channels, *(n // factor for n in size)), f"{common['origin']}: diffusion_train"
        )
    warnings = []
    if isinstance(schedule, SchedulerRecipe) and schedule.clip_sample:
        warnings.append(
            "the tutorial samples with MONAI's default of clipping predicted latents to [-1, 1], "
            "and so does memscan here"
        )
    return Plan(
        title=TUTORIAL, schedule=schedule, sampler=sampler,
        steps=Told(schedule.num_train_timesteps, code),
        training=Training(
            training.spacing if training.spacing.value else Told(told, common["origin"]),
            Told("RAS", code), Told(Percentile(low=0, high=99.5), code), Told((0.0, 1.0), code),
        ),
        warnings=tuple(warnings), **common,
    )  # fmt: skip


def _generative_brain(found: Found, config: Config) -> Plan:
    schedule, sampler = schedule_of(config.target("ldm#scheduler", "DDIMScheduler"), config)
    denoiser = config.target("ldm#params", "DiffusionModelUNet")
    if denoiser.arguments.get("with_conditioning"):
        raise BadInput(
            f"{config.path}: this model is steered by texts (a CLIP encoder's 77 vectors), which "
            "memscan cannot give it. Sample with the project's own script and scan the folder of "
            "volumes."
        )
    files, named = files_of(found, config)
    return Plan(
        GENERATIVE_BRAIN, where(config), config.target("stage1#params", "AutoencoderKL"), denoiser,
        schedule, sampler, found.root, files, named, steps=Told(200, "the family's default"),
    )  # fmt: skip


def brlp(found: Found) -> Plan | None:
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
        "spatial_dims": 3, "in_channels": 1, "out_channels": 1, "latent_channels": 3,
        "channels": [64, 128, 128, 128], "num_res_blocks": 2, "norm_num_groups": 32,
        "norm_eps": 1e-6, "attention_levels": [False] * 4, "with_decoder_nonlocal_attn": False,
        "with_encoder_nonlocal_attn": False,
    }  # fmt: skip
    denoiser = {
        "spatial_dims": 3, "in_channels": 3, "out_channels": 3, "num_res_blocks": 2,
        "channels": [256, 512, 768], "attention_levels": [False, True, True],
        "norm_num_groups": 32, "norm_eps": 1e-6, "resblock_updown": True,
        "num_head_channels": [0, 512, 768], "transformer_num_layers": 1,
        "with_conditioning": True, "cross_attention_dim": 8, "upcast_attention": True,
        "use_flash_attention": False,
    }  # fmt: skip
    return Plan(
        BRLP, code, Target("AutoencoderKL", autoencoder, True),
        Target("DiffusionModelUNet", denoiser, True),
        SchedulerRecipe(beta_start=0.0015, beta_end=0.0205, prediction_type="epsilon"), "ddim",
        found.root, files, latent_shape=Told((3, 16, 20, 16), code),
        decode_shape=Told((15, 18, 15), code),
        # It pads with DivisiblePad and undoes that: one voxel at the far end, none at the near.
        decode_start=(0, 1, 0), steps=Told(50, code), names=BRLP_NAMES,
        training=Training(
            Told((1.5, 1.5, 1.5), code), Told("LAS", code), Told(MinMax(), code),
            Told((0.0, 1.0), code),
        ),
        warnings=("BrLP pads its volumes of 120 x 144 x 120 to 122 x 146 x 122 afterwards",),
    )  # fmt: skip


def shrink(autoencoder: Target) -> int:
    """Return by how much an AutoencoderKL shrinks each axis."""
    channels = autoencoder.arguments.get("channels", autoencoder.arguments.get("num_channels"))
    return int(2 ** (len(channels) - 1)) if isinstance(channels, list | tuple) else 1


def _three(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(type(n) in (int, float) and n > 0 for n in value)
    )


def _number(config: Config, key: str) -> float | None:
    value: Any = config.data.get(key)
    return float(value) if type(value) in (int, float) and value > 0 else None


def _conditions(config: Config) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Return names and values that the key ``conditioning`` puts together from other keys."""
    names = re.findall(r"@(\w+)", str(config.data.get("conditioning", "")))
    values: dict[str, Any] = {name: config.data.get(name) for name in names}
    known = [name for name in names if type(values[name]) in (int, float)]
    return tuple(known), tuple(float(values[name]) for name in known)
