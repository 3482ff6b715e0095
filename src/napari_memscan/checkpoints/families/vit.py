"""3D vision transformers of MONAI: ViT, ViTAutoEnc, UNETR's encoder, BrainIAC (Tak et al. 2026).

Files of other MONAI versions hold layers for cross-attention that are never applied, or lack the
norm before them; both load to the same network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_memscan.checkpoints.families.backbone import (
    Backbone,
    Defaults,
    Triple,
    below,
    count,
    cube_root,
    family,
    in_order,
    kernel,
    only,
    size,
    states,
)
from napari_memscan.checkpoints.latent_model import in_ras
from napari_memscan.checkpoints.probe import Found
from napari_memscan.checkpoints.states import State
from napari_memscan.volumes.preprocessing import MinMax, Window

TITLE = "3D vision transformer (ViT, ViTAutoEnc, BrainIAC)"
PREFIXES = ("", "backbone.", "backbone.backbone.", "vit.", "encoder.", "model.encoder.")
OURS = (
    r"patch_embedding\.(position_embeddings$|patch_embeddings\.)|norm\.|cls_token$"
    r"|blocks\.\d+\.(?!cross_attn\.)"
)
HEAD = 64
"""Numbers a head: 12 heads in ViT-B, 16 in ViT-L."""
AUTOENCODER = Defaults(
    "MONAI's tutorial of self-supervised pre-training",
    spacing=(2.0, 2.0, 2.0), intensity=Window(low=-57, high=164),
)  # fmt: skip
BRAINIAC = Defaults(
    "BrainIAC's validation transform: resized, z-score over voxels that are not 0",
    intensity=MinMax(), normalisation="zscore-nonzero",
)  # fmt: skip
OTHER = Defaults("nothing is known about this transformer's training")
EXTRACTED = (
    "BrainIAC was trained on brain-extracted, registered volumes; on others it may see less than "
    "it could."
)


def _look(found: Found) -> Backbone | None:
    for path, state in states(found):
        for prefix in PREFIXES:
            part = only(below(state, prefix), OURS)
            if part.has(
                "patch_embedding.position_embeddings", "blocks.0.attn.qkv.weight", "norm.weight"
            ) and len(part.shape("patch_embedding.patch_embeddings.weight")) in (0, 5):
                return _describe(found, path, part, prefix)
    return None


def _describe(found: Found, path: Path, state: State, prefix: str) -> Backbone:
    hidden = size(state, "norm.weight")
    token = state.has("cls_token")
    complete(state)
    arguments: dict[str, Any] = {
        "in_channels": 1,
        "hidden_size": hidden,
        "mlp_dim": size(state, "blocks.0.mlp.linear1.weight"),
        "num_layers": count(state, r"blocks\.(\d+)\."),
        "qkv_bias": state.has("blocks.0.attn.qkv.bias"),
        "classification": token,
    }
    unsaid: dict[str, tuple[Any, str]] = {}
    patch: list[int] | None
    if state.has("patch_embedding.patch_embeddings.weight"):
        arguments["proj_type"] = "conv"
        arguments["in_channels"] = size(state, "patch_embedding.patch_embeddings.weight", 1)
        patch = arguments["patch_size"] = kernel(state, "patch_embedding.patch_embeddings.weight")
    else:
        arguments["proj_type"] = "perceptron"
        edge = cube_root(size(state, "patch_embedding.patch_embeddings.1.weight", 1))
        patch = [edge] * 3 if edge else None
        why = 'edges of a patch, as network={"patch_size": [4, 16, 16]}'
        unsaid["patch_size"] = (patch, "patches are cubes" if patch else why)
        patch = (found.declared.network or {}).get("patch_size", patch)
    heads = hidden // HEAD if hidden % HEAD == 0 else None
    why = 'number of attention heads, as network={"num_heads": 12}'
    unsaid["num_heads"] = (heads, f"{HEAD} numbers a head" if heads else why)

    defaults, first = OTHER, token
    warnings: tuple[str, ...] = ()
    if any(name.startswith("conv3d_transpose") for name in state.unused):
        defaults = AUTOENCODER
    elif prefix.startswith("backbone.") and not token:
        defaults, first, warnings = BRAINIAC, True, (EXTRACTED,)
    axes = found.declared.axes or defaults.axes
    shape = _shape(state, patch, axes)
    image = found.declared.shape or shape
    if image is not None:
        arguments["img_size"] = list(in_order(image, axes))
    reasons = (
        f"a 3D vision transformer, {arguments['num_layers']} layers of {hidden}"
        + (f", below '{prefix}'" if prefix else ""),
    )  # fmt: skip
    return Backbone(
        path, state, "ViT", arguments, defaults, reasons, unsaid,
        "first" if first else "mean", shape, warnings,
    )  # fmt: skip


def _shape(state: State, patch: object, axes: str) -> Triple | None:
    """Return the volume's shape along X, Y, Z if there are equally many patches on every axis."""
    edge = cube_root(size(state, "patch_embedding.position_embeddings", 1))
    if edge is None or not isinstance(patch, list) or len(patch) != 3:
        return None
    a, b, c = in_ras(tuple(edge * int(n) for n in patch), axes)
    return a, b, c


def complete(state: State) -> None:
    """Add the norm before cross-attention, which is not applied; old files do not have it."""
    import torch

    for i in range(count(state, r"blocks\.(\d+)\.")):
        like = state.tensors.get(f"blocks.{i}.norm1.weight")
        if like is not None:
            state.tensors.setdefault(f"blocks.{i}.norm_cross_attn.weight", torch.ones_like(like))
            state.tensors.setdefault(f"blocks.{i}.norm_cross_attn.bias", torch.zeros_like(like))


FAMILY = family("vit", TITLE, _look)
