"""A latent diffusion model whose networks are loaded: denoise, decode, encode; nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from napari_memscan.checkpoints.networks import (
    build_autoencoder,
    build_denoiser,
    build_with_weights,
)
from napari_memscan.checkpoints.recipe import AutoencoderRecipe, Conditioning, LDMRecipe
from napari_memscan.errors import BadInput
from napari_memscan.volumes.orientation import from_ras

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from napari_memscan.checkpoints.checkpoint import Checkpoint
    from napari_memscan.typing import Array

T = TypeVar("T")


class LatentCodec:
    """An autoencoder, with latents scaled as the denoiser wants them.

    Parameters
    ----------
    recipe : LDMRecipe or AutoencoderRecipe
        Says which network, and how latents are scaled.
    network : nn.Module
        Of `build_autoencoder`.
    """

    def __init__(self, recipe: LDMRecipe | AutoencoderRecipe, network: Any) -> None:
        self.recipe, self.network = recipe, network

    def prepare(self, volume: Array, device: torch.device) -> Tensor:
        """Return a volume (X, Y, Z) in [0, 1], RAS, as the network takes it: (1, 1, ...)."""
        import torch

        low, high = self.recipe.decoded_range or (0.0, 1.0)
        x = torch.from_numpy(np.ascontiguousarray(from_ras(volume, self.recipe.axes)))
        return x[None, None].to(device) * (high - low) + low

    def decode(self, latent: Tensor) -> Tensor:
        """Map latents (N, C, x, y, z) as the denoiser makes them to volumes (N, 1, X, Y, Z)."""
        return self.decode_unscaled(self.unscaled(latent))

    def decode_unscaled(self, latent: Tensor) -> Tensor:
        """Map latents as the autoencoder makes them to volumes; a window of them does as well."""
        if hasattr(self.network, "decode_stage_2_outputs"):
            image: Tensor = self.network.decode_stage_2_outputs(latent)
        else:
            image = self.network.decode(latent)
        return image

    def unscaled(self, latent: Tensor) -> Tensor:
        """Undo the scaling, and crop to the shape the autoencoder knows."""
        recipe = self.recipe
        if not isinstance(recipe, LDMRecipe):
            return latent
        if recipe.decode_shape is not None:
            latent = _crop_latent(latent, recipe.decode_shape, recipe.decode_start)
        if recipe.latent_scaling == "codebook":
            low, high = self.network.codebook_range
            return (latent + 1) / 2 * (high - low) + low
        assert recipe.scale_factor is not None
        return latent / recipe.scale_factor

    def scaled(self, latent: Tensor) -> Tensor:
        """Scale a latent as the denoiser wants it: what `unscaled` undoes but for its crop."""
        recipe = self.recipe
        assert isinstance(recipe, LDMRecipe)
        if recipe.latent_scaling == "codebook":
            low, high = self.network.codebook_range
            return (latent - low) / (high - low) * 2 - 1
        assert recipe.scale_factor is not None
        return latent * recipe.scale_factor

    def encode_mean(self, volumes: Tensor) -> Tensor:
        """Map volumes (N, 1, X, Y, Z) to the mean of their latents, unscaled; nothing is drawn.

        Latents of MONAI's VQVAE are quantised, as its `encode_stage_2_inputs` gives them to the
        denoiser in training.
        """
        encoded = self.network.encode(volumes)
        latent: Tensor = encoded[0] if isinstance(encoded, tuple) else encoded
        if hasattr(self.network, "quantize"):
            latent = self.network.quantize(latent)[0]
        return latent


def _crop_latent(
    latent: Tensor, shape: tuple[int, ...], start: tuple[int, ...] | None = None
) -> Tensor:
    """Crop from `start`, or about the centre as MONAI's CenterSpatialCrop does."""
    for axis, (have, want) in enumerate(zip(latent.shape[2:], shape, strict=True)):
        first = max(have // 2 - want // 2, 0) if start is None else start[axis]
        latent = latent.narrow(axis + 2, first, min(want, have))
    return latent


class LatentModel:
    """The networks of an LDM, told what they are conditioned on.

    Parameters
    ----------
    recipe : LDMRecipe
        Says all that the weights do not.
    autoencoder, denoiser : nn.Module
        Of `build_autoencoder` and `build_denoiser`.
    """

    def __init__(self, recipe: LDMRecipe, autoencoder: Any, denoiser: Any) -> None:
        self.recipe = recipe
        self.codec = LatentCodec(recipe, autoencoder)
        self.denoiser = denoiser
        self.decode = self.codec.decode
        self.encode_mean = self.codec.encode_mean

    @classmethod
    def build(cls, checkpoint: Checkpoint, device: torch.device) -> LatentModel:
        """Build the networks of a checkpoint and load its weights.

        Raises
        ------
        BadInput
            Recipe and weights do not fit each other; says which tensors.
        """
        recipe = checkpoint.recipe
        assert isinstance(recipe, LDMRecipe)
        check_shapes(recipe, checkpoint.path)
        networks = []
        for part, build in (("autoencoder", build_autoencoder), ("denoiser", build_denoiser)):
            network = build_with_weights(
                partial(build, getattr(recipe, part), checkpoint.path),
                checkpoint.weights(part),
                checkpoint.report.files[part],
            )
            networks.append(network.to(device).eval())
        return cls(recipe, *networks)

    def denoise(self, latent: Tensor, level: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the denoiser's prediction for latents at a noise level.

        Parameters
        ----------
        latent : tensor (N, C, x, y, z)
            Noisy latents, scaled.
        level : tensor (N,)
            Their noise level, from 0 to the number of levels in training.
        labels : tensor (N,), optional
            Class label of each, for a recipe with `classes`; by default none is told a condition.
        """
        condition = self.recipe.conditioning
        if condition is None:
            return self._predict(latent, level, {})
        with_ = self._predict(latent, level, self._arguments(latent, condition, True, labels))
        if condition.guidance is None:
            return with_
        without = self._predict(latent, level, self._arguments(latent, condition, False))
        return without + condition.guidance * (with_ - without)

    def _predict(self, latent: Tensor, level: Tensor, arguments: dict[str, Tensor]) -> Tensor:
        import torch

        extra = arguments.pop("concatenated", None)
        if extra is not None:
            latent = torch.cat([latent, extra], dim=1)
        prediction: Tensor = self.denoiser(latent, level, **arguments)
        return prediction

    def _arguments(
        self, latent: Tensor, condition: Conditioning, stated: bool, labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return what the denoiser takes besides latent and level; `stated` or "no condition"."""
        import torch

        n, device = len(latent), latent.device
        arguments: dict[str, Tensor] = {}
        if condition.context is not None:
            values = torch.tensor(condition.context, device=device)
            if not stated:
                values = torch.full_like(values, condition.fill)
            arguments["context"] = values.expand(n, 1, -1)
            if condition.concatenate:
                shape = (n, len(values), *latent.shape[2:])
                arguments["concatenated"] = values[None, :, None, None, None].expand(shape)
        if condition.classes or condition.class_label is not None:
            if labels is None:
                labels = torch.full((n,), condition.class_label or 0, device=device)
            arguments["class_labels"] = labels if stated else torch.zeros_like(labels)
        if condition.spacing and self.recipe.spacing is not None:
            # In the order of the network's axes, times 100: MAISI, Guo et al. 2025, section 3.2.
            spacing = from_ras_order(self.recipe.spacing, self.recipe.axes)
            values = torch.tensor(spacing, device=device) * 1e2
            arguments["spacing_tensor"] = values.expand(n, -1)
        for name, region in zip(("top", "bottom"), condition.regions or (), strict=False):
            values = torch.tensor(region, device=device) * 1e2
            arguments[f"{name}_region_index_tensor"] = values.expand(n, -1)
        return arguments


def check_shapes(recipe: LDMRecipe, where: str | Path) -> None:
    """Refuse a latent shape that denoiser, autoencoder and preprocessing do not agree on.

    Both networks are run once without memory or arithmetic (PyTorch's meta device), so this
    costs next to nothing at any size and finds the error before the first step, not in it.

    Raises
    ------
    BadInput
        Says which part does not fit, with the shapes.
    """
    import torch

    if recipe.hash in _CHECKED_RECIPES:
        return
    shape = (1, *recipe.latent_shape)
    with torch.device("meta"), torch.inference_mode():
        model = LatentModel(
            recipe,
            build_autoencoder(recipe.autoencoder, where),
            build_denoiser(recipe.denoiser, where),
        )
        latent = torch.zeros(shape)
        predicted = _infer_shape(model.denoise, "denoiser", where, recipe, latent, torch.zeros(1))
        if recipe.decode_shape is not None:
            latent = _crop_latent(latent, recipe.decode_shape, recipe.decode_start)
        decoded = _infer_shape(model.codec.decode_unscaled, "autoencoder", where, recipe, latent)
    if predicted != shape:
        raise BadInput(
            f"{where}: latent_shape is {recipe.latent_shape}, but the denoiser makes "
            f"{predicted[1:]} of it; its in_channels and out_channels must both be "
            f"{recipe.latent_shape[0]}."
        )
    wanted = recipe.preprocessing.shape
    if (
        decoded[:2] != (1, 1)
        or prod(decoded) != prod(wanted)
        or to_ras_order(decoded[2:], recipe.axes) != tuple(wanted)
    ):
        raise BadInput(
            f"{where}: a latent of latent_shape {recipe.latent_shape} decodes to {decoded[1:]}"
            f"{'' if recipe.axes == 'RAS' else f' in {recipe.axes}'}, "
            f"but preprocessing.shape asks for one channel of {wanted}. "
            "Correct the one that is wrong."
        )
    _CHECKED_RECIPES.add(recipe.hash)


_CHECKED_RECIPES: set[str] = set()
"""Recipes that were found to fit: a checkpoint is often looked at before it is used."""

_PAIRS = ("RL", "AP", "SI")


def to_ras_order(shape: tuple[int, ...], axes: str) -> tuple[int, ...]:
    """Return the lengths along X, Y, Z of an array whose axes point to `axes`."""
    return tuple(shape[next(i for i, c in enumerate(axes) if c in pair)] for pair in _PAIRS)


def from_ras_order(values: Sequence[T], axes: str) -> tuple[T, T, T]:
    """Return values along X, Y, Z in the order of an array whose axes point to `axes`."""
    a, b, c = (
        values[next(i for i, pair in enumerate(_PAIRS) if letter in pair)] for letter in axes
    )
    return a, b, c


def _infer_shape(
    network: Any, what: str, where: str | Path, recipe: LDMRecipe, *inputs: Tensor
) -> tuple[int, ...]:
    try:
        return tuple(network(*inputs).shape)
    except (
        RuntimeError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        NotImplementedError,
    ) as error:
        raise BadInput(
            f"{where}: latent_shape {recipe.latent_shape} does not fit the {what}: "
            f"{str(error).splitlines()[0][:300] if str(error) else type(error).__name__}"
        ) from error
