"""Settings by name: small ones for a processor, and those of the paper as far as they are known.

``docs/train-your-own.md`` says of each value where it is from. Networks and losses that are only
alike, not the same, are named there, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_memscan.errors import BadInput

PRESET_SHAPES = {"paper-ct": (64, 64, 64), "paper-knee": (32, 256, 256)}
"""Volumes, in voxels, that a preset is made for."""

# Khader et al. 2023 scale 3e-4 by accumulation * GPUs / 8 * batch / 4; here for 1 GPU and 10.
_AUTOENCODER = {
    "network": "VQVAE",
    "channels": (32, 64),
    "latent_channels": 8,
    "num_res_blocks": 1,
    "num_embeddings": 16_384,
    "quantise_after": 1000,
    "learning_rate": 9.4e-5,
    "anneal": False,
    "clip": 1.0,
    "l1_weight": 4.0,
    "perceptual_weight": 4.0,
    "adversarial_weight": 1.0,
    "adversarial_start": 10_000,
    "critic_channels": 64,
    "critic_layers": 3,
    "critic_rate": 9.4e-5,
    "validate_every": 500,
    "save_every": 500,
    "log_every": 50,
}
_DENOISER = {
    "network": "VideoUNet",
    "loss": "l1",
    "scheduler": {"schedule": "cosine", "num_train_timesteps": 300, "prediction_type": "epsilon"},
    "sampler": "ddpm",
    "sample_steps": 300,
    "learning_rate": 1e-4,
    "anneal": False,
    # Theirs is 0.995 at every tenth step.
    "ema_decay": 0.9995,
    "accumulate": 2,
    "steps": 100_000,
    "validate_every": 1000,
    "save_every": 1000,
    "log_every": 50,
}
_EMBEDDER = {
    "n_hiddens": 16,
    "dim": 32,
    "batch": 10,
    "learning_rate": 1e-4,
    "temperature": 0.07,
    "flip_axes": (2,),
    "degrees": 5.0,
    "blur": 0.0,
    "noise": 0.0,
}

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "tiny": {"autoencoder": {}, "denoiser": {}, "embedder": {}},
    "paper-ct": {
        "autoencoder": _AUTOENCODER | {"batch": 10, "steps": 50_000},
        "denoiser": _DENOISER | {"batch": 10, "channels": (16, 32, 64, 128)},
        "embedder": _EMBEDDER
        | {"working_shape": (64, 64, 64), "downsample": (16, 16, 16), "steps": 4840},
    },
    "paper-knee": {
        "autoencoder": _AUTOENCODER | {"batch": 2, "accumulate": 5, "steps": 100_000},
        "denoiser": _DENOISER | {"batch": 10, "channels": (64, 128, 256, 512)},
        "embedder": _EMBEDDER
        | {"working_shape": (32, 256, 256), "downsample": (8, 64, 64), "steps": 18_080},
    },
}
"""Name, then part, to settings that differ from the defaults."""


def get_preset(name: str, part: str, kind: str | None = None) -> dict[str, Any]:
    """Return what a preset sets for a part of a model.

    Raises
    ------
    BadInput
        No such preset, or it has no settings for this part or kind.
    """
    if name not in PRESETS:
        raise BadInput(f"preset '{name}': choose one of {', '.join(PRESETS)}.")
    if part not in PRESETS[name]:
        raise BadInput(f"preset '{name}' has no settings for '{part}'.")
    if kind not in (None, "contrastive") and PRESETS[name][part]:
        raise BadInput(
            f"preset '{name}' is of the paper's own embedder; leave kind '{kind}' or the preset "
            "out."
        )
    return dict(PRESETS[name][part])


def merge_settings(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with changes, groups of settings by their fields."""
    result = dict(values)
    for key, value in changes.items():
        inner = result.get(key)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        result[key] = merge_settings(inner, value) if both else value  # type: ignore[arg-type]
    return result
