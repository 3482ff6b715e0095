"""The 3D embedder of Dar et al. 2023 as its authors save it: a bare file without an extension.

That project is under GPL-3; only names and shapes of its tensors are used here. The kernels are
alike on every axis, so by how much each axis is shrunk is not in the weights. It follows from the
shape of the volumes, because the last map always has equally many cells on every axis.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from napari_memscan.checkpoints.checkpoint import Checkpoint, Fact, LoadReport
from napari_memscan.checkpoints.families.backbone_family import (
    DEFAULT_ORIGIN,
    compute_cube_root,
    count_groups,
    get_length,
    iter_states,
)
from napari_memscan.checkpoints.families.family import (
    FactCollector,
    Family,
    FamilyCandidate,
    build_recipe,
)
from napari_memscan.checkpoints.latent_model import from_ras_order
from napari_memscan.checkpoints.probe import PathProbe
from napari_memscan.checkpoints.recipe import ContrastiveRecipe
from napari_memscan.checkpoints.state_dicts import StateDict
from napari_memscan.errors import BadInput
from napari_memscan.typing import GridShape
from napari_memscan.volumes.preprocessing import MinMax, Preprocessing

NAME = "contrastive3d"
TITLE = "contrastive 3D embedder (Dar et al. 2023)"
REQUIRED_NAMES = (
    "encoder.conv_first.conv.weight",
    "encoder.conv_blocks.0.down.conv.weight",
    "encoder.final_block.0.weight",
    "conv3D.conv.weight",
    "dense.1.weight",
    "dense.4.weight",
)
CHANNELS, HIDDEN = 8, 128
"""After the 1x1x1 convolution, and between the two linear layers."""
VARIANTS: dict[int, tuple[str, GridShape, str]] = {
    6: ("mrnet (knee MRI)", (256, 256, 32), "SRA"),
    4: ("pccta (coronary CT)", (64, 64, 64), "SRA"),
}
"""Number of blocks to the published variant: its name, volumes along X, Y, Z, axes."""


def list_state_shapes(
    n_hiddens: int, blocks: int, cells: int, dim: int
) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the whole state dict.

    Parameters
    ----------
    n_hiddens : int
        Channels after the first convolution.
    blocks : int
        Downsampling blocks; each doubles the channels.
    cells : int
        Cells of the last map, on all three axes together.
    dim : int
        Length of the vector.
    """
    last = n_hiddens * 2**blocks
    return dict(_iter_encoder_shapes(n_hiddens, blocks)) | {
        "encoder.final_block.0.weight": (last,),
        "encoder.final_block.0.bias": (last,),
        "conv3D.conv.weight": (CHANNELS, last, 1, 1, 1),
        "conv3D.conv.bias": (CHANNELS,),
        "dense.1.weight": (HIDDEN, CHANNELS * cells),
        "dense.1.bias": (HIDDEN,),
        "dense.4.weight": (dim, HIDDEN),
        "dense.4.bias": (dim,),
        # In no forward pass, but in every file.
        "sup_layer.1.weight": (1, dim),
        "sup_layer.1.bias": (1,),
    }


def _iter_encoder_shapes(n_hiddens: int, blocks: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    def layer(name: str, *shape: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}.weight", shape
        yield f"{name}.bias", shape[:1]

    yield from layer("encoder.conv_first.conv", n_hiddens, 1, 3, 3, 3)
    for i in range(blocks):
        block, width = f"encoder.conv_blocks.{i}", n_hiddens * 2 ** (i + 1)
        yield from layer(f"{block}.down.conv", width, width // 2, 4, 4, 4)
        for j in (1, 2):
            yield from layer(f"{block}.res.norm{j}", width)
            yield from layer(f"{block}.res.conv{j}.conv", width, width, 3, 3, 3)


def _find_state(found: PathProbe) -> tuple[Path, StateDict] | None:
    for path, state in iter_states(found):
        if state.has(*REQUIRED_NAMES) and len(state.shape(REQUIRED_NAMES[0])) == 5:
            return path, state
    return None


def _count_blocks(state: StateDict) -> int:
    return count_groups(state, r"encoder\.conv_blocks\.(\d+)\.")


def _gather_facts(
    found: PathProbe, state: StateDict
) -> tuple[FactCollector, GridShape | None, str]:
    facts = FactCollector(found)
    name, shape, axes = VARIANTS.get(_count_blocks(state), ("", None, "SRA"))
    origin = f"{DEFAULT_ORIGIN}: {name}" if name else f"{DEFAULT_ORIGIN}: depth first"
    chosen = facts.choose("axes", (axes, origin)) or axes
    return (
        facts,
        facts.need(
            "shape",
            "voxels along X, Y, Z of the volumes it was trained on",
            (shape, origin),
            example="128,128,64",
        ),
        chosen,
    )


def recognise(found: PathProbe) -> FamilyCandidate | None:
    """Recognise the state dict by its names."""
    seen = _find_state(found)
    if seen is None:
        return None
    _, state = seen
    facts, _, _ = _gather_facts(found, state)
    blocks = _count_blocks(state)
    name = VARIANTS[blocks][0] if blocks in VARIANTS else "a size that was not published"
    reasons = (f"{len(state.tensors)} tensors, {blocks} blocks: {name}",)
    return FamilyCandidate(NAME, TITLE, "embedder", 1.0, reasons, tuple(facts.missing))


def load(found: PathProbe) -> Checkpoint:
    """Check all names and shapes, and derive by how much each axis is shrunk."""
    seen = _find_state(found)
    if seen is None:
        raise BadInput(f"{found.path}: holds no weights of this family ({TITLE}).")
    path, state = seen
    facts, shape, axes = _gather_facts(found, state)
    facts.check()
    assert shape is not None
    blocks = _count_blocks(state)
    n_hiddens, dim = get_length(state, REQUIRED_NAMES[0]), get_length(state, "dense.4.weight")
    cells = get_length(state, "dense.1.weight", 1) // CHANNELS
    _check_state(path, state, list_state_shapes(n_hiddens, blocks, cells, dim))
    edge = compute_cube_root(cells)
    if edge is None:
        raise BadInput(
            f"{path}: the last map has {cells} cells, which are not equally many on every axis; "
            "not an embedder of this family."
        )
    working = from_ras_order(shape, axes)
    downsample = _derive_downsample(path, working, edge, blocks)
    facts.facts.append(
        Fact(
            "downsample", " x ".join(map(str, downsample)), f"the shape, with {edge} cells an axis"
        )
    )
    intensity = facts.choose(
        "intensity", (MinMax(), f"{DEFAULT_ORIGIN}: scored by minimum and maximum")
    )
    recipe = build_recipe(
        path,
        ContrastiveRecipe,
        input_shape=shape,
        working_shape=working,
        downsample=downsample,
        n_hiddens=n_hiddens,
        dim=dim,
        axes=axes,
        preprocessing=build_recipe(
            path, Preprocessing, shape=shape, spacing=facts.choose("spacing"), intensity=intensity
        ),
        provenance={"family": NAME},
    )
    report = LoadReport(
        NAME,
        TITLE,
        {"embedder": path},
        {"embedder": state},
        foreign=found.open(path).foreign,
        facts=tuple(facts.facts),
    )
    return Checkpoint(found.path, recipe, {"embedder": state.tensors}, report)


def _check_state(path: Path, state: StateDict, wanted: dict[str, tuple[int, ...]]) -> None:
    problems = [f"missing: {name}" for name in wanted if name not in state.tensors]
    problems += [f"not in the network: {name}" for name in state.tensors if name not in wanted]
    problems += [
        f"{name} is {state.shape(name)}, expected {shape}"
        for name, shape in wanted.items()
        if name in state.tensors and state.shape(name) != shape
    ]
    if problems:
        raise BadInput(
            f"{path}: not the embedder of Dar et al. ({len(problems)} tensors): "
            f"{'; '.join(problems[:5])}."
        )


def _derive_downsample(path: Path, working: GridShape, edge: int, blocks: int) -> GridShape:
    factors = tuple(size // edge for size in working)
    fits = all(
        size == factor * edge and factor >= 1 and factor & (factor - 1) == 0
        for size, factor in zip(working, factors, strict=True)
    )
    if not fits or max(factors) != 2**blocks:
        raise BadInput(
            f"{path}: volumes of {' x '.join(map(str, working))} (axes of the network) do not end "
            f"in {edge} x {edge} x {edge} cells after {blocks} blocks: each axis must be {edge} "
            f"times a power of two, the longest {edge * 2**blocks}. Declare the shape it was "
            "trained on, as shape=256,256,32 along X, Y, Z, and axes."
        )
    a, b, c = factors
    return a, b, c


FAMILY = Family(NAME, recognise, load)
