"""From what the user names to an embedder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_memscan.checkpoints.loading import load
from napari_memscan.checkpoints.overrides import Declared
from napari_memscan.checkpoints.recipe import (
    BackboneRecipe,
    EmbedderRecipe,
    SlicesRecipe,
    StructuralRecipe,
)
from napari_memscan.checkpoints.trusted.opening import trusted_embedder
from napari_memscan.embedders.interface import Embedder

LOW_RESOLUTION = "low-resolution"
"""Name of the training-free embedder."""


def load_embedder(
    spec: str | Path | None = None,
    device: str = "auto",
    declared: Mapping[str, Any] | Declared | None = None,
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
        from napari_memscan.embedders.lowres import LowResolutionEmbedder

        return LowResolutionEmbedder()
    vectors = trusted_embedder(spec, declared, trust=trust, device=device)
    if vectors is not None:
        from napari_memscan.embedders.trusted import TrustedEmbedder

        return TrustedEmbedder(vectors)
    recipe = load(spec, declared).recipe
    if isinstance(recipe, EmbedderRecipe):
        from napari_memscan.embedders.contrastive import ContrastiveEmbedder

        return ContrastiveEmbedder(spec, device, declared)
    if isinstance(recipe, StructuralRecipe):
        from napari_memscan.embedders.structural import StructuralEmbedder

        return StructuralEmbedder(spec, device, declared)
    if isinstance(recipe, BackboneRecipe):
        from napari_memscan.embedders.backbone import BackboneEmbedder

        return BackboneEmbedder(spec, device, declared)
    if isinstance(recipe, SlicesRecipe):
        from napari_memscan.embedders.slices import SlicesEmbedder

        return SlicesEmbedder(spec, device, declared)
    from napari_memscan.embedders.autoencoder import AutoencoderEmbedder

    return AutoencoderEmbedder(spec, device, declared)
