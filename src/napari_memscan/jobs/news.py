"""What jobs yield: one type for all who show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from napari_memscan.generators.sample import DenoisingStep
    from napari_memscan.progress import Progress
    from napari_memscan.training.progress import TrainingProgress

News: TypeAlias = "Progress | DenoisingStep | TrainingProgress"
