"""From what the user names to an embedder."""

from __future__ import annotations

from pathlib import Path

from napari_memscan.checkpoints.native import read_recipe
from napari_memscan.embedders.interface import Embedder

LOW_RESOLUTION = "low-resolution"
"""Name of the training-free embedder."""


def load_embedder(spec: str | Path | None = None, device: str = "auto") -> Embedder:
    """Load an embedder.

    Parameters
    ----------
    spec : str, path or None
        None or ``low-resolution`` for the training-free one; else the folder of a checkpoint:
        an embedder is taken as such, of an LDM the autoencoder.
    device : str
        ``auto``, ``cpu``, ``cuda`` ...

    Raises
    ------
    BadInput
        The folder is no checkpoint, or does not fit its recipe.
    """
    if spec is None or str(spec) == LOW_RESOLUTION:
        from napari_memscan.embedders.lowres import LowResolutionEmbedder

        return LowResolutionEmbedder()
    if read_recipe(spec).kind == "embedder":
        from napari_memscan.embedders.contrastive import ContrastiveEmbedder

        return ContrastiveEmbedder(spec, device)
    from napari_memscan.embedders.autoencoder import AutoencoderEmbedder

    return AutoencoderEmbedder(spec, device)
