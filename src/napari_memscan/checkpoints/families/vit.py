"""3D vision transformers of MONAI: ViT, ViTAutoEnc, UNETR's encoder, BrainIAC (Tak et al. 2026).

Files of other MONAI versions hold layers for cross-attention that are never applied, or lack the
norm before them; both load to the same network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_memscan.checkpoints.families.backbone_family import (
    BackboneDefaults,
    BackboneSpec,
    compute_cube_root,
    count_groups,
    get_kernel_size,
    get_length,
    iter_states,
    keep_matching,
    make_backbone_family,
    take_prefix,
)
from napari_memscan.checkpoints.latent_model import from_ras_order, to_ras_order
from napari_memscan.checkpoints.probe import PathProbe
from napari_memscan.checkpoints.state_dicts import StateDict
from napari_memscan.typing import GridShape
from napari_memscan.volumes.preprocessing import MinMax, Window

TITLE = "3D vision transformer (ViT, ViTAutoEnc, BrainIAC)"
PREFIXES = ("", "backbone.", "backbone.backbone.", "vit.", "encoder.", "model.encoder.")
ENCODER_PATTERN = (
    r"patch_embedding\.(position_embeddings$|patch_embeddings\.)|norm\.|cls_token$"
    r"|blocks\.\d+\.(?!cross_attn\.)"
)
HEAD_SIZE = 64
"""Numbers a head: 12 heads in ViT-B, 16 in ViT-L."""
AUTOENCODER_DEFAULTS = BackboneDefaults(
    "MONAI's tutorial of self-supervised pre-training",
    spacing=(2.0, 2.0, 2.0),
    intensity=Window(low=-57, high=164),
)
BRAINIAC_DEFAULTS = BackboneDefaults(
    "BrainIAC's validation transform: resized, z-score over voxels that are not 0",
    intensity=MinMax(),
    normalisation="zscore-nonzero",
)
OTHER_DEFAULTS = BackboneDefaults("nothing is known about this transformer's training")
EXTRACTION_WARNING = (
    "BrainIAC was trained on brain-extracted, registered volumes; on others it may see less than "
    "it could."
)


def _find_backbone(found: PathProbe) -> BackboneSpec | None:
    for path, state in iter_states(found):
        for prefix in PREFIXES:
            part = keep_matching(take_prefix(state, prefix), ENCODER_PATTERN)
            if part.has(
                "patch_embedding.position_embeddings", "blocks.0.attn.qkv.weight", "norm.weight"
            ) and len(part.shape("patch_embedding.patch_embeddings.weight")) in (0, 5):
                return _describe_backbone(found, path, part, prefix)
    return None


def _describe_backbone(found: PathProbe, path: Path, state: StateDict, prefix: str) -> BackboneSpec:
    hidden = get_length(state, "norm.weight")
    token = state.has("cls_token")
    add_cross_attention_norms(state)
    arguments: dict[str, Any] = {
        "in_channels": 1,
        "hidden_size": hidden,
        "mlp_dim": get_length(state, "blocks.0.mlp.linear1.weight"),
        "num_layers": count_groups(state, r"blocks\.(\d+)\."),
        "qkv_bias": state.has("blocks.0.attn.qkv.bias"),
        "classification": token,
    }
    unsaid: dict[str, tuple[Any, str]] = {}
    patch: list[int] | None
    if state.has("patch_embedding.patch_embeddings.weight"):
        arguments["proj_type"] = "conv"
        arguments["in_channels"] = get_length(state, "patch_embedding.patch_embeddings.weight", 1)
        patch = arguments["patch_size"] = get_kernel_size(
            state, "patch_embedding.patch_embeddings.weight"
        )
    else:
        arguments["proj_type"] = "perceptron"
        edge = compute_cube_root(get_length(state, "patch_embedding.patch_embeddings.1.weight", 1))
        patch = [edge] * 3 if edge else None
        why = 'edges of a patch, as network={"patch_size": [4, 16, 16]}'
        unsaid["patch_size"] = (patch, "patches are cubes" if patch else why)
        patch = (found.declared.network or {}).get("patch_size", patch)
    heads = hidden // HEAD_SIZE if hidden % HEAD_SIZE == 0 else None
    why = 'number of attention heads, as network={"num_heads": 12}'
    unsaid["num_heads"] = (heads, f"{HEAD_SIZE} numbers a head" if heads else why)

    defaults, first = OTHER_DEFAULTS, token
    warnings: tuple[str, ...] = ()
    if any(name.startswith("conv3d_transpose") for name in state.unused):
        defaults = AUTOENCODER_DEFAULTS
    elif prefix.startswith("backbone.") and not token:
        defaults, first, warnings = BRAINIAC_DEFAULTS, True, (EXTRACTION_WARNING,)
    axes = found.declared.axes or defaults.axes
    shape = _infer_shape(state, patch, axes)
    image = found.declared.shape or shape
    if image is not None:
        arguments["img_size"] = list(from_ras_order(image, axes))
    reasons = (
        f"a 3D vision transformer, {arguments['num_layers']} layers of {hidden}"
        + (f", below '{prefix}'" if prefix else ""),
    )
    return BackboneSpec(
        path,
        state,
        "ViT",
        arguments,
        defaults,
        reasons,
        unsaid,
        "first" if first else "mean",
        shape,
        warnings,
    )


def _infer_shape(state: StateDict, patch: object, axes: str) -> GridShape | None:
    """Return the volume's shape along X, Y, Z if there are equally many patches on every axis."""
    edge = compute_cube_root(get_length(state, "patch_embedding.position_embeddings", 1))
    if edge is None or not isinstance(patch, list) or len(patch) != 3:
        return None
    a, b, c = to_ras_order(tuple(edge * int(n) for n in patch), axes)
    return a, b, c


def add_cross_attention_norms(state: StateDict) -> None:
    """Add the norm before cross-attention, which is not applied; old files do not have it."""
    import torch

    for i in range(count_groups(state, r"blocks\.(\d+)\.")):
        like = state.tensors.get(f"blocks.{i}.norm1.weight")
        if like is not None:
            state.tensors.setdefault(f"blocks.{i}.norm_cross_attn.weight", torch.ones_like(like))
            state.tensors.setdefault(f"blocks.{i}.norm_cross_attn.bias", torch.zeros_like(like))


FAMILY = make_backbone_family("vit", TITLE, _find_backbone)
