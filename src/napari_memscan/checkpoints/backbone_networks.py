"""Networks trained for something else, cut off before their heads: from volume to feature map.

All four are MONAI's, with MONAI's names of tensors. What `forward` returns is always
(N, features, positions ...), whatever the network calls its output. ResNet and ViT are also built
with two spatial dimensions, for slices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets.resnet import ResNet
from monai.networks.nets.segresnet_ds import SegResEncoder
from monai.networks.nets.swin_unetr import SwinTransformer
from monai.networks.nets.vit import ViT
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from napari_memscan.checkpoints.networks import BUILD_ERRORS, check_weights_fit, load_strict
from napari_memscan.errors import BadInput

DILATIONS = (("layer3", 2), ("layer4", 4))
"""MedicalNet's last two stages keep their resolution and spread their kernels instead."""


class _ResNet(ResNet):
    """A ResNet up to its last feature map.

    Parameters
    ----------
    dilated : bool
        As MedicalNet trained it: stages 3 and 4 have stride 1 and dilations 2 and 4. MONAI's
        ResNet has stride 2 there; names and shapes are the same, what it computes is not.
    arguments
        Of MONAI's ``ResNet``.
    """

    def __init__(self, dilated: bool = False, **arguments: Any) -> None:
        super().__init__(**arguments)
        if dilated and arguments.get("spatial_dims", 3) != 3:
            raise ValueError("dilated is for three spatial dimensions")
        if dilated:
            for name, dilation in DILATIONS:
                _dilate(getattr(self, name), dilation)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, X, Y, Z) to the map of stage 4."""
        x = self.act(self.bn1(self.conv1(x)))
        if not self.no_max_pool:
            x = self.maxpool(x)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


def _dilate(stage: nn.Module, dilation: int) -> None:
    for module in stage.modules():
        if isinstance(module, nn.Conv3d):
            module.stride = (1, 1, 1)
            if module.kernel_size == (3, 3, 3):
                module.dilation = module.padding = (dilation,) * 3
        shortcut = getattr(module, "downsample", None)
        if isinstance(shortcut, partial):  # shortcut type A has no weights
            unstrided = partial(shortcut.func, **{**shortcut.keywords, "stride": 1})
            setattr(module, "downsample", unstrided)  # noqa: B010


class _SwinViT(SwinTransformer):
    """The encoder of SwinUNETR; the last of its five maps, normalised over channels."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, X, Y, Z) to (N, 16 * embed_dim, X / 32, Y / 32, Z / 32)."""
        return super().forward(x)[-1]


class _SegResEncoder(SegResEncoder):
    """The encoder of SegResNetDS; the last of its maps."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, X, Y, Z) to the deepest map."""
        return super().forward(x)[-1]


class _ViT(ViT):
    """A vision transformer up to its last, normalised hidden state.

    Parameters
    ----------
    classification : bool
        There is a class token in front of the patches; a head is not built.
    registers : int
        Tokens between class token and patches (Darcet et al. 2023, DINOv2 with registers).
    eps : float
        Of all layer norms; MONAI's own, 1e-5, is not that of other libraries.
    arguments
        Of MONAI's ``ViT``.
    """

    def __init__(
        self,
        hidden_size: int,
        classification: bool = False,
        registers: int = 0,
        eps: float = 1e-5,
        **arguments: Any,
    ) -> None:
        super().__init__(hidden_size=hidden_size, **arguments)
        if classification:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, hidden_size))
        if registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, registers, hidden_size))
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = float(eps)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, X, Y, Z) or (N, C, X, Y) to (N, hidden_size, tokens)."""
        x = self.patch_embedding(x)
        for name in ("register_tokens", "cls_token"):
            if hasattr(self, name):
                x = torch.cat([getattr(self, name).expand(len(x), -1, -1), x], 1)
        for block in self.blocks:
            x = block(x)
        normed: Tensor = self.norm(x)
        return normed.transpose(1, 2)


@dataclass(frozen=True)
class Backbone:
    """A network that can embed; everything about it but its weights.

    Attributes
    ----------
    build : callable
        Takes the arguments of a recipe.
    title : str
        For people; of slices, ``2D`` stands before it.
    channels, layers : str
        What the arguments call the input channels, and the number of layers.
    """

    build: Callable[..., nn.Module]
    title: str
    channels: str
    layers: str


BACKBONES: Mapping[str, Backbone] = {
    "ResNet": Backbone(_ResNet, "ResNet", "n_input_channels", "layers"),
    "SwinViT": Backbone(_SwinViT, "Swin transformer", "in_chans", "depths"),
    "SegResEncoder": Backbone(_SegResEncoder, "SegResNet encoder", "in_channels", "blocks_down"),
    "ViT": Backbone(_ViT, "vision transformer", "in_channels", "num_layers"),
}
"""All of them: to add one, write its network and its line here."""

MAX_LAYERS = 1000
"""No published backbone comes near; a recipe that asks for a billion would never be built."""


def build_backbone(
    network: str,
    arguments: Mapping[str, Any],
    where: object = "recipe.json",
    *,
    channels: int = 1,
    dimensions: int = 3,
) -> nn.Module:
    """Build a backbone in evaluation mode, untrained.

    Parameters
    ----------
    network : str
        A key of `BACKBONES`.
    arguments : dict
        Of MONAI's constructor; also ``dilated`` for a ResNet (see `_ResNet`).
    where : object
        What an error begins with.
    channels, dimensions : int
        Input channels and spatial dimensions it must have; two dimensions for slices.

    Returns
    -------
    module
        Maps (N, channels, X, Y, Z) or (N, channels, X, Y) to (N, features, positions ...).

    Raises
    ------
    BadInput
        Not a known network, arguments that do not build it, other input channels, or layers
        without end.
    """
    if network not in BACKBONES:
        raise BadInput(
            f"{where}: network '{network[:60]}' is not known; known are {', '.join(BACKBONES)}."
        )
    backbone = BACKBONES[network]
    taken = arguments.get(backbone.channels, 1)
    if taken != channels:
        have = "volumes here have one" if channels == 1 else f"it is given {channels}"
        raise BadInput(
            f"{where}: this {network} takes {taken} channels at once; {have}. "
            "Use weights that were trained on single volumes."
        )
    plane = {} if dimensions == 3 else {"spatial_dims": dimensions}
    try:
        layers = arguments.get(backbone.layers, ())
        if (sum(layers) if isinstance(layers, list | tuple) else layers) > MAX_LAYERS:
            raise ValueError(f"more than {MAX_LAYERS} layers")
        return backbone.build(**arguments, **plane).eval()
    except BUILD_ERRORS as error:
        raise BadInput(f"{where}: the arguments do not build a {network}: {error}.") from error


class _LinspaceOnCPU(TorchFunctionMode):
    """MONAI's SwinTransformer reads numbers out of a linspace, which meta tensors do not hold."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.linspace:
            kwargs["device"] = "cpu"
        return func(*args, **kwargs)


def build_meta_backbone(
    network: str,
    arguments: Mapping[str, Any],
    where: object = "recipe.json",
    *,
    channels: int = 1,
    dimensions: int = 3,
) -> nn.Module:
    """Build it on the meta device: names and shapes without any memory; see `build_backbone`."""
    with torch.device("meta"), _LinspaceOnCPU():
        return build_backbone(network, arguments, where, channels=channels, dimensions=dimensions)


def load_backbone(
    network: str,
    arguments: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    shape: tuple[int, ...],
    where: str | Path,
    *,
    channels: int = 1,
) -> tuple[nn.Module, int]:
    """Build a backbone with its weights; return it and its number of features.

    Parameters
    ----------
    network, arguments, where, channels
        See `build_backbone`.
    weights : dict of str to tensor
        All its tensors.
    shape : tuple of int
        Of a volume or slice as it takes it, in its own axes; two numbers mean slices.

    Raises
    ------
    BadInput
        As `build_backbone` and `count_features`, or the weights do not fit.
    """
    options = {"channels": channels, "dimensions": len(shape)}
    # On the sketch first: a recipe may ask for more memory than there is.
    sketch = build_meta_backbone(network, arguments, where, **options)
    features = count_features(sketch, shape, where, channels)
    check_weights_fit(sketch, weights, where)
    built = build_backbone(network, arguments, where, **options)
    load_strict(built, weights, where)
    return built, features


def count_features(
    sketch: nn.Module, shape: tuple[int, ...], where: object = "recipe.json", channels: int = 1
) -> int:
    """Return how many features a sketch has for a volume or slice of this shape (its own axes).

    Raises
    ------
    BadInput
        The network does not take this shape.
    """
    try:
        with torch.inference_mode(), torch.device("meta"):
            features = sketch(torch.zeros(1, channels, *shape))
        return int(features.shape[1])
    except (RuntimeError, ValueError, TypeError, LookupError) as error:
        sizes = " x ".join(map(str, shape))
        what = "volumes" if len(shape) == 3 else "slices"
        raise BadInput(
            f"{where}: the network does not take {what} of {sizes} (its own axes): {error}. "
            "Declare the shape it was trained for, as shape=96,96,96 along X, Y, Z; of slices, as "
            'network={"img_size": [224, 224]}.'
        ) from error


def pool_features(features: Tensor, pooling: str) -> Tensor:
    """Reduce (N, features, positions ...) to (N, features): their ``mean``, or the ``first``."""
    flat = features.flatten(2)
    return flat[..., 0] if pooling == "first" else flat.mean(2)
