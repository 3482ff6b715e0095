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
from napari_memscan.checkpoints.families.backbone import DEFAULT, network_arguments, states
from napari_memscan.checkpoints.families.interface import Candidate, Facts, Family, built
from napari_memscan.checkpoints.families.planar import Planar, resnet, transformer
from napari_memscan.checkpoints.probe import Found
from napari_memscan.checkpoints.recipe import SlicesRecipe
from napari_memscan.checkpoints.states import State
from napari_memscan.errors import BadInput

NAME = "slices"
TITLE = "2D network over slices (ResNet, DINO ViT)"
PREFIXES = ("", "backbone.", "encoder.", "model.", "resnet.", "base_model.")
FIRST = ("teacher", "model_ema", "state_dict_ema")
"""Where self-distillation and moving averages keep the weights that are published."""
HEADS = re.compile(
    r"(fc|head|heads|classifier|fc_end|linear|projector|projection_head)\.|mask_token$"
)
"""Classifiers, projections of self-supervised training, and the token for patches left out."""
NORMALISATION = {
    1: ((0.0,), (1.0,)),
    3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
SCALED = {1: "none: slices in 0 to 1", 3: "ImageNet's mean and std, for each of three channels"}
NEGATIVE = (
    "gem counts negative features as nothing, and about half of a transformer's are negative; "
    "mean, max and mean+std do not."
)
ADVICE = (
    "Plain ResNets of basic or bottleneck blocks and plain transformers are known; wide, grouped "
    "or gated ones compute something else."
)


def _look(found: Found) -> Planar | None:
    every = sorted(states(found), key=lambda pair: pair[1].where not in FIRST)
    for path, state in every:
        for prefix in PREFIXES:
            part = _part(state, prefix)
            planar = part and (resnet(found, path, part) or transformer(found, path, part))
            if planar:
                return planar
    return None


def _part(state: State, prefix: str) -> State | None:
    """Return what lies below a prefix, without heads; None where something else lies beside it."""
    part = state.below(prefix)
    beside = [name for name in state.tensors if not name.startswith(prefix)]
    if not part.tensors or not all(_is_head(state, name) for name in beside):
        return None
    inside = [name for name in part.tensors if _is_head(part, name)]
    part = part.without(inside)
    part.unused = [*state.unused, *sorted(beside), *part.unused]
    return part


def _is_head(state: State, name: str) -> bool:
    # With convolutions it is a segmentation network, whose backbone has other strides.
    return HEADS.match(name) is not None and state.tensors[name].ndim <= 2


def recognise(found: Found) -> Candidate | None:
    """Recognise a 2D network by names and shapes."""
    planar = _look(found)
    if planar is None:
        return None
    facts, _ = _facts(found, planar)
    return Candidate(NAME, TITLE, "embedder", 1.0, planar.reasons, tuple(facts.missing))


def _facts(found: Found, planar: Planar) -> tuple[Facts, dict[str, Any]]:
    facts = Facts(found)
    chosen: dict[str, Any] = {
        "slice_axes": facts.choose("slice_axes", ("Z", DEFAULT)),
        "pooling": facts.choose("pooling", ("mean+std", DEFAULT)),
    }
    arguments = network_arguments(found, facts, planar.arguments, planar.unsaid)
    # A transformer takes one size; a ResNet any, so its network has no such argument.
    size = arguments.get("img_size")
    if planar.network == "ResNet":
        arguments.pop("img_size", None)
    chosen["arguments"] = arguments
    chosen["slice_shape"] = [size, size] if isinstance(size, int) else size
    if size is None:
        facts.facts.append(Fact("img_size", "slices as they are", DEFAULT))
    if planar.channels in SCALED:
        facts.facts.append(Fact("normalisation", SCALED[planar.channels], DEFAULT))
    return facts, chosen


def load(found: Found) -> Checkpoint:
    """Make a checkpoint of it; BadInput says what is missing or does not fit."""
    from napari_memscan.checkpoints.backbones import features_of, sketch_backbone
    from napari_memscan.checkpoints.networks import check_fit

    planar = _look(found)
    if planar is None:
        raise BadInput(f"{found.path}: holds no weights of this family ({TITLE}).")
    path = planar.path
    if planar.channels not in NORMALISATION:
        raise BadInput(
            f"{path}: its first layer takes {planar.channels} channels; a slice is given as 1, or "
            "the same 3 times. Use weights trained on grey or colour images."
        )
    facts, chosen = _facts(found, planar)
    facts.check()
    mean, std = NORMALISATION[planar.channels]
    recipe = built(
        path,
        SlicesRecipe,
        network=planar.network,
        mean=mean,
        std=std,
        features=planar.features,
        provenance={"family": NAME},
        **chosen,
    )
    sketch = sketch_backbone(
        recipe.network, recipe.arguments, path, channels=planar.channels, dimensions=2
    )
    state = planar.finished(recipe.arguments)
    check_fit(sketch, state.tensors, path, ADVICE)
    features_of(sketch, recipe.slice_shape or (64, 64), path, planar.channels)
    warned = recipe.pooling == "gem" and recipe.network == "ViT"
    report = LoadReport(
        NAME,
        TITLE,
        {"backbone": path},
        {"backbone": state},
        foreign=found.open(Path(path)).foreign,
        facts=tuple(facts.facts),
        warnings=(NEGATIVE,) if warned else (),
    )
    return Checkpoint(found.path, recipe, {"backbone": state.tensors}, report)


FAMILY = Family(NAME, recognise, load)
