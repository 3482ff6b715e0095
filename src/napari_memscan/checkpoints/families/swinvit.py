"""The Swin transformer of SwinUNETR: MONAI's self-supervised weights, whole SwinUNETRs, VoCo.

MONAI's research contributions (Apache-2.0) save ``{"state_dict": {"module.": ...}}`` with another
name for the layers of the MLP; VoCo calls the encoder ``swin_vit`` or trains two at once. Whole
networks hold decoders too, which are not used here.
"""

from __future__ import annotations

from pathlib import Path

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
from napari_memscan.checkpoints.probe import PathProbe
from napari_memscan.checkpoints.state_dicts import StateDict
from napari_memscan.errors import BadInput
from napari_memscan.volumes.preprocessing import Window

TITLE = "Swin transformer of SwinUNETR (MONAI, VoCo)"
PREFIXES = (
    "",
    "swinViT.",
    "swin_vit.",
    "student.swinViT.",
    "student.swin_vit.",
    "backbone.swinViT.",
    "backbone.",
    "encoder.",
)
RENAME_RULES = (
    (r"\.mlp\.fc([12])\.", r".mlp.linear\1."),
    # Valanarasu et al. 2023 nest their stages once more.
    (r"^(layers[1-4]\.0)\.0\.", r"\1."),
)
ENCODER_PATTERN = r"patch_embed\.|layers\d+c?\."
DEFAULT_SHAPE = (96, 96, 96)
PRETRAINED_DEFAULTS = BackboneDefaults(
    "SwinUNETR/Pretrain of MONAI's research contributions",
    DEFAULT_SHAPE,
    (1.5, 1.5, 2.0),
    Window(low=-1000, high=1000),
)
VOCO_DEFAULTS = BackboneDefaults(
    "VoCo's training and fine-tuning scripts",
    DEFAULT_SHAPE,
    (1.5, 1.5, 1.5),
    Window(low=-175, high=250),
)
WHOLE_DEFAULTS = BackboneDefaults("nothing is known about this SwinUNETR's training", DEFAULT_SHAPE)


def _find_backbone(found: PathProbe) -> BackboneSpec | None:
    for path, state in iter_states(found):
        for prefix in PREFIXES:
            if len(state.shape(f"{prefix}patch_embed.proj.weight")) != 5:
                continue
            part = keep_matching(take_prefix(state, prefix).rename(RENAME_RULES), ENCODER_PATTERN)
            if part.has("layers1.0.blocks.0.attn.relative_position_bias_table"):
                return _describe_backbone(path, part, prefix)
    return None


def _describe_backbone(path: Path, state: StateDict, prefix: str) -> BackboneSpec:
    first = "layers1.0.blocks.0"
    stages = range(1, 5)
    width = get_length(state, "patch_embed.proj.weight")
    # (2 w - 1)^3 offsets between two voxels of a window.
    offsets = compute_cube_root(get_length(state, f"{first}.attn.relative_position_bias_table"))
    if offsets is None or offsets % 2 == 0:
        raise BadInput(
            f"{path}: a Swin transformer whose windows are no cubes "
            f"({state.shape(f'{first}.attn.relative_position_bias_table')}); not supported."
        )
    second = any(name.startswith("layers1c.") for name in state.tensors)
    arguments = {
        "in_chans": get_length(state, "patch_embed.proj.weight", 1),
        "embed_dim": width,
        "window_size": [(offsets + 1) // 2] * 3,
        "patch_size": get_kernel_size(state, "patch_embed.proj.weight"),
        "depths": [count_groups(state, rf"layers{i}\.0\.blocks\.(\d+)\.") for i in stages],
        "num_heads": [
            get_length(state, f"layers{i}.0.blocks.0.attn.relative_position_bias_table", 1)
            for i in stages
        ],
        "mlp_ratio": get_length(state, f"{first}.mlp.linear1.weight") / max(width, 1),
        "qkv_bias": state.has(f"{first}.attn.qkv.bias"),
        "patch_norm": state.has("patch_embed.norm.weight"),
        "use_v2": second,
    }
    decoder = any(name.startswith(("decoder", "out.")) for name in state.unused)
    if second or prefix.startswith(("student.", "backbone.swinViT")):
        defaults = VOCO_DEFAULTS
    else:
        defaults = WHOLE_DEFAULTS if decoder else PRETRAINED_DEFAULTS
    reasons = (
        f"a 3D Swin transformer{' V2' if second else ''} of width {width}"
        + (f" below '{prefix}'" if prefix else ""),
    )
    unsaid = {"downsample": ("merging", "MONAI's default; 'mergingv2' has the same weights")}
    return BackboneSpec(path, state, "SwinViT", arguments, defaults, reasons, unsaid)


FAMILY = make_backbone_family("swinvit", TITLE, _find_backbone)
