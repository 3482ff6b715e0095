"""From what the user names to an embedder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_memscan.checkpoints.loading import load_checkpoint
from napari_memscan.checkpoints.overrides import ModelOverrides
from napari_memscan.checkpoints.recipe import (
    BackboneRecipe,
    ContrastiveRecipe,
    SlicesRecipe,
    StructuralRecipe,
)
from napari_memscan.checkpoints.trusted.open_model import open_trusted_embedder
from napari_memscan.embedders.interface import Embedder

LOW_RESOLUTION = "low-resolution"
"""Name of the training-free embedder."""


def load_embedder(
    spec: str | Path | None = None,
    device: str = "auto",
    declared: Mapping[str, Any] | ModelOverrides | None = None,
    trust: bool = False,
) -> Embedder:
    """Load an embedder.

    Parameters
    ----------
    spec : str, path or None
        None or ``low-resolution`` for the training-free one; else a checkpoint of any known
        family: an embedder is taken as such, of an LDM the autoencoder.
    device : str
        ``auto``, ``cpu``, ``cuda`` ...
    declared : Declared or mapping, optional
        What the checkpoint's files do not say.
    trust : bool
        Code that comes with the checkpoint may be run, in a process of its own.

    Raises
    ------
    BadInput
        No family knows the checkpoint, or recipe and weights do not fit.
    """
    if spec is None or str(spec) == LOW_RESOLUTION:
        from napari_memscan.embedders.low_resolution import LowResolutionEmbedder

        return LowResolutionEmbedder()
    vectors = open_trusted_embedder(spec, declared, trust=trust, device=device)
    if vectors is not None:
        from napari_memscan.embedders.trusted_embedder import TrustedEmbedder

        return TrustedEmbedder(vectors)
    recipe = load_checkpoint(spec, declared).recipe
    if isinstance(recipe, ContrastiveRecipe):
        from napari_memscan.embedders.contrastive import ContrastiveEmbedder

        return ContrastiveEmbedder(spec, device, declared)
    if isinstance(recipe, StructuralRecipe):
        from napari_memscan.embedders.structural import StructuralEmbedder

        return StructuralEmbedder(spec, device, declared)
    if isinstance(recipe, BackboneRecipe):
        from napari_memscan.embedders.backbone_embedder import BackboneEmbedder

        return BackboneEmbedder(spec, device, declared)
    if isinstance(recipe, SlicesRecipe):
        from napari_memscan.embedders.slices import SlicesEmbedder

        return SlicesEmbedder(spec, device, declared)
    from napari_memscan.embedders.autoencoder import AutoencoderEmbedder

    return AutoencoderEmbedder(spec, device, declared)
