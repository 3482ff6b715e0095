"""What all families need whose configuration lies beside the weights: schedule, files, fit."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from napari_memscan.checkpoints.bundle_config import (
    BundleConfig,
    ConfigTarget,
    find_bundle_root,
    read_published_md5,
)
from napari_memscan.checkpoints.checkpoint import Fact
from napari_memscan.checkpoints.families.family import FactCollector, build_recipe
from napari_memscan.checkpoints.probe import PathProbe
from napari_memscan.checkpoints.recipe import FlowRecipe, SchedulerRecipe
from napari_memscan.checkpoints.state_dicts import StateDict, sort_states
from napari_memscan.errors import BadInput, Hint, HintKind

ScheduleRecipe = SchedulerRecipe | FlowRecipe
SAMPLER_NAMES = {"DDIMScheduler": "ddim", "DDPMScheduler": "ddpm", "RFlowScheduler": "rflow"}
NAME_MARKS = {
    "autoencoder": ("encoder.blocks.", "decoder.blocks."),
    "denoiser": ("conv_in.", "time_embed.", "down_blocks.", "middle_block.", "up_blocks.", "out."),
}
"""How every name of these networks starts; each of these starts occurs."""
STATE_ORDER = ("", "state_dict", "model_state_dict", "model", "unet_state_dict", "diffusion")
ADVICE = "Use the configuration that belongs to these weights."

_NOISE_ARGUMENTS = frozenset(
    {"schedule", "beta_start", "beta_end", "prediction_type", "clip_sample"}
)
_DDIM_ARGUMENTS = frozenset({"steps_offset", "set_alpha_to_one"})
_FLOW_ARGUMENTS = frozenset(
    {"use_discrete_timesteps", "use_timestep_transform", "base_img_size_numel"}
)
# MONAI's defaults; beside them stand those of its functions for the schedules.
_DEFAULTS = {
    "schedule": "linear_beta",
    "prediction_type": "epsilon",
    "clip_sample": True,
    "beta_start": 1e-4,
    "beta_end": 2e-2,
}
# What sampling does not use, or what is used with this value only.
_WITHOUT_EFFECT = {"sample_method", "loc", "scale", "transform_scale", "skip_prk_steps"}
_FIXED = {
    "variance_type": "fixed_small",
    "clip_sample_min": -1,
    "clip_sample_max": 1,
    "spatial_dim": 3,
    "steps_offset": 0,
}


def read_class_name(config: BundleConfig, *keys: str) -> str:
    """Return the class that stands under the first key there is, without its module.

    Nothing is worked out, so code elsewhere does no harm; empty where there is none.
    """
    for key in keys:
        raw: Any = config.data
        for part in key.split("#"):
            raw = raw.get(part) if isinstance(raw, Mapping) else None
        if isinstance(raw, str) and re.fullmatch(r"\$?@\w+", raw):
            raw = config.data.get(raw.lstrip("$@"))
        name = raw.get("_target_") if isinstance(raw, Mapping) else None
        if isinstance(name, str):
            return name.rpartition(".")[2]
    return ""


def list_configs(found: PathProbe) -> list[BundleConfig]:
    """Return all readable configurations of the model's folder, the chosen ones first."""
    chosen = found.configs
    root = find_bundle_root(chosen[0].path) if found.declared.config and chosen else found.root
    known = {config.path.resolve() for config in chosen}
    try:
        others = PathProbe(root).configs if root.is_dir() else []
    except BadInput:
        others = []
    return [*chosen, *(c for c in others if c.path.resolve() not in known)]


def format_origin(config: BundleConfig) -> str:
    """Return a configuration's name as facts give their origin: ``configs/inference.json``."""
    return "/".join(config.path.parts[-2:])


def convert_schedule(target: ConfigTarget, config: BundleConfig) -> tuple[ScheduleRecipe, str]:
    """Return noise levels and sampler that a scheduler of MONAI stands for.

    Parameters
    ----------
    target : ConfigTarget
        Of the scheduler. For PNDM the sampler is empty: its levels are known, its steps are not.

    Raises
    ------
    BadInput
        An argument that changes the arithmetic and is not known.
    """
    arguments = dict(target.arguments)
    flow = target.name == "RFlowScheduler"
    known = (_FLOW_ARGUMENTS if flow else _NOISE_ARGUMENTS | _DDIM_ARGUMENTS) | {
        "num_train_timesteps"
    }
    if target.name == "PNDMScheduler":
        arguments = {k: v for k, v in arguments.items() if k not in _DDIM_ARGUMENTS}
    if target.name != "DDIMScheduler":
        known -= _DDIM_ARGUMENTS
    for name, only in _FIXED.items():
        if name not in known and arguments.pop(name, only) != only:
            raise BadInput(
                f"{config.path}: {target.name} with another {name} than {only} is not known here."
            )
    strange = arguments.keys() - known - _WITHOUT_EFFECT
    if strange:
        raise BadInput(
            f"{config.path}: {target.name} with {', '.join(sorted(strange))} is not known here; "
            f"known are {', '.join(sorted(known))}."
        )
    fields = {name: value for name, value in arguments.items() if name in known}
    if flow:
        return build_recipe(config.path, FlowRecipe, **fields), "rflow"
    recipe = build_recipe(config.path, SchedulerRecipe, **(_DEFAULTS | fields))
    return recipe, SAMPLER_NAMES.get(target.name, "")


def read_steps(config: BundleConfig) -> int | None:
    """Return the number of denoising steps a configuration tells, from a value or a call."""
    value = config.data.get("num_inference_steps")
    if type(value) is int:
        return value
    call = config.data.get("set_timesteps")
    match = re.search(r"set_timesteps\((?:num_inference_steps\s*=\s*)?(\d{1,6})\)", str(call))
    return int(match[1]) if match else None


def matches_part(state: StateDict, part: str) -> bool:
    """Return whether a state dict is MONAI's autoencoder or denoiser, by how its names start."""
    return all(any(name.startswith(mark) for name in state.tensors) for mark in NAME_MARKS[part])


def find_part_state(found: PathProbe, path: Path, part: str) -> StateDict:
    """Return the state dict of a weight file that is this part.

    Raises
    ------
    BadInput
        None is.
    """
    states = found.states(path)
    for state in sort_states(states, *STATE_ORDER):
        if matches_part(state, part):
            return state
    names = ", ".join(list(states[0].tensors)[:3])
    raise BadInput(
        f"{path}: this is no {part} of MONAI (its tensors are {names} ...).",
        Hint(HintKind.STATE, f"{part}=FILE"),
    )


def find_stated_file(found: PathProbe, part: str) -> Path | None:
    """Return the file the user states for a part, from here or from the model's folder."""
    stated = getattr(found.declared, part)
    if stated is None:
        return None
    path = Path(stated).expanduser()
    inside = found.root / path
    if not path.is_file() and not path.is_absolute() and inside.is_file():
        return inside
    return found.partner(stated, part)


def check_published_md5(root: Path, files: Mapping[str, Path]) -> list[str]:
    """Compare files with the MD5 sums that came with them; return what to say of those that differ.

    A sum is worked out once for a file as it is.
    """
    sums = read_published_md5(root)
    warnings = []
    for part, path in files.items():
        # By the name it has here: in some caches it is a link to another.
        named = path.parent.resolve() / path.name
        if not named.is_relative_to(root.resolve()):
            continue
        resolved = path.resolve()
        expected = sums.get(named.relative_to(root.resolve()).as_posix())
        if expected is not None:
            status = resolved.stat()
            if _compute_md5(resolved, status.st_mtime_ns, status.st_size) != expected:
                warnings.append(
                    f"{part}: {path.name} is not the published file (another MD5 than in "
                    "large_files.yml): fine-tuned, or damaged"
                )
    return warnings


@lru_cache(maxsize=64)
def _compute_md5(path: Path, changed: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def check_part(part: str, arguments: Mapping[str, Any], state: StateDict, path: Path) -> None:
    """Compare names and shapes with the network, which is built without memory.

    Raises
    ------
    BadInput
        As `networks.check_weights_fit`.
    """
    import torch

    from napari_memscan.checkpoints.networks import (
        build_autoencoder,
        build_denoiser,
        check_weights_fit,
    )

    build = build_autoencoder if part == "autoencoder" else build_denoiser
    with torch.device("meta"):
        network = build(arguments, path)
    check_weights_fit(network, state.tensors, path, ADVICE)


def compute_latent_shape(
    shape: Sequence[int] | None, channels: int, factor: int, path: Path
) -> tuple[int, ...] | None:
    """Return the latent's shape for volumes of a shape (X, Y, Z), None where that is not known."""
    if shape is None:
        return None
    if any(n % factor for n in shape):
        raise BadInput(
            f"{path}: shape {tuple(shape)}: the autoencoder shrinks every axis by {factor}, so "
            "each length must be a multiple of it."
        )
    return (channels, *(n // factor for n in shape))


def iter_transform_arguments(
    config: BundleConfig, name: str, *arguments: str
) -> Iterator[dict[str, Any]]:
    """Yield the arguments of every transform of a class that a configuration lists.

    Only those that are plain values; a transform that needs code for one of them is left out.
    """
    todo: list[tuple[str, Any]] = [("", config.data)]
    for path, value in todo:  # It grows meanwhile.
        if isinstance(value, dict):
            if str(value.get("_target_", "")).rpartition(".")[2] in (name, f"{name}d"):
                found = {}
                for argument in arguments:
                    if argument in value:
                        found[argument] = _try_resolve(config, f"{path}#{argument}")
                yield found
            todo += [(f"{path}#{k}" if path else str(k), v) for k, v in value.items()]
        elif isinstance(value, list) and path:
            todo += [(f"{path}#{i}", v) for i, v in enumerate(value)]


def _try_resolve(config: BundleConfig, key: str) -> Any:
    try:
        return config.resolve(key)
    except BadInput:
        return None


def disable_flash_attention(
    arguments: dict[str, Any], part: str, facts: FactCollector
) -> dict[str, Any]:
    """Return arguments without flash attention, which needs a GPU and computes the same."""
    if arguments.get("use_flash_attention"):
        facts.facts.append(
            Fact(f"{part}: use_flash_attention", "off", "memscan: the same result on any device")
        )
        arguments = {**arguments, "use_flash_attention": False}
    return arguments
