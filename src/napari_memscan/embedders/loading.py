"""From what the user names to an embedder."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from napari_memscan.checkpoints.loading import load_checkpoint
from napari_memscan.checkpoints.overrides import ModelOverrides
from napari_memscan.checkpoints.trusted.open_model import open_trusted_embedder
from napari_memscan.embedders.interface import Embedder

LOW_RESOLUTION = "low-resolution"
"""Name of the training-free embedder."""


EMBEDDERS = {
    "ldm": "autoencoder:AutoencoderEmbedder",
    "autoencoder": "autoencoder:AutoencoderEmbedder",
    "embedder": "contrastive:ContrastiveEmbedder",
    "structural": "structural:StructuralEmbedder",
    "backbone": "backbone_embedder:BackboneEmbedder",
    "slices": "slices:SlicesEmbedder",
}
"""Kind of recipe to the class that embeds with such a checkpoint; imported when it is asked for."""


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
    checkpoint = load_checkpoint(spec, declared)
    module, _, name = EMBEDDERS[checkpoint.recipe.kind].partition(":")
    kind = getattr(import_module(f"napari_memscan.embedders.{module}"), name)
    embedder: Embedder = kind(checkpoint, device)
    return embedder
