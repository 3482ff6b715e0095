"""What all families of backbones share: from a state dict and a few defaults to a checkpoint."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from napari_memscan.checkpoints.checkpoint import Checkpoint, Fact, LoadReport
from napari_memscan.checkpoints.families.family import (
    FactCollector,
    Family,
    FamilyCandidate,
    MissingFact,
    build_recipe,
)
from napari_memscan.checkpoints.latent_model import from_ras_order
from napari_memscan.checkpoints.networks import check_weights_fit
from napari_memscan.checkpoints.probe import PathProbe
from napari_memscan.checkpoints.recipe import BackboneRecipe
from napari_memscan.checkpoints.state_dicts import StateDict
from napari_memscan.errors import BadInput
from napari_memscan.typing import GridShape
from napari_memscan.volumes.preprocessing import MinMax, Percentile, Preprocessing, Window

DEFAULT_ORIGIN = "the family's default"


@dataclass(frozen=True)
class BackboneDefaults:
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
    shape: GridShape | None = None
    spacing: tuple[float, float, float] | None = None
    intensity: Window | Percentile | MinMax | None = None
    axes: str = "RAS"
    normalisation: Literal["none", "zscore-nonzero"] = "none"


@dataclass
class BackboneSpec:
    """A backbone as its state dict describes it.

    Attributes
    ----------
    path : Path
        The weight file.
    state : StateDict
        Tensors under MONAI's names; the rest is in ``state.unused``.
    network : str
        As in `BackboneRecipe`.
    arguments : dict
        Of the network, as far as shapes say them.
    unsaid : dict
        Arguments that shapes do not say: value and origin, or None and how to state it.
    defaults : BackboneDefaults
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
    state: StateDict
    network: str
    arguments: dict[str, Any]
    defaults: BackboneDefaults
    reasons: tuple[str, ...]
    unsaid: dict[str, tuple[Any, str]] = field(default_factory=dict)
    pooling: Literal["mean", "first"] = "mean"
    shape: GridShape | None = None
    warnings: tuple[str, ...] = ()


def iter_states(found: PathProbe) -> Iterator[tuple[Path, StateDict]]:
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


def take_prefix(state: StateDict, prefix: str) -> StateDict:
    """Return the part below a prefix, the rest noted as unused."""
    part = state.below(prefix)
    part.unused = [*state.unused, *sorted(n for n in state.tensors if not n.startswith(prefix))]
    return part


def keep_matching(state: StateDict, pattern: str) -> StateDict:
    """Keep names that match from their beginning; the rest is noted as unused."""
    return state.without([name for name in state.tensors if not re.match(pattern, name)])


def count_groups(state: StateDict, pattern: str) -> int:
    """Return how many numbers the group of a pattern matches; never more than there are names."""
    return len({m[1] for m in (re.match(pattern, name) for name in state.tensors) if m})


def get_length(state: StateDict, name: str, axis: int = 0) -> int:
    """Return one length of a tensor; 0 where there is no such tensor or axis."""
    shape = state.shape(name)
    return shape[axis] if axis < len(shape) else 0


def get_kernel_size(state: StateDict, name: str) -> list[int]:
    """Return the last three lengths of a 3D convolution's weight."""
    return list(state.shape(name)[2:])


def add_batch_counters(state: StateDict) -> None:
    """Add what files from before PyTorch 0.4.1 lack; it counts batches in training, no more."""
    import torch

    if not any(name.endswith(".num_batches_tracked") for name in state.tensors):
        for name in [n for n in state.tensors if n.endswith(".running_var")]:
            counter = name.replace(".running_var", ".num_batches_tracked")
            state.tensors[counter] = torch.tensor(0)


def compute_cube_root(number: int) -> int | None:
    """Return the whole number whose cube this is, if there is one."""
    root = round(number ** (1 / 3))
    return root if root > 0 and root**3 == number else None


def make_backbone_family(
    name: str, title: str, look: Callable[[PathProbe], BackboneSpec | None]
) -> Family:
    """Return a family of backbones.

    Parameters
    ----------
    name, title : str
        As in `Family` and `FamilyCandidate`.
    look : callable
        Describes the backbone that a path holds; None where there is none of this family.
    """

    def recognise(found: PathProbe) -> FamilyCandidate | None:
        backbone = look(found)
        if backbone is None:
            return None
        facts, _ = _gather_facts(found, backbone)
        return FamilyCandidate(name, title, "embedder", 1.0, backbone.reasons, tuple(facts.missing))

    def load(found: PathProbe) -> Checkpoint:
        backbone = look(found)
        if backbone is None:
            raise BadInput(f"{found.path}: holds no weights of this family ({title}).")
        return _build_checkpoint(found, name, title, backbone)

    return Family(name, recognise, load)


def _gather_facts(found: PathProbe, backbone: BackboneSpec) -> tuple[FactCollector, dict[str, Any]]:
    """Return what is known, missing and chosen: fields of the recipe and network arguments."""
    defaults = backbone.defaults
    origin = f"{DEFAULT_ORIGIN}: {defaults.source}"
    facts = FactCollector(found)
    chosen: dict[str, Any] = {
        "shape": facts.need(
            "shape",
            "voxels along X, Y, Z",
            (backbone.shape, "the weights"),
            (defaults.shape, origin),
            example="96,96,96",
        ),
        "intensity": facts.need(
            "intensity",
            "what becomes 0 and 1 (window:LOW:HIGH, percentile:LOW:HIGH or minmax)",
            (defaults.intensity, origin),
            example="window:-175:250",
        ),
        "axes": facts.choose("axes", (defaults.axes, origin)),
        "spacing": facts.choose("spacing", (defaults.spacing, origin)),
    }
    chosen["arguments"] = merge_network_arguments(found, facts, backbone.arguments, backbone.unsaid)
    facts.facts.append(Fact("normalisation", defaults.normalisation, origin))
    return facts, chosen


def merge_network_arguments(
    found: PathProbe,
    facts: FactCollector,
    known: dict[str, Any],
    unsaid: dict[str, tuple[Any, str]],
) -> dict[str, Any]:
    """Return a network's arguments: what the weights say, then defaults, then what was stated.

    Parameters
    ----------
    known, unsaid : dict
        See `BackboneSpec`; what is used, and what is missing, is noted in `facts`.
    """
    arguments = dict(known)
    stated = found.declared.network or {}
    for name, (value, where) in unsaid.items():
        if name in stated:
            continue
        if value is None:
            facts.missing.append(MissingFact("network", where))
        else:
            arguments[name] = value
            facts.facts.append(Fact(name, str(value), where))
    for name, value in stated.items():
        arguments[name] = value
        facts.facts.append(Fact(name, str(value), "declared"))
    return arguments


def _build_checkpoint(
    found: PathProbe, name: str, title: str, backbone: BackboneSpec
) -> Checkpoint:
    from napari_memscan.checkpoints.backbone_networks import build_meta_backbone, count_features

    facts, chosen = _gather_facts(found, backbone)
    facts.check()
    path = backbone.path
    preprocessing = build_recipe(
        path,
        Preprocessing,
        shape=chosen["shape"],
        spacing=chosen["spacing"],
        intensity=chosen["intensity"],
    )
    recipe = build_recipe(
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
    sketch = build_meta_backbone(recipe.network, recipe.arguments, path)
    advice = f"The file does not hold the {recipe.network} that its names promise."
    check_weights_fit(sketch, backbone.state.tensors, path, advice)
    count_features(sketch, from_ras_order(recipe.input_shape, recipe.axes), path)
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
