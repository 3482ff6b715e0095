"""From what the user names to an embedder."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from napari_memscan.checkpoints.checkpoint import Checkpoint
from napari_memscan.checkpoints.inspection import inspect_checkpoint
from napari_memscan.checkpoints.overrides import ModelOverrides
from napari_memscan.embedders import LOW_RESOLUTION
from napari_memscan.embedders.interface import Embedder

EMBEDDERS = {
    "ldm": "autoencoder:AutoencoderEmbedder",
    "autoencoder": "autoencoder:AutoencoderEmbedder",
    "embedder": "contrastive:ContrastiveEmbedder",
    "structural": "structural:StructuralEmbedder",
    "backbone": "backbone_embedder:BackboneEmbedder",
    "slices": "slices:SlicesEmbedder",
    "trusted": "trusted_embedder:TrustedEmbedder",
}
"""Kind of recipe to the class that embeds with such a checkpoint; imported when it is asked for."""


def load_embedder(
    spec: str | Path | Checkpoint | None = None,
    device: str = "auto",
    declared: Mapping[str, Any] | ModelOverrides | None = None,
    trust: bool = False,
) -> Embedder:
    """Load an embedder.

    Parameters
    ----------
    spec : str, path, Checkpoint or None
        None or ``low-resolution`` for the training-free one; else a checkpoint of any known
        family: an embedder is taken as such, of an LDM the autoencoder, whose latents need no
        scale factor here.
    device : str
        ``auto``, ``cpu``, ``cuda`` ...
    declared, trust
        See `load_checkpoint`.

    Raises
    ------
    BadInput
        No family knows the checkpoint, or recipe and weights do not fit.
    """
    if spec is None or str(spec) == LOW_RESOLUTION:
        from napari_memscan.embedders.low_resolution import LowResolutionEmbedder

        return LowResolutionEmbedder()
    if not isinstance(spec, Checkpoint):
        found = inspect_checkpoint(
            spec, ModelOverrides.from_mapping(declared), trust=trust, device=device
        )
        spec = found.require_checkpoint(unscaled=True)
    module, _, name = EMBEDDERS[spec.recipe.kind].partition(":")
    kind = getattr(import_module(f"napari_memscan.embedders.{module}"), name)
    embedder: Embedder = kind(spec, device)
    return embedder
