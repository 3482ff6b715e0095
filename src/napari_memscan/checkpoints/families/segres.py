"""The encoder of SegResNetDS, as CT-FM (Pai et al. 2025, MIT licence) was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_memscan.checkpoints.families.backbone_family import (
    BackboneDefaults,
    BackboneSpec,
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
from napari_memscan.volumes.preprocessing import Window

TITLE = "SegResEncoder (CT-FM, SegResNetDS)"
PREFIXES = (
    "",
    "encoder.",
    "backbone.",
    "backbone.encoder.",
    "trunk.",
    "trunk.encoder.",
    "image_encoder.encoder.",
)
ENCODER_PATTERN = r"conv_init\.|layers\.\d+\."
CTFM_BLOCKS = [1, 2, 2, 4, 4]
CTFM_DEFAULTS = BackboneDefaults(
    "CT-FM's pre-training configuration",
    (128, 128, 32),
    (1.0, 1.0, 3.0),
    Window(low=-1024, high=2048),
    axes="SPL",
)
OTHER_DEFAULTS = BackboneDefaults("nothing is known about this SegResNet's training")


def _find_backbone(found: PathProbe) -> BackboneSpec | None:
    for path, state in iter_states(found):
        for prefix in PREFIXES:
            if len(state.shape(f"{prefix}conv_init.weight")) == 5 and state.has(
                f"{prefix}layers.0.blocks.0.conv1.weight"
            ):
                return _describe_backbone(
                    path, keep_matching(take_prefix(state, prefix), ENCODER_PATTERN), prefix
                )
    return None


def _describe_backbone(path: Path, state: StateDict, prefix: str) -> BackboneSpec:
    levels = count_groups(state, r"layers\.(\d+)\.")
    blocks = [count_groups(state, rf"layers\.{i}\.blocks\.(\d+)\.") for i in range(levels)]
    arguments: dict[str, Any] = {
        "init_filters": get_length(state, "conv_init.weight"),
        "in_channels": get_length(state, "conv_init.weight", 1),
        "blocks_down": blocks,
    }
    kernels = [get_kernel_size(state, f"layers.{i}.blocks.0.conv1.weight") for i in range(levels)]
    if any(length != 3 for lengths in kernels for length in lengths):
        # An axis that a level leaves alone has a kernel of 1 there (non-isotropic SegResNetDS).
        arguments["anisotropic_scales"] = [[2 if n > 1 else 1 for n in k] for k in kernels]
    unsaid: dict[str, tuple[Any, str]] = {"act": ("relu", "MONAI's default")}
    batch = state.has("layers.0.blocks.0.norm1.running_mean")
    if batch:
        arguments["norm"] = "batch"
    else:
        why = 'normalisation of the SegResNet, as network={"norm": "instance"}'
        unsaid["norm"] = (None, why)
    defaults = CTFM_DEFAULTS if batch and blocks == CTFM_BLOCKS else OTHER_DEFAULTS
    reasons = (
        f"a 3D SegResEncoder, {arguments['init_filters']} filters, blocks {blocks}"
        + (f", below '{prefix}'" if prefix else ""),
    )
    return BackboneSpec(path, state, "SegResEncoder", arguments, defaults, reasons, unsaid)


FAMILY = make_backbone_family("segres", TITLE, _find_backbone)
