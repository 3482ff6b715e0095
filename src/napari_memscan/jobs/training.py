"""Models fitted to the cohort of a study."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.jobs.progress import Progress
from napari_memscan.study import Study

if TYPE_CHECKING:
    from napari_memscan.training.run import TrainingProgress
    from napari_memscan.training.settings import Settings


def train(
    study: Study,
    part: str,
    out: Path,
    settings: Settings,
    *,
    device: str = "auto",
    autoencoder: Path | None = None,
) -> Generator[Progress | TrainingProgress, None, None]:
    """Fit one part of a model to the study's cohort; see `training.run.train`."""
    import numpy as np

    from napari_memscan.training.run import train as fit

    splits = {s: [r.path for r in study.cohort.rows(s)] for s in ("training", "validation")}
    total = sum(map(len, splits.values()))
    arrays: dict[str, list[Any]] = {split: [] for split in splits}
    done = 0
    for split, paths in splits.items():
        for path in paths:
            arrays[split].append(study.array(path))
            done += 1
            yield Progress(done, total, f"read {Path(path).name}")
    recipe = study.config.preprocessing
    spacing = recipe.spacing or _common_spacing(study)
    yield from fit(
        part,
        {split: np.stack(values) for split, values in arrays.items()},
        out,
        settings,
        device=device,
        preprocessing=recipe,
        spacing=spacing,
        autoencoder=autoencoder,
    )


def _common_spacing(study: Study) -> tuple[float, float, float] | None:
    """Return the voxel size of the training volumes if all agree; else it is unknown."""
    found = {study.volume(row.path).spacing for row in study.cohort.rows("training")}
    if len(found) != 1:
        return None
    return found.pop()
