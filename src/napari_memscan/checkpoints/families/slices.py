"""2D networks that see a volume slice by slice: ResNets and vision transformers.

ResNets have torchvision's names (also DINO's, RadImageNet's, MONAI's in 2D), transformers those of
DINO, DINOv2 and timm. Only what computes the same here is taken: a name that is neither of the
network nor of a classifier is refused.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from napari_memscan.checkpoints.checkpoint import Checkpoint, Fact, LoadReport
from napari_memscan.checkpoints.families.backbone_family import (
    DEFAULT_ORIGIN,
    iter_states,
    merge_network_arguments,
)
from napari_memscan.checkpoints.families.family import (
    FactCollector,
    Family,
    FamilyCandidate,
    build_recipe,
)
from napari_memscan.checkpoints.families.slice_networks import (
    SliceNetworkSpec,
    describe_resnet,
    describe_transformer,
)
from napari_memscan.checkpoints.networks import check_weights_fit
from napari_memscan.checkpoints.probe import PathProbe
from napari_memscan.checkpoints.recipe import SlicesRecipe
from napari_memscan.checkpoints.state_dicts import StateDict
from napari_memscan.errors import BadInput

NAME = "slices"
TITLE = "2D network over slices (ResNet, DINO ViT)"
PREFIXES = ("", "backbone.", "encoder.", "model.", "resnet.", "base_model.")
PREFERRED_STATES = ("teacher", "model_ema", "state_dict_ema")
"""Where self-distillation and moving averages keep the weights that are published."""
HEADS = re.compile(
    r"(fc|head|heads|classifier|fc_end|linear|projector|projection_head)\.|mask_token$"
)
"""Classifiers, projections of self-supervised training, and the token for patches left out."""
NORMALISATION = {1: ((0.0,), (1.0,)), 3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))}
NORMALISATION_TEXTS = {
    1: "none: slices in 0 to 1",
    3: "ImageNet's mean and std, for each of three channels",
}
GEM_WARNING = (
    "gem counts negative features as nothing, and about half of a transformer's are negative; "
    "mean, max and mean+std do not."
)
ADVICE = (
    "Plain ResNets of basic or bottleneck blocks and plain transformers are known; wide, grouped "
    "or gated ones compute something else."
)


def _find_network(found: PathProbe) -> SliceNetworkSpec | None:
    every = sorted(iter_states(found), key=lambda pair: pair[1].where not in PREFERRED_STATES)
    for path, state in every:
        for prefix in PREFIXES:
            part = _take_backbone(state, prefix)
            planar = part and (
                describe_resnet(found, path, part) or describe_transformer(found, path, part)
            )
            if planar:
                return planar
    return None


def _take_backbone(state: StateDict, prefix: str) -> StateDict | None:
    """Return what lies below a prefix, without heads; None where something else lies beside it."""
    part = state.below(prefix)
    beside = [name for name in state.tensors if not name.startswith(prefix)]
    if not part.tensors or not all(_is_head(state, name) for name in beside):
        return None
    inside = [name for name in part.tensors if _is_head(part, name)]
    part = part.without(inside)
    part.unused = [*state.unused, *sorted(beside), *part.unused]
    return part


def _is_head(state: StateDict, name: str) -> bool:
    # With convolutions it is a segmentation network, whose backbone has other strides.
    return HEADS.match(name) is not None and state.tensors[name].ndim <= 2


def recognise(found: PathProbe) -> FamilyCandidate | None:
    """Recognise a 2D network by names and shapes."""
    planar = _find_network(found)
    if planar is None:
        return None
    facts, _ = _gather_facts(found, planar)
    return FamilyCandidate(NAME, TITLE, "embedder", 1.0, planar.reasons, tuple(facts.missing))


def _gather_facts(
    found: PathProbe, planar: SliceNetworkSpec
) -> tuple[FactCollector, dict[str, Any]]:
    facts = FactCollector(found)
    chosen: dict[str, Any] = {
        "slice_axes": facts.choose("slice_axes", ("Z", DEFAULT_ORIGIN)),
        "pooling": facts.choose("pooling", ("mean+std", DEFAULT_ORIGIN)),
    }
    arguments = merge_network_arguments(found, facts, planar.arguments, planar.unsaid)
    # A transformer takes one size; a ResNet any, so its network has no such argument.
    size = arguments.get("img_size")
    if planar.network == "ResNet":
        arguments.pop("img_size", None)
    chosen["arguments"] = arguments
    chosen["slice_shape"] = [size, size] if isinstance(size, int) else size
    if size is None:
        facts.facts.append(Fact("img_size", "slices as they are", DEFAULT_ORIGIN))
    if planar.channels in NORMALISATION_TEXTS:
        facts.facts.append(
            Fact("normalisation", NORMALISATION_TEXTS[planar.channels], DEFAULT_ORIGIN)
        )
    return facts, chosen


def load(found: PathProbe) -> Checkpoint:
    """Make a checkpoint of it; BadInput says what is missing or does not fit."""
    from napari_memscan.checkpoints.backbone_networks import build_meta_backbone, count_features

    planar = _find_network(found)
    if planar is None:
        raise BadInput(f"{found.path}: holds no weights of this family ({TITLE}).")
    path = planar.path
    if planar.channels not in NORMALISATION:
        raise BadInput(
            f"{path}: its first layer takes {planar.channels} channels; a slice is given as 1, or "
            "the same 3 times. Use weights trained on grey or colour images."
        )
    facts, chosen = _gather_facts(found, planar)
    facts.check()
    mean, std = NORMALISATION[planar.channels]
    recipe = build_recipe(
        path,
        SlicesRecipe,
        network=planar.network,
        mean=mean,
        std=std,
        features=planar.features,
        provenance={"family": NAME},
        **chosen,
    )
    sketch = build_meta_backbone(
        recipe.network, recipe.arguments, path, channels=planar.channels, dimensions=2
    )
    state = planar.finished(recipe.arguments)
    check_weights_fit(sketch, state.tensors, path, ADVICE)
    count_features(sketch, recipe.slice_shape or (64, 64), path, planar.channels)
    warned = recipe.pooling == "gem" and recipe.network == "ViT"
    report = LoadReport(
        NAME,
        TITLE,
        {"backbone": path},
        {"backbone": state},
        foreign=found.open(Path(path)).foreign,
        facts=tuple(facts.facts),
        warnings=(GEM_WARNING,) if warned else (),
    )
    return Checkpoint(found.path, recipe, {"backbone": state.tensors}, report)


FAMILY = Family(NAME, recognise, load)
