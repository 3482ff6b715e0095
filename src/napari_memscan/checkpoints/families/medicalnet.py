"""3D ResNets: MedicalNet (Chen et al. 2019, MIT licence) and the first BrainIAC.

Both have the same names and shapes as MONAI's ResNet, and both compute something else than it
does with its default arguments: MedicalNet's last two stages are dilated instead of strided, and
the stride of the first convolution is 2. Neither is in the weights.
"""

from __future__ import annotations

from pathlib import Path

from napari_memscan.checkpoints.families.backbone_family import (
    BackboneDefaults,
    BackboneSpec,
    add_batch_counters,
    count_groups,
    get_kernel_size,
    get_length,
    iter_states,
    make_backbone_family,
    take_prefix,
)
from napari_memscan.checkpoints.probe import PathProbe
from napari_memscan.checkpoints.state_dicts import StateDict
from napari_memscan.volumes.preprocessing import MinMax

TITLE = "3D ResNet (MedicalNet, BrainIAC V1)"
HEADS = ("fc.", "conv_seg.")
MEDICALNET_DEFAULTS = BackboneDefaults(
    "MedicalNet's settings and data set",
    shape=(448, 448, 56),
    intensity=MinMax(),
    axes="SAR",
    normalisation="zscore-nonzero",
)
BRAINIAC_DEFAULTS = BackboneDefaults(
    "BrainIAC's data set: 128^3, scaled to [0, 1]", shape=(128, 128, 128), intensity=MinMax()
)
OTHER_DEFAULTS = BackboneDefaults("nothing is known about this ResNet's training")
NOISE_WARNING = (
    "MedicalNet fills voxels that are 0 with random noise of mean 0; here they become 0, so that "
    "a volume always has the same vector."
)


def _take_resnet(state: StateDict) -> StateDict | None:
    for prefix in ("", "backbone."):
        part = take_prefix(state, prefix)
        if len(part.shape("conv1.weight")) == 5 and part.has(
            "bn1.weight", "layer1.0.conv1.weight", "layer4.0.conv1.weight"
        ):
            return part
    return None


def _find_backbone(found: PathProbe) -> BackboneSpec | None:
    for path, state in iter_states(found):
        part = _take_resnet(state)
        if part is not None:
            return _describe_backbone(path, part)
    return None


def _describe_backbone(path: Path, state: StateDict) -> BackboneSpec:
    headed = any(name.startswith("fc.") for name in state.tensors)
    state = state.without([name for name in state.tensors if name.startswith(HEADS)])
    add_batch_counters(state)
    biased = state.has("layer2.0.downsample.0.bias")
    shortcut = "B" if state.has("layer2.0.downsample.0.weight") else "A"
    block = "bottleneck" if state.has("layer1.0.conv3.weight") else "basic"
    layers = [count_groups(state, rf"layer{i}\.(\d+)\.") for i in range(1, 5)]
    arguments = {
        "block": block,
        "layers": layers,
        "block_inplanes": [get_length(state, f"layer{i}.0.conv1.weight") for i in range(1, 5)],
        "n_input_channels": get_length(state, "conv1.weight", 1),
        "conv1_t_size": get_kernel_size(state, "conv1.weight"),
        "shortcut_type": shortcut,
        "bias_downsample": biased,
        "feed_forward": False,
    }
    depth = 2 + sum(layers) * (3 if block == "bottleneck" else 2)
    reasons = (f"a 3D ResNet-{depth}: blocks {layers}, {block}, shortcut {shortcut}",)
    if state.prefix.endswith("backbone."):
        return BackboneSpec(
            path,
            state,
            "ResNet",
            arguments,
            BRAINIAC_DEFAULTS,
            (*reasons, "below 'backbone.'"),
            {"conv1_t_stride": (2, "BrainIAC's"), "dilated": (False, "BrainIAC's")},
        )
    if biased or headed:
        why = 'stride of the first convolution, as network={"conv1_t_stride": 1}'
        return BackboneSpec(
            path,
            state,
            "ResNet",
            arguments,
            OTHER_DEFAULTS,
            (*reasons, "with a classifier or biases that MedicalNet does not have"),
            {"conv1_t_stride": (None, why), "dilated": (False, "MONAI's default")},
        )
    return BackboneSpec(
        path,
        state,
        "ResNet",
        arguments,
        MEDICALNET_DEFAULTS,
        (*reasons, "without classifier and biases, as MedicalNet"),
        {
            "conv1_t_stride": (2, "MedicalNet's"),
            "dilated": (True, "MedicalNet's: stages 3 and 4 have dilations 2 and 4 and stride 1"),
        },
        warnings=(NOISE_WARNING,),
    )


FAMILY = make_backbone_family("medicalnet", TITLE, _find_backbone)
