"""The YAML files of MedLoRD: which of them belong to given weights, and what they say."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

from napari_memscan.checkpoints.config_file import read_config
from napari_memscan.checkpoints.families.family import FactCollector, build_recipe
from napari_memscan.checkpoints.probe import PathProbe
from napari_memscan.checkpoints.recipe import SchedulerRecipe
from napari_memscan.checkpoints.state_dicts import StateDict
from napari_memscan.errors import BadInput

CONFIG_FOLDERS = (
    "",
    "configs",
    "config",
    "configs/diffusion",
    "configs/stage1",
    "diffusion",
    "stage1",
)
MAX_CONFIGS = 100
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
# Of MedLoRD's scheduler, which are not those of SchedulerRecipe.
_SCHEDULER_DEFAULTS = {
    "num_train_timesteps": 1000,
    "schedule": "linear_beta",
    "prediction_type": "epsilon",
    "clip_sample": False,
    "beta_start": 1e-4,
    "beta_end": 2e-2,
}
_FIXED = {"variance_type": "fixed_small", "sig_range": 6}
_MAX_BETA = 0.9999  # MONAI's cosine stops at 0.999


@dataclass(frozen=True)
class MedlordConfig:
    """One configuration.

    Attributes
    ----------
    path : Path
        Of the file.
    params : dict
        Arguments of the network, ``model.params``.
    data : dict
        All of it.
    """

    path: Path
    params: dict[str, Any]
    data: dict[str, Any]

    @property
    def says(self) -> str:
        """What of it matters, to compare two of them."""
        training = self.data.get("training")
        scale = training.get("scale_factor") if isinstance(training, Mapping) else None
        return json.dumps([self.params, self.data.get("scheduler"), scale], sort_keys=True)


ConfigTest = Callable[[dict[str, Any]], bool | None]


def find_configs(found: PathProbe, beside: list[Path], fits: ConfigTest) -> list[MedlordConfig]:
    """Return the configurations of a network, as many as say different things.

    Parameters
    ----------
    found : PathProbe
        With the file or folder that the user stated as ``config``; that goes first.
    beside : list of Path
        Folders of the weights.
    fits : callable
        Of `make_unet_test` or `make_vqvae_test`. Without one that fits, those of such a network
        are returned: what does not fit is told when the names of the weights are compared.
    """
    stated = [Path(found.declared.config).expanduser()] if found.declared.config else []
    # The other network's may lie beside the stated one, or in configs/ below and above it.
    near = [
        folder
        for path in stated
        if path.is_file()
        for folder in (
            path.parent,
            *([path.parent.parent] if path.parent.name in ("diffusion", "stage1") else []),
        )
    ]
    for paths in (stated, [*near, *beside]):
        answers = [(fits(yaml.params), yaml) for yaml in _read_configs(paths)]
        for wanted in (True, False):
            different: dict[str, MedlordConfig] = {}
            for answer, yaml in answers:
                if answer is wanted:
                    different.setdefault(yaml.says, yaml)
            if different:
                return list(different.values())
    return []


def _read_configs(places: list[Path]) -> list[MedlordConfig]:
    paths: list[Path] = []
    for place in places:
        if place.is_dir():
            folders = [place / name for name in CONFIG_FOLDERS if (place / name).is_dir()]
            paths += [
                p
                for f in folders
                for p in sorted(f.iterdir())
                if p.suffix.lower() in (".yaml", ".yml")
            ]
        else:
            paths.append(place)
    configs = []
    for path in dict.fromkeys(paths[:MAX_CONFIGS]):
        try:
            data = _parse_numbers(read_config(path))
        except BadInput:
            # One of MedLoRD's own files holds a tab and is no YAML.
            if path in places:
                raise
            continue
        model = data.get("model")
        params = model.get("params") if isinstance(model, dict) else None
        if isinstance(params, dict):
            configs.append(MedlordConfig(path, params, data))
    return configs


def _parse_numbers(value: Any) -> Any:
    """Return it with numbers that are written as text, such as "1e-5", as numbers."""
    if isinstance(value, dict):
        return {str(key): _parse_numbers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_parse_numbers(inner) for inner in value]
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    return value


def make_unet_test(state: StateDict) -> ConfigTest:
    """Return a test for ``model.params``: of a U-Net with these shapes, of another, of none."""

    def fits(params: dict[str, Any]) -> bool | None:
        channels = params.get("num_channels")
        if not isinstance(channels, list) or "attention_levels" not in params:
            return None
        seen = [
            state.shape(f"down_blocks.{i}.resnets.0.conv1.conv.weight")[:1]
            for i in range(len(_list_levels(state, "down_blocks")))
        ]
        blocks = params.get("num_res_blocks", 2)
        first = blocks[0] if isinstance(blocks, list) and blocks else blocks
        return (
            [(n,) for n in channels] == seen
            and first == len(_list_levels(state, "down_blocks.0.resnets"))
            and params.get("in_channels") == state.shape("conv_in.conv.weight")[1]
        )

    return fits


def make_vqvae_test(state: StateDict) -> ConfigTest:
    """Return a test for ``model.params``: of a VQ-VAE with these shapes, of another, of none."""

    def fits(params: dict[str, Any]) -> bool | None:
        channels = params.get("num_channels")
        if not isinstance(channels, list) or "downsample_parameters" not in params:
            return None
        codes = (params.get("num_embeddings", 32), params.get("embedding_dim", 64))
        layers = params.get("num_res_layers", 3)
        blocks = len(channels) * (1 + layers) + 1 if isinstance(layers, int) else 0
        return (
            codes == state.shape("quantizer.quantizer.embedding.weight")
            and state.shape("encoder.blocks.0.conv.weight")[:1] == tuple(channels[:1])
            and len(_list_levels(state, "encoder.blocks")) == blocks
        )

    return fits


def _list_levels(state: StateDict, name: str) -> set[str]:
    pattern = re.compile(rf"{re.escape(name)}\.(\d+)\.")
    return {m[1] for m in map(pattern.match, state.tensors) if m}


def compute_shrink_factor(config: MedlordConfig) -> int:
    """Return by how much a VQ-VAE shrinks every axis."""
    levels = config.params.get("downsample_parameters")
    try:
        return max(1, prod(int(level[0]) for level in levels or ()))
    except (TypeError, ValueError, LookupError) as error:
        raise BadInput(
            f"{config.path}: model.params.downsample_parameters {str(levels)[:60]}: a list of "
            "[stride, kernel, dilation, padding] is expected."
        ) from error


def read_scale_factor(config: MedlordConfig) -> float | None:
    """Return what latents were multiplied by; the training takes 1 where nothing is said."""
    training = config.data.get("training")
    value = training.get("scale_factor", 1.0) if isinstance(training, dict) else None
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return float(value)
    return None


def read_schedule(config: MedlordConfig, facts: FactCollector) -> SchedulerRecipe:
    """Return the noise schedule; the cosine as MedLoRD computes it, not as MONAI does.

    Raises
    ------
    BadInput
        A setting that changes the arithmetic and is not known.
    """
    stated = config.data.get("scheduler")
    values = dict(stated) if isinstance(stated, dict) else {}
    offset = values.pop("s", 8e-3)
    strange = [k for k, v in values.items() if k not in _SCHEDULER_DEFAULTS and _FIXED.get(k) != v]
    if strange or not isinstance(offset, float) or not values:
        raise BadInput(
            f"{config.path}: 'scheduler' is missing or holds what is not known "
            f"({', '.join(strange[:3])}); known are {', '.join(_SCHEDULER_DEFAULTS)}."
        )
    values = {k: v for k, v in (_SCHEDULER_DEFAULTS | values).items() if k in _SCHEDULER_DEFAULTS}
    origin = config.path.name
    values["prediction_type"] = facts.choose("prediction_type", (values["prediction_type"], origin))
    levels = values["num_train_timesteps"]
    facts.choose("schedule", (f"{values['schedule']}, {levels} noise levels", origin))
    if values["schedule"] == "cosine":
        if not isinstance(levels, int) or not 1 <= levels <= 100_000:
            raise BadInput(f"{config.path}: scheduler.num_train_timesteps {levels} is no count.")
        values["betas"] = _compute_cosine_betas(levels, offset)
        del values["beta_start"], values["beta_end"]
    return build_recipe(config.path, SchedulerRecipe, **values)


def _compute_cosine_betas(levels: int, offset: float) -> tuple[float, ...]:
    """Return the betas of Nichol & Dhariwal 2021."""
    curve = [
        math.cos((t / levels + offset) / (1 + offset) * math.pi / 2) ** 2 for t in range(levels + 1)
    ]
    betas = (1 - after / before for before, after in pairwise(curve))
    return tuple(min(max(beta, 0.0), _MAX_BETA) for beta in betas)
