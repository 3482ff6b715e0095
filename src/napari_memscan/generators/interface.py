"""What every model is that volumes are drawn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch

    from napari_memscan.checkpoints.checkpoint import LoadReport
    from napari_memscan.checkpoints.latent_model import LatentModel
    from napari_memscan.checkpoints.recipe import LDMRecipe
    from napari_memscan.generators.guidance import Guidance
    from napari_memscan.generators.sample import DenoisingStep, GeneratedSample, SamplingSettings
    from napari_memscan.typing import Array


@runtime_checkable
class VolumeGenerator(Protocol):
    """Draws volumes, each from a seed of its own; see `LDMGenerator`, which is one.

    Attributes
    ----------
    path : Path
        Of its checkpoint.
    model : LatentModel
        The networks.
    recipe : LDMRecipe
        All that the weights do not say.
    report : LoadReport
        How the checkpoint was loaded.
    device : torch.device
        Where its networks run.
    recipe_hash, checkpoint_hash : str
        Written beside every sample.
    """

    path: Path
    model: LatentModel
    recipe: LDMRecipe
    report: LoadReport
    device: torch.device
    recipe_hash: str
    checkpoint_hash: str

    def generate(
        self,
        seeds: Sequence[int],
        *,
        steps: int | None = None,
        sampler: str | None = None,
        start: int = 0,
        guidance: Guidance | str | None = None,
        conditions: Sequence[str] | None = None,
        **settings: Any,
    ) -> Iterator[DenoisingStep | GeneratedSample]:
        """Draw one volume for each seed; the same seed and settings give the same bytes."""

    def condition(self, seed: int, wish: str | None = None) -> str:
        """Return what the denoiser is told of a seed's sample; empty for none."""

    def choose(
        self,
        *,
        batch: int | str = "auto",
        precision: str = "auto",
        memory: str = "auto",
        threads: int | str = "auto",
        decode: str = "auto",
    ) -> SamplingSettings:
        """Choose how to run the networks: what is ``auto``, by asking the machine."""

    def check_guidance(self, guidance: Guidance | None = None) -> None:
        """Refuse guidance where latents of volumes cannot be had as the denoiser knows them."""

    def arrange_weights(self, memory: str) -> None:
        """Lay the networks' weights out as `SamplingSettings.memory` says, unless they lie so."""

    def encode_volume(self, volume: Array) -> Array:
        """Return a volume's latent (C, x, y, z), scaled as the denoiser knows it."""
