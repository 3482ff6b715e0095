"""From a path to a checkpoint, whoever wrote it: the registry of families."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.checkpoints.checkpoint import Checkpoint
from napari_memscan.checkpoints.families.family import Family, FamilyCandidate
from napari_memscan.checkpoints.overrides import ModelOverrides
from napari_memscan.checkpoints.probe import PathProbe
from napari_memscan.checkpoints.recipe_fields import CheckpointKind
from napari_memscan.checkpoints.trusted.trust_check import (
    explain_refusal,
    find_bundle_config,
    needs_trust,
    parse_plug_in,
)
from napari_memscan.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

FAMILIES = (
    "native",
    "monai_bundle",
    "maisi",
    "medicaldiffusion",
    "medlord",
    "medicalnet",
    "swinvit",
    "segres",
    "vit",
    "slices",
    "contrastive3d",
)
"""Modules of `checkpoints.families`; to add a format, write one and name it here."""


def load_families() -> dict[str, Family]:
    """Return all families by their names."""
    modules = (import_module(f"napari_memscan.checkpoints.families.{name}") for name in FAMILIES)
    return {family.name: family for family in (module.FAMILY for module in modules)}


def detect_families(
    path: str | Path, declared: Mapping[str, Any] | ModelOverrides | None = None
) -> list[FamilyCandidate]:
    """Say what a path may be, likeliest first. Nothing in it is run.

    Parameters
    ----------
    path : path
        Weight file, configuration or folder.
    declared : ModelOverrides or mapping, optional
        What the user states about it.

    Returns
    -------
    list of Candidate
        Empty where no family knows it.

    Raises
    ------
    BadInput
        A file there is damaged, or would have to be run.
    """
    return _detect_candidates(PathProbe(path, ModelOverrides.from_mapping(declared)))


def _detect_candidates(found: PathProbe) -> list[FamilyCandidate]:
    known = load_families()
    wanted = found.declared.family
    if wanted is not None and wanted not in known:
        raise BadInput(f"family '{wanted}' is not known; known are {', '.join(known)}.")
    candidates = []
    for name, family in known.items():
        candidate = family.recognise(found) if wanted in (None, name) else None
        if candidate is not None:
            candidates.append(candidate)
            if candidate.score == 1.0 and name == "native":
                break
    return sorted(candidates, key=lambda c: -c.score)


def load_checkpoint(
    path: str | Path,
    declared: Mapping[str, Any] | ModelOverrides | None = None,
    kind: CheckpointKind | None = None,
    *,
    trust: bool = False,
    device: str = "auto",
) -> Checkpoint:
    """Load a model, whoever made it: the one door for everything that holds weights.

    Parameters
    ----------
    path : path or str
        Weight file, configuration or folder; with `trust` also ``package.module:function`` or
        ``path/to/file.py:function``.
    declared : ModelOverrides or mapping, optional
        What the files do not say; goes before what they say.
    kind : {"ldm", "autoencoder", "embedder"}, optional
        What is wanted here; another kind is an error.
    trust : bool
        The user trusts whoever made it. Where nothing else does, its code then runs in a process
        of its own, which keeps memscan alive and its memory clean, but has all the rights of the
        user. Without it nothing is run.
    device : str
        Where such code runs: ``auto``, ``cpu``, ``cuda`` ...

    Returns
    -------
    Checkpoint
        Recipe, tensors that are read when touched, and the account of loading; a
        `TrustedCheckpoint` where code is run.

    Raises
    ------
    BadInput
        No family knows it, something is missing or does not fit, or it would have to be run.
    """
    stated = ModelOverrides.from_mapping(declared)
    if needs_trust(path) is None:
        return _read_checkpoint(path, stated, kind)
    if parse_plug_in(path) is None and find_bundle_config(Path(path)) is not None:
        # Whoever trusts code still has none run that is not needed.
        with suppress(BadInput):
            return _read_checkpoint(path, stated, kind)
    if not trust:
        raise explain_refusal(path)
    from napari_memscan.checkpoints.trusted.open_model import open_trusted

    return open_trusted(path, stated, kind, device)


def _read_checkpoint(
    path: str | Path, declared: ModelOverrides, kind: CheckpointKind | None
) -> Checkpoint:
    """Load a checkpoint as data."""
    found = PathProbe(path, declared)
    candidates = _detect_candidates(found)
    if not candidates:
        raise BadInput(explain_unknown(found))
    # A weight file that could be several things is what is wanted here, if it can be.
    chosen = next((c for c in candidates if kind is None or c.kind == kind), candidates[0])
    checkpoint = load_families()[chosen.family].load(found)
    checkpoint.recipe.require_kind(kind, path)
    return checkpoint


def explain_unknown(found: PathProbe) -> str:
    """Say that no family knows a path, and what was seen in it."""
    seen = []
    for path in found.weight_files[:5]:
        names = [name for state in found.states(path) for name in list(state.tensors)[:3]]
        seen.append(f"{path.name} holds {', '.join(names[:3])} ...")
    if not seen:
        return (
            f"{found.path}: holds neither weight files nor recipe.json. Choose the weight file, "
            "or the folder of the model."
        )
    return (
        f"{found.path}: weights of a network that memscan does not know ({'; '.join(seen)}). "
        "Known are listed in docs/checkpoints.md; a network of your own can be used through a "
        "plug-in."
    )


def load_weights(path: str | Path, part: str) -> dict[str, Tensor]:
    """Return one part's tensors as float32; see `load_checkpoint` and `Checkpoint.weights`."""
    return load_checkpoint(path).weights(part)


def compute_checkpoint_hash(path: str | Path) -> str:
    """Return 16 hexadecimal digits over the recipe and the bytes of all weight files."""
    return load_checkpoint(path).hash


def describe_checkpoint(checkpoint: Checkpoint | str | Path) -> str:
    """Say in one line what a checkpoint is.

    Examples
    --------
    ``3D LDM: latent 3 x 12 x 12 x 12, v_prediction, DDIM 25 steps, volumes 48 x 48 x 48``
    """
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = load_checkpoint(checkpoint)
    size = sum(path.stat().st_size for path in set(checkpoint.report.files.values())) / 1e6
    return f"{checkpoint.recipe.summarise()} ({size:.1f} MB, {checkpoint.hash[:8]})"
