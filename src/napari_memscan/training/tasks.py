"""What is fitted: one small class for each part of a model, driven by `training.trainer`."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_memscan.checkpoints.recipe import ContrastiveRecipe, Recipe
from napari_memscan.embedders.contrastive_encoder import (
    ContrastiveEncoder,
    average_to_shape,
    scale_to_unit,
)
from napari_memscan.errors import BadInput
from napari_memscan.training.augmentation_views import blur_and_add_noise, flip_and_rotate, nt_xent
from napari_memscan.training.settings import EmbedderSettings
from napari_memscan.typing import Split, SplitArrays
from napari_memscan.volumes.preprocessing import Preprocessing

Pictures = dict[str, NDArray[np.float32]]


class TrainingTask(Protocol):
    """One part of a model being fitted.

    Attributes
    ----------
    network : nn.Module
        What the optimiser changes.
    data : dict of str to tensor or TensorDataset
        ``training`` and ``validation``, one row an example. Batches are rows of it: tensors, or
        tuples of tensors.
    weights : tensor (n_training,)
        How often each training example is drawn, relative to the others.
    step : int
        From 0; the trainer sets it.
    discriminator : nn.Module or None
        Maps volumes to how real they are, for a network that also learns to please it; trained by
        an optimiser of its own.
    """

    network: nn.Module
    data: Any
    weights: Tensor
    step: int = 0
    discriminator: nn.Module | None = None

    def loss(self, network: nn.Module, batch: Any, random: torch.Generator) -> Tensor:
        """Return the loss of a batch; all randomness comes from `random` (a CPU generator)."""

    def result(self, state: dict[str, Tensor], provenance: dict[str, Any]) -> tuple[Recipe, Any]:
        """Return recipe and weights to save, given the network's (averaged) state."""

    def pictures(self, network: nn.Module, n: int) -> Pictures:
        """Return `n` volumes (n, X, Y, Z) for each name; no name where there is nothing to see."""
        return {}

    def generator_loss(self) -> Tensor:
        """Return what the network pays where the discriminator saw through its last batch."""
        return torch.zeros(())

    def discriminator_loss(self, discriminator: nn.Module) -> Tensor:
        """Return the discriminator's own loss on that batch."""
        return torch.zeros(())


def add_channel(arrays: SplitArrays) -> dict[Split, Tensor]:
    """Return volumes as tensors (N, 1, X, Y, Z)."""
    return {k: torch.from_numpy(np.ascontiguousarray(v))[:, None] for k, v in arrays.items()}


class EmbedderTask(TrainingTask):
    """Pull two views of a volume together, push others away (Dar et al. 2023, section 2.2)."""

    def __init__(
        self, arrays: SplitArrays, settings: EmbedderSettings, preprocessing: Preprocessing
    ) -> None:
        d = settings.downsample
        x, y, z = preprocessing.shape
        working = settings.working_shape or (
            max(d[0], x // 2 // d[0] * d[0]),
            max(d[1], y // 2 // d[1] * d[1]),
            max(d[2], z // 2 // d[2] * d[2]),
        )
        try:
            self.network = ContrastiveEncoder(settings.n_hiddens, d, working, settings.dim)
        except ValueError as error:
            raise BadInput(f"embedder settings: {error}.") from error
        self.settings, self.preprocessing, self.working = settings, preprocessing, working
        self.data = {
            k: average_to_shape(scale_to_unit(v), working) for k, v in add_channel(arrays).items()
        }
        self.weights = torch.ones(len(self.data[Split.TRAINING]))

    def loss(self, network: nn.Module, batch: Tensor, random: torch.Generator) -> Tensor:
        """NT-Xent between each volume and an augmented view of it."""
        chosen = self.settings
        view = flip_and_rotate(batch, random, chosen.flip_axes, chosen.degrees)
        view = blur_and_add_noise(view, random, chosen.blur, chosen.noise)
        return nt_xent(network(view), network(batch), chosen.temperature)

    def result(self, state: dict[str, Tensor], provenance: dict[str, Any]) -> tuple[Recipe, Any]:
        """Return an embedder checkpoint."""
        recipe = ContrastiveRecipe(
            input_shape=self.preprocessing.shape,
            working_shape=self.working,
            downsample=self.settings.downsample,
            n_hiddens=self.settings.n_hiddens,
            dim=self.settings.dim,
            preprocessing=self.preprocessing,
            provenance=provenance,
        )
        return recipe, {"embedder": state}
