"""What all families of backbones share: from a state dict and a few defaults to a checkpoint."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from napari_memscan.checkpoints.checkpoint import Checkpoint, Fact, LoadReport
from napari_memscan.checkpoints.families.interface import Candidate, Facts, Family, built
from napari_memscan.checkpoints.probe import Found
from napari_memscan.checkpoints.recipe import BackboneRecipe
from napari_memscan.checkpoints.states import State
from napari_memscan.errors import BadInput
from napari_memscan.volumes.preprocessing import MinMax, Percentile, Preprocessing, Window

Network = Literal["ResNet", "SwinViT", "SegResEncoder", "ViT"]
Triple = tuple[int, int, int]
DEFAULT = "the family's default"


@dataclass(frozen=True)
class Defaults:
    """What published weights of a family were trained on; what is None must be stated.

    Attributes
    ----------
    source : str
        Where that is written.
    shape, spacing
        Along X, Y, Z. Spacing may stay unknown: then voxels are taken as they are.
    intensity : Window, Percentile or MinMax
        What becomes 0 and 1.
    axes : str
        Where the axes of the network's input point to.
    normalisation : str
        See `BackboneRecipe`.
    """

    source: str
    shape: Triple | None = None
    spacing: tuple[float, float, float] | None = None
    intensity: Window | Percentile | MinMax | None = None
    axes: str = "RAS"
    normalisation: Literal["none", "zscore-nonzero"] = "none"


@dataclass
class Backbone:
    """A backbone as its state dict describes it.

    Attributes
    ----------
    path : Path
        The weight file.
    state : State
        Tensors under MONAI's names; the rest is in ``state.unused``.
    network : str
        As in `BackboneRecipe`.
    arguments : dict
        Of the network, as far as shapes say them.
    unsaid : dict
        Arguments that shapes do not say: value and origin, or None and how to state it.
    defaults : Defaults
        For the volumes.
    reasons : tuple of str
        What it was recognised by.
    pooling : {"mean", "first"}
        How features become a vector.
    shape : (int, int, int) or None
        Along X, Y, Z, where the weights say it.
    warnings : tuple of str
        What a reader of the numbers must know.
    """

    path: Path
    state: State
    network: Network
    arguments: dict[str, Any]
    defaults: Defaults
    reasons: tuple[str, ...]
    unsaid: dict[str, tuple[Any, str]] = field(default_factory=dict)
    pooling: Literal["mean", "first"] = "mean"
    shape: Triple | None = None
    warnings: tuple[str, ...] = ()


def states(found: Found) -> Iterator[tuple[Path, State]]:
    """Yield all state dicts of all weight files; of a folder, files without any are passed over."""
    for path in found.weight_files:
        try:
            here = found.states(path)
        except BadInput:
            if path == found.path:
                raise
            continue
        for state in here:
            yield path, state


def below(state: State, prefix: str) -> State:
    """Return the part below a prefix, the rest noted as unused."""
    part = state.below(prefix)
    part.unused = [*state.unused, *sorted(n for n in state.tensors if not n.startswith(prefix))]
    return part


def only(state: State, pattern: str) -> State:
    """Keep names that match from their beginning; the rest is noted as unused."""
    return state.without([name for name in state.tensors if not re.match(pattern, name)])


def count(state: State, pattern: str) -> int:
    """Return how many numbers the group of a pattern matches; never more than there are names."""
    return len({m[1] for m in (re.match(pattern, name) for name in state.tensors) if m})


def size(state: State, name: str, axis: int = 0) -> int:
    """Return one length of a tensor; 0 where there is no such tensor or axis."""
    shape = state.shape(name)
    return shape[axis] if axis < len(shape) else 0


def kernel(state: State, name: str) -> list[int]:
    """Return the last three lengths of a 3D convolution's weight."""
    return list(state.shape(name)[2:])


def count_batches(state: State) -> None:
    """Add what files from before PyTorch 0.4.1 lack; it counts batches in training, no more."""
    import torch

    if not any(name.endswith(".num_batches_tracked") for name in state.tensors):
        for name in [n for n in state.tensors if n.endswith(".running_var")]:
            counter = name.replace(".running_var", ".num_batches_tracked")
            state.tensors[counter] = torch.tensor(0)


def cube_root(number: int) -> int | None:
    """Return the whole number whose cube this is, if there is one."""
    root = round(number ** (1 / 3))
    return root if root > 0 and root**3 == number else None


def in_order(xyz: Sequence[int], axes: str) -> Triple:
    """Return lengths along X, Y, Z in the order of axes such as ``SRA``."""
    a, b, c = (
        xyz[next(i for i, pair in enumerate(("RL", "AP", "SI")) if letter in pair)]
        for letter in axes
    )
    return a, b, c


def family(name: str, title: str, look: Callable[[Found], Backbone | None]) -> Family:
    """Return a family of backbones.

    Parameters
    ----------
    name, title : str
        As in `Family` and `Candidate`.
    look : callable
        Describes the backbone that a path holds; None where there is none of this family.
    """

    def recognise(found: Found) -> Candidate | None:
        backbone = look(found)
        if backbone is None:
            return None
        facts, _ = _facts(found, backbone)
        return Candidate(name, title, "embedder", 1.0, backbone.reasons, tuple(facts.missing))

    def load(found: Found) -> Checkpoint:
        backbone = look(found)
        if backbone is None:
            raise BadInput(f"{found.path}: holds no weights of this family ({title}).")
        return _checkpoint(found, name, title, backbone)

    return Family(name, recognise, load)


def _facts(found: Found, backbone: Backbone) -> tuple[Facts, dict[str, Any]]:
    """Return what is known, missing and chosen: fields of the recipe and network arguments."""
    defaults = backbone.defaults
    origin = f"{DEFAULT}: {defaults.source}"
    facts = Facts(found)
    chosen: dict[str, Any] = {
        "shape": facts.need(
            "shape", "voxels along X, Y, Z, as 96,96,96",
            (backbone.shape, "the weights"), (defaults.shape, origin),
        ),
        "intensity": facts.need(
            "intensity", "what becomes 0 and 1, as window:-175:250, percentile:1:99 or minmax",
            (defaults.intensity, origin),
        ),
        "axes": facts.choose("axes", (defaults.axes, origin)),
        "spacing": facts.choose("spacing", (defaults.spacing, origin)),
    }  # fmt: skip
    chosen["arguments"] = network_arguments(found, facts, backbone.arguments, backbone.unsaid)
    facts.facts.append(Fact("normalisation", defaults.normalisation, origin))
    return facts, chosen


def network_arguments(
    found: Found,
    facts: Facts,
    known: dict[str, Any],
    unsaid: dict[str, tuple[Any, str]],
) -> dict[str, Any]:
    """Return a network's arguments: what the weights say, then defaults, then what was stated.

    Parameters
    ----------
    known, unsaid : dict
        See `Backbone`; what is used, and what is missing, is noted in `facts`.
    """
    arguments = dict(known)
    stated = found.declared.network or {}
    for name, (value, where) in unsaid.items():
        if name in stated:
            continue
        if value is None:
            facts.missing.append(f"network: {where}")
        else:
            arguments[name] = value
            facts.facts.append(Fact(name, str(value), where))
    for name, value in stated.items():
        arguments[name] = value
        facts.facts.append(Fact(name, str(value), "declared"))
    return arguments


def _checkpoint(found: Found, name: str, title: str, backbone: Backbone) -> Checkpoint:
    from napari_memscan.checkpoints.backbones import features_of, sketch_backbone
    from napari_memscan.checkpoints.networks import check_fit

    facts, chosen = _facts(found, backbone)
    facts.check()
    path = backbone.path
    preprocessing = built(
        path,
        Preprocessing,
        shape=chosen["shape"],
        spacing=chosen["spacing"],
        intensity=chosen["intensity"],
    )
    recipe = built(
        path,
        BackboneRecipe,
        network=backbone.network,
        arguments=chosen["arguments"],
        input_shape=chosen["shape"],
        axes=chosen["axes"],
        normalisation=backbone.defaults.normalisation,
        pooling=backbone.pooling,
        preprocessing=preprocessing,
        provenance={"family": name},
    )
    sketch = sketch_backbone(recipe.network, recipe.arguments, path)
    advice = f"The file does not hold the {recipe.network} that its names promise."
    check_fit(sketch, backbone.state.tensors, path, advice)
    features_of(sketch, in_order(recipe.input_shape, recipe.axes), path)
    report = LoadReport(
        name,
        title,
        {"backbone": path},
        {"backbone": backbone.state},
        foreign=found.open(path).foreign,
        facts=tuple(facts.facts),
        warnings=backbone.warnings,
    )
    return Checkpoint(found.path, recipe, {"backbone": backbone.state.tensors}, report)
