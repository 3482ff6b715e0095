"""In the child: a MONAI bundle, run by MONAI as its author meant it. Only its networks are used."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from napari_memscan.checkpoints.trusted.trust_check import (
    AUTOENCODER_KEYS,
    DENOISER_KEYS,
    SCHEDULER_KEYS,
    find_first,
)
from napari_memscan.checkpoints.trusted.wire import ModelRefused

if TYPE_CHECKING:
    from torch import Tensor

BUILT_AUTOENCODERS = ("autoencoder", *AUTOENCODER_KEYS)
BUILT_DENOISERS = ("diffusion", "diffusion_unet", "unet", *DENOISER_KEYS)
"""Where bundles keep their networks on the device, and before that as described."""


class BundleModel:
    """The networks of a bundle and the settings of its scheduler.

    Parameters
    ----------
    config : str
        ``configs/inference.json``.
    device : str
        Where it runs, whatever the bundle says.
    """

    def __init__(self, config: str, device: str) -> None:
        import torch
        from monai.bundle import ConfigParser

        self.device = device
        path = Path(config)
        root = path.parent.parent if path.parent.name in ("configs", "config") else path.parent
        sys.path.insert(0, str(root))
        parser = ConfigParser()
        parser.read_config(config)
        parser["bundle_root"] = str(root)
        parser["device"] = torch.device(device)
        self._parser = parser
        self._names = set(parser.config)
        if device == "cpu":
            self._without_flash()
        loaded = _LoadRecorder()
        with loaded:
            self.autoencoder = self._built("autoencoder", BUILT_AUTOENCODERS)
            self.denoiser = self._built("denoiser", BUILT_DENOISERS)
            self.scheduler = self._content(find_first(self._names, SCHEDULER_KEYS))
            if "set_timesteps" in self._names:
                self._content("set_timesteps")
            for name in sorted(self._names):
                value = parser.config[name]
                if name.startswith("load_") and isinstance(value, str) and value.startswith("$"):
                    self._content(name)
        for what, network in (("autoencoder", self.autoencoder), ("denoiser", self.denoiser)):
            loaded.check(what, network)
            network.to(device).eval()

    def _without_flash(self) -> None:
        # MONAI's flash attention runs on CUDA alone; without it the numbers are the same.
        for name in (*AUTOENCODER_KEYS, *DENOISER_KEYS):
            value = self._parser.config.get(name)
            if isinstance(value, dict) and value.get("use_flash_attention"):
                value["use_flash_attention"] = False

    def _content(self, name: str | None) -> Any:
        return None if name is None else self._parser.get_parsed_content(name)

    def _built(self, what: str, names: tuple[str, ...]) -> Any:
        import torch

        network = self._content(find_first(self._names, names))
        if not isinstance(network, torch.nn.Module):
            raise ModelRefused(f"it has no {what}: none of {', '.join(names)} is a network")
        return network

    def describe(self) -> dict[str, Any]:
        """Return what the bundle says of sampling; None for what it does not."""
        latent_shape = self._plain("latent_shape")
        if latent_shape is None and "noise" in self._names:
            latent_shape = list(self._content("noise").shape[1:])
        return {
            "kind": "ldm",
            "latent_shape": latent_shape,
            "scale_factor": self._plain("scale_factor"),
            "steps": self._plain("num_inference_steps"),
            "spacing": self._plain("spacing"),
            "scheduler": _read_scheduler_settings(self.scheduler),
            "in_channels": getattr(self.denoiser, "in_channels", None),
            "told_spacing": bool(getattr(self.denoiser, "include_spacing_input", False)),
            "shape": None if latent_shape is None else self._decoded_shape(latent_shape),
        }

    def _plain(self, name: str) -> Any:
        value: Any = self._content(name) if name in self._names else None
        if hasattr(value, "tolist"):
            return value.tolist()
        return list(value) if isinstance(value, tuple) else value

    def _decoded_shape(self, latent_shape: list[int]) -> list[int] | None:
        """Return the shape of a decoded volume, worked out without arithmetic."""
        import copy

        import torch

        try:
            network = copy.deepcopy(self.autoencoder).to("meta")
            with torch.inference_mode():
                image = _decode_latent(network, torch.zeros((1, *latent_shape), device="meta"))
        except (RuntimeError, ValueError, TypeError, LookupError, NotImplementedError):
            return None
        return list(image.shape[2:])

    def denoise(self, latent: Tensor, level: Tensor, **condition: Tensor) -> Any:
        """Return the prediction for scaled latents (N, C, x, y, z) at levels (N,)."""
        return self.denoiser(latent, level, **condition)

    def decode(self, latent: Tensor) -> Any:
        """Map unscaled latents (N, C, x, y, z) to volumes (N, 1, X, Y, Z)."""
        return _decode_latent(self.autoencoder, latent)

    def encode_mean(self, volume: Tensor) -> Any:
        """Map volumes (N, 1, X, Y, Z) to the mean of their latents, unscaled."""
        encoded = self.autoencoder.encode(volume)
        latent = encoded[0] if isinstance(encoded, tuple) else encoded
        # A VQVAE's latents are quantised before the denoiser sees them.
        return (
            self.autoencoder.quantize(latent)[0]
            if hasattr(self.autoencoder, "quantize")
            else latent
        )


def _decode_latent(network: Any, latent: Tensor) -> Any:
    decode = getattr(network, "decode_stage_2_outputs", None) or network.decode
    return decode(latent)


class _LoadRecorder:
    """Notes which networks were given weights, and whether all of them."""

    def __enter__(self) -> None:
        import torch

        self._module = cast(Any, torch.nn.Module)
        self._original: Any = self._module.load_state_dict
        original = self._original
        self._covered: dict[int, list[str]] = {}
        covered = self._covered

        def noting(module: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(module, *args, **kwargs)
            missing = list(result.missing_keys)
            covered.update({id(inner): missing for inner in module.modules()})
            return result

        self._module.load_state_dict = noting

    def __exit__(self, *_: object) -> None:
        self._module.load_state_dict = self._original

    def check(self, what: str, network: Any) -> None:
        """Refuse a network whose weights are those of chance: it would run, and yield noise."""
        missing = self._covered.get(id(network))
        if missing is None:
            raise ModelRefused(f"it builds the {what}, but loads no weights into it")
        if missing:
            raise ModelRefused(
                f"its weights leave {len(missing)} tensors of the {what} unset, such as "
                f"{missing[0]}"
            )


def _get_class_name(kind: type) -> str:
    return kind.__name__


def _read_scheduler_settings(scheduler: Any) -> dict[str, Any] | None:
    """Return what the parent needs to build the same scheduler."""
    if scheduler is None:
        return None
    kinds = [kind for kind in type(scheduler).__mro__ if kind.__module__.startswith("monai.")]
    steps, levels = (
        getattr(scheduler, name, None) for name in ("num_inference_steps", "num_train_timesteps")
    )
    settings: dict[str, Any] = {
        # MONAI's DDIM starts with all levels, which says nothing of what the bundle wants.
        "steps": steps
        if steps != levels or "DDPMScheduler" in map(_get_class_name, kinds)
        else None,
        "name": kinds[0].__name__ if kinds else "",
        "class": type(scheduler).__name__,
        "own": kinds[:1] != [type(scheduler)],
    }
    for name in (
        "num_train_timesteps",
        "prediction_type",
        "clip_sample",
        "steps_offset",
        "use_discrete_timesteps",
        "use_timestep_transform",
        "base_img_size_numel",
        "num_inference_steps",
    ):
        value = getattr(scheduler, name, None)
        if value is not None:
            settings[name] = getattr(value, "value", value)
    if getattr(scheduler, "betas", None) is not None:
        settings["betas"] = [float(beta) for beta in scheduler.betas]
        if getattr(scheduler, "final_alpha_cumprod", None) is not None:
            settings["set_alpha_to_one"] = float(scheduler.final_alpha_cumprod) == 1.0
    return settings
