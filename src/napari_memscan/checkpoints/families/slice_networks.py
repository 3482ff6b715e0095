"""2D state dicts under MONAI's names: torchvision's ResNets, transformers of DINO and timm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_memscan.checkpoints.families.backbone_family import (
    add_batch_counters,
    count_groups,
    get_length,
)
from napari_memscan.checkpoints.families.vit import HEAD_SIZE, add_cross_attention_norms
from napari_memscan.checkpoints.probe import PathProbe
from napari_memscan.checkpoints.state_dicts import StateDict

if TYPE_CHECKING:
    from torch import Tensor

SEQUENTIAL_RULES = (
    (r"^0\.", "conv1."),
    (r"^1\.", "bn1."),
    (r"^4\.", "layer1."),
    (r"^5\.", "layer2."),
    (r"^6\.", "layer3."),
    (r"^7\.", "layer4."),
)
"""A ResNet's children in an nn.Sequential, as RadImageNet saves them."""
VIT_RULES = (
    (r"^patch_embed\.proj\.", "patch_embedding.patch_embeddings."),
    (r"^reg_token$", "register_tokens"),
    (r"\.attn\.proj\.", ".attn.out_proj."),
    (r"\.mlp\.fc1\.", ".mlp.linear1."),
    (r"\.mlp\.fc2\.", ".mlp.linear2."),
)
LAYER_SCALES = (("ls1", "attn.out_proj"), ("ls2", "mlp.linear2"))
"""Layer scale (Touvron et al. 2021, DINOv2): a factor for each number of a branch's output."""


def _keep_state(state: StateDict, _arguments: Mapping[str, Any]) -> StateDict:
    return state


@dataclass(frozen=True)
class SliceNetworkSpec:
    """A 2D network as its state dict describes it.

    Attributes
    ----------
    path : Path
        The weight file.
    state : StateDict
        Tensors, heads left out.
    network : {"ResNet", "ViT"}
        As in `SlicesRecipe`.
    channels : int
        Of its input.
    arguments, unsaid, reasons
        See `BackboneSpec`.
    features : {"mean", "first"}
        See `SlicesRecipe`.
    finish : callable
        Brings the state under MONAI's names, for the network's final arguments.
    """

    path: Path
    state: StateDict
    network: Literal["ResNet", "ViT"]
    channels: int
    arguments: dict[str, Any]
    reasons: tuple[str, ...]
    unsaid: dict[str, tuple[Any, str]] = field(default_factory=dict)
    features: Literal["mean", "first"] = "mean"
    finish: Callable[[StateDict, Mapping[str, Any]], StateDict] = _keep_state

    def finished(self, arguments: Mapping[str, Any]) -> StateDict:
        """Return the state under MONAI's names."""
        return self.finish(self.state, arguments)


def describe_resnet(found: PathProbe, path: Path, state: StateDict) -> SliceNetworkSpec | None:
    """Describe a 2D ResNet; None where it is something else.

    Torchvision's bottlenecks have their stride in the second convolution, as MONAI's.
    """
    if state.has("0.weight", "4.0.conv1.weight"):
        state = state.rename(SEQUENTIAL_RULES)
    if len(state.shape("conv1.weight")) != 4 or not state.has(
        "bn1.weight", "layer1.0.conv1.weight", "layer4.0.conv1.weight"
    ):
        return None
    add_batch_counters(state)
    biased = state.has("layer2.0.downsample.0.bias")
    block = "bottleneck" if state.has("layer1.0.conv3.weight") else "basic"
    layers = [count_groups(state, rf"layer{i}\.(\d+)\.") for i in range(1, 5)]
    edges = list(state.shape("conv1.weight")[2:])
    arguments: dict[str, Any] = {
        "block": block,
        "layers": layers,
        "block_inplanes": [get_length(state, f"layer{i}.0.conv1.weight") for i in range(1, 5)],
        "n_input_channels": get_length(state, "conv1.weight", 1),
        "conv1_t_size": edges,
        "bias_downsample": biased,
        "feed_forward": False,
    }
    usual = edges == [7, 7] and not biased
    why = 'stride of the first convolution, as network={"conv1_t_stride": 1}'
    unsaid: dict[str, tuple[Any, str]] = {
        "conv1_t_stride": (2, "torchvision's") if usual else (None, why)
    }
    if not usual and not biased:
        unsaid["no_max_pool"] = (None, 'is there no pooling, as network={"no_max_pool": true}')
    depth = 2 + sum(layers) * (3 if block == "bottleneck" else 2)
    reasons = (f"a 2D ResNet-{depth}: blocks {layers}, {block}",)
    return SliceNetworkSpec(
        path, state, "ResNet", arguments["n_input_channels"], arguments, reasons, unsaid
    )


def describe_transformer(found: PathProbe, path: Path, state: StateDict) -> SliceNetworkSpec | None:
    """Describe a 2D vision transformer; None where it is something else."""
    if len(state.shape("patch_embed.proj.weight")) != 4 or not state.has(
        "pos_embed", "blocks.0.attn.qkv.weight", "norm.weight"
    ):
        return None
    hidden = get_length(state, "norm.weight")
    token = state.has("cls_token")
    name = "reg_token" if state.has("reg_token") else "register_tokens"
    patch = list(state.shape("patch_embed.proj.weight")[2:])
    arguments: dict[str, Any] = {
        "in_channels": get_length(state, "patch_embed.proj.weight", 1),
        "patch_size": patch,
        "hidden_size": hidden,
        "mlp_dim": get_length(state, "blocks.0.mlp.fc1.weight"),
        "num_layers": count_groups(state, r"blocks\.(\d+)\."),
        "qkv_bias": state.has("blocks.0.attn.qkv.bias"),
        "classification": token,
        "registers": get_length(state, name, 1),
        "eps": 1e-6,
    }
    unsaid: dict[str, tuple[Any, str]] = {}
    if "img_size" not in (found.declared.network or {}):
        edge = _count_edge_patches(state)
        why = 'rows and columns of a slice, as network={"img_size": [224, 224]}'
        unsaid["img_size"] = ([edge * n for n in patch], "the weights") if edge else (None, why)
    heads = hidden // HEAD_SIZE if hidden % HEAD_SIZE == 0 else None
    why = 'number of attention heads, as network={"num_heads": 12}'
    unsaid["num_heads"] = (heads, f"{HEAD_SIZE} numbers a head" if heads else why)
    reasons = (f"a 2D vision transformer, {arguments['num_layers']} layers of {hidden}",)
    return SliceNetworkSpec(
        path,
        state,
        "ViT",
        arguments["in_channels"],
        arguments,
        reasons,
        unsaid,
        "first" if token else "mean",
        _convert_transformer,
    )


def _count_edge_patches(state: StateDict) -> int:
    """Return the patches on each edge of a square slice; 0 where slices were not square."""
    positions = get_length(state, "pos_embed", 1)
    for patches in (positions - state.has("cls_token"), positions):
        if 0 < patches == isqrt(patches) ** 2:
            return isqrt(patches)
    return 0


def _convert_transformer(state: StateDict, arguments: Mapping[str, Any]) -> StateDict:
    """Bring the names to MONAI's; positions and layer scale go into what is there."""
    edge, token = _count_edge_patches(state), state.has("cls_token")
    sizes = arguments["img_size"]
    sizes = [sizes, sizes] if isinstance(sizes, int) else list(sizes)
    patch = state.shape("patch_embed.proj.weight")[2:]
    grid = [int(n) // p for n, p in zip(sizes, patch, strict=True)]
    state = state.rename(VIT_RULES)
    tensors = state.tensors
    positions = tensors.pop("pos_embed").float()
    patches = grid[0] * grid[1]
    if len(positions[0]) not in (patches, patches + token):
        patches = edge * edge
    # The class token has a position of its own, or none (timm's DINOv2 with registers).
    if token and len(positions[0]) == patches + 1:
        tensors["cls_token"] = tensors["cls_token"].float() + positions[:, :1]
        positions = positions[:, 1:]
    if patches == edge * edge and grid != [edge, edge] and min(grid) > 0:
        positions = _resize_positions(positions, edge, grid)
    tensors["patch_embedding.position_embeddings"] = positions
    for i in range(count_groups(state, r"blocks\.(\d+)\.")):
        for scale, layer in LAYER_SCALES:
            _fold_layer_scale(tensors, f"blocks.{i}.{scale}.gamma", f"blocks.{i}.{layer}")
    add_cross_attention_norms(state)
    state.renamed += 1
    return state


def _resize_positions(positions: Tensor, edge: int, grid: list[int]) -> Tensor:
    """Resize the positions of patches, bicubic as DINO does, for slices of another size."""
    from torch.nn.functional import interpolate

    plane = positions.reshape(1, edge, edge, -1).permute(0, 3, 1, 2)
    plane = interpolate(plane, grid, mode="bicubic", align_corners=False)
    return plane.flatten(2).transpose(1, 2)


def _fold_layer_scale(tensors: dict[str, Tensor], gamma: str, layer: str) -> None:
    weight, bias = f"{layer}.weight", f"{layer}.bias"
    # What does not fit stays, and is refused with its name when all names are compared.
    if {gamma, weight, bias} <= tensors.keys() and tensors[gamma].shape == tensors[bias].shape:
        scale = tensors.pop(gamma).float()
        tensors[weight] = tensors[weight].float() * scale[:, None]
        tensors[bias] = tensors[bias].float() * scale
