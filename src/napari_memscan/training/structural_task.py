"""Fits the structural embedder: instances told apart, and distances that mean something."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_memscan.checkpoints.recipe import Recipe, StructuralRecipe
from napari_memscan.embedders.contrastive_encoder import average_to_shape
from napari_memscan.embedders.multiscale_encoder import MultiScaleEncoder
from napari_memscan.errors import BadInput
from napari_memscan.training.augmentation import Augmentation, deform_elastically
from napari_memscan.training.augmentation_views import nt_xent
from napari_memscan.training.settings import StructuralSettings
from napari_memscan.training.structural_distance import WINDOW, compute_local_correlation
from napari_memscan.training.tasks import TrainingTask
from napari_memscan.typing import Split, SplitArrays
from napari_memscan.volumes.preprocessing import Preprocessing

SMALLEST, LARGEST = 8, 32
"""Voxels along an axis of the working shape, where none is asked for."""


class StructuralTask(TrainingTask):
    """Two augmented views of a volume are one, and correlations follow the volumes' likeness.

    Each step makes three images of every volume of the batch: two views, and a view of a
    near-duplicate deformed on the fly. NT-Xent pulls the two views together (Chen et al. 2020) and
    the near-duplicate to its source rather than to another volume; the mean squared error between
    all correlations of vectors and the likeness of the volumes before augmentation
    (`training.structural_distance.compute_local_correlation`) makes distances graded (after
    DeepSSIM++, arXiv 2609.03615).
    """

    network: MultiScaleEncoder

    def __init__(
        self, arrays: SplitArrays, settings: StructuralSettings, preprocessing: Preprocessing
    ) -> None:
        working = settings.working_shape or choose_working_shape(preprocessing.shape)
        wrong = [a for a, b in zip(working, preprocessing.shape, strict=True) if a > b]
        if wrong or min(working) < WINDOW:
            raise BadInput(
                f"embedder settings: working_shape {working} must be at least {WINDOW} voxels on "
                f"every axis, and not larger than the volumes, {preprocessing.shape}."
            )
        try:
            self.network = MultiScaleEncoder(
                working,
                settings.width,
                settings.stages,
                settings.cells,
                settings.dim,
                settings.hidden,
                settings.dropout,
            )
        except ValueError as error:
            raise BadInput(f"embedder settings: {error}.") from error
        self.settings, self.preprocessing, self.working = settings, preprocessing, working
        spacing = preprocessing.spacing or (1.0, 1.0, 1.0)
        self.extent = tuple(n * s for n, s in zip(preprocessing.shape, spacing, strict=True))
        self.augmentation = Augmentation(
            **settings.model_dump(include=set(Augmentation.__dataclass_fields__))
        )
        self.data = {
            split: torch.cat(
                [
                    average_to_shape(torch.from_numpy(np.ascontiguousarray(v))[None, None], working)
                    for v in a
                ]
            )
            for split, a in arrays.items()
        }
        self.network.learn_template(self.data[Split.TRAINING])
        self.weights = torch.ones(len(self.data[Split.TRAINING]))

    def loss(self, network: nn.Module, batch: Tensor, random: torch.Generator) -> Tensor:
        """NT-Xent of views and near-duplicates, and the regression of correlations."""
        chosen, n = self.settings, len(batch)
        with torch.no_grad():
            near = deform_elastically(batch, random, chosen.elastic)
            originals = torch.cat([batch, batch, near])
            target = compute_local_correlation(originals[n:], originals[n:])
            target = torch.cat([target[:n], target])
            target = torch.cat([target[:, :n], target], dim=1)
            views = self.augmentation.view(originals, random, self.extent)
        vectors = functional.normalize(network(views), dim=1)
        found = vectors @ vectors.T
        pairs = ~torch.eye(3 * n, dtype=torch.bool, device=batch.device)
        regression = functional.mse_loss(found[pairs], target[pairs])
        first, second, third = vectors[:n], vectors[n : 2 * n], vectors[2 * n :]
        same = nt_xent(first, second, chosen.temperature)
        labels = torch.arange(n, device=batch.device)
        source = functional.cross_entropy(third @ first.T / chosen.temperature, labels)
        return same + source + chosen.regression * regression

    def result(self, state: dict[str, Tensor], provenance: dict[str, Any]) -> tuple[Recipe, Any]:
        """Return an embedder checkpoint."""
        chosen = self.settings
        recipe = StructuralRecipe(
            input_shape=self.preprocessing.shape,
            working_shape=self.working,
            width=chosen.width,
            stages=chosen.stages,
            cells=chosen.cells,
            hidden=chosen.hidden,
            dim=chosen.dim,
            preprocessing=self.preprocessing,
            provenance=provenance,
        )
        return recipe, {"embedder": state}


def choose_working_shape(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return half of each axis, 8 to 32 voxels, but never more than there are."""
    x, y, z = (min(n, max(SMALLEST, min(LARGEST, n // 2))) for n in shape)
    return x, y, z
