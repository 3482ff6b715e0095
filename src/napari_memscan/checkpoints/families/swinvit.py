"""The Swin transformer of SwinUNETR: MONAI's self-supervised weights, whole SwinUNETRs, VoCo.

MONAI's research contributions (Apache-2.0) save ``{"state_dict": {"module.": ...}}`` with another
name for the layers of the MLP; VoCo calls the encoder ``swin_vit`` or trains two at once. Whole
networks hold decoders too, which are not used here.
"""

from __future__ import annotations

from pathlib import Path

from napari_memscan.checkpoints.families.backbone import (
    Backbone,
    Defaults,
    below,
    count,
    cube_root,
    family,
    kernel,
    only,
    size,
    states,
)
from napari_memscan.checkpoints.probe import Found
from napari_memscan.checkpoints.states import State
from napari_memscan.errors import BadInput
from napari_memscan.volumes.preprocessing import Window

TITLE = "Swin transformer of SwinUNETR (MONAI, VoCo)"
PREFIXES = (
    "", "swinViT.", "swin_vit.", "student.swinViT.", "student.swin_vit.", "backbone.swinViT.",
    "backbone.", "encoder.",
)  # fmt: skip
RENAMED = (
    (r"\.mlp\.fc([12])\.", r".mlp.linear\1."),
    # Valanarasu et al. 2023 nest their stages once more.
    (r"^(layers[1-4]\.0)\.0\.", r"\1."),
)
OURS = r"patch_embed\.|layers\d+c?\."
CUBE = (96, 96, 96)
PRETRAINED = Defaults(
    "SwinUNETR/Pretrain of MONAI's research contributions",
    CUBE, (1.5, 1.5, 2.0), Window(low=-1000, high=1000),
)  # fmt: skip
VOCO = Defaults(
    "VoCo's training and fine-tuning scripts", CUBE, (1.5, 1.5, 1.5), Window(low=-175, high=250)
)
WHOLE = Defaults("nothing is known about this SwinUNETR's training", CUBE)


def _look(found: Found) -> Backbone | None:
    for path, state in states(found):
        for prefix in PREFIXES:
            if len(state.shape(f"{prefix}patch_embed.proj.weight")) != 5:
                continue
            part = only(below(state, prefix).rename(RENAMED), OURS)
            if part.has("layers1.0.blocks.0.attn.relative_position_bias_table"):
                return _describe(path, part, prefix)
    return None


def _describe(path: Path, state: State, prefix: str) -> Backbone:
    first = "layers1.0.blocks.0"
    stages = range(1, 5)
    width = size(state, "patch_embed.proj.weight")
    # (2 w - 1)^3 offsets between two voxels of a window.
    offsets = cube_root(size(state, f"{first}.attn.relative_position_bias_table"))
    if offsets is None or offsets % 2 == 0:
        raise BadInput(
            f"{path}: a Swin transformer whose windows are no cubes "
            f"({state.shape(f'{first}.attn.relative_position_bias_table')}); not supported."
        )
    second = any(name.startswith("layers1c.") for name in state.tensors)
    arguments = {
        "in_chans": size(state, "patch_embed.proj.weight", 1),
        "embed_dim": width,
        "window_size": [(offsets + 1) // 2] * 3,
        "patch_size": kernel(state, "patch_embed.proj.weight"),
        "depths": [count(state, rf"layers{i}\.0\.blocks\.(\d+)\.") for i in stages],
        "num_heads": [
            size(state, f"layers{i}.0.blocks.0.attn.relative_position_bias_table", 1)
            for i in stages
        ],
        "mlp_ratio": size(state, f"{first}.mlp.linear1.weight") / max(width, 1),
        "qkv_bias": state.has(f"{first}.attn.qkv.bias"),
        "patch_norm": state.has("patch_embed.norm.weight"),
        "use_v2": second,
    }
    decoder = any(name.startswith(("decoder", "out.")) for name in state.unused)
    if second or prefix.startswith(("student.", "backbone.swinViT")):
        defaults = VOCO
    else:
        defaults = WHOLE if decoder else PRETRAINED
    reasons = (
        f"a 3D Swin transformer{' V2' if second else ''} of width {width}"
        + (f" below '{prefix}'" if prefix else ""),
    )  # fmt: skip
    unsaid = {"downsample": ("merging", "MONAI's default; 'mergingv2' has the same weights")}
    return Backbone(path, state, "SwinViT", arguments, defaults, reasons, unsaid)


FAMILY = family("swinvit", TITLE, _look)
