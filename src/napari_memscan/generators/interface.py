"""What every generator yields."""

from __future__ import annotations

from dataclasses import dataclass

from napari_memscan.volumes.volume import Volume


@dataclass(frozen=True)
class Step:
    """One denoising step of one sample is done.

    Attributes
    ----------
    sample : int
        Index of the sample in this run, from 0.
    step, total : int
        Steps done of this sample (1 to `total`) and in all.
    """

    sample: int
    step: int
    total: int


@dataclass(frozen=True, eq=False)
class Sample:
    """One finished synthetic volume with all that is needed to make it again.

    Attributes
    ----------
    index : int
        Index of the sample in this run, from 0.
    seed : int or None
        Seed of its noise; None for a volume made elsewhere.
    volume : Volume
        The synthetic volume, in the intensity units of the recipe.
    recipe_hash, checkpoint_hash : str
        What made it; empty for a volume made elsewhere.
    """

    index: int
    seed: int | None
    volume: Volume
    recipe_hash: str = ""
    checkpoint_hash: str = ""
