"""Make the demo's checkpoints anew: ``python -m napari_memscan.demo.build FOLDER``.

Trains autoencoder, denoiser and embedder on the phantom cohort with the project's own training
and writes them with 16-bit weights, as the package ships them.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from napari_memscan.checkpoints.loading import compute_checkpoint_hash, load_weights
from napari_memscan.checkpoints.native_format import read_recipe, save_checkpoint
from napari_memscan.demo.phantoms import SPACING_MM, write_phantom_cohort
from napari_memscan.demo.study import make_demo_preprocessing
from napari_memscan.training.run import train
from napari_memscan.training.settings import (
    AutoencoderSettings,
    DenoiserSettings,
    EmbedderSettings,
    TrainingSettings,
)
from napari_memscan.typing import Split, SplitArrays
from napari_memscan.volumes.cohort import Cohort

AUTOENCODER = AutoencoderSettings(steps=700)
# Twelve of the 64 training phantoms count eight times, as follow-up scans of one patient would:
# those are the ones the denoiser learns by heart.
DENOISER = DenoiserSettings(steps=2500, duplicated=12, times=8)
EMBEDDER = EmbedderSettings(working_shape=(16, 16, 16))


def build_checkpoints(folder: Path) -> None:
    """Train all three parts below `folder`; goes on where it was stopped."""
    cohort = write_phantom_cohort(folder / "phantoms")
    arrays = load_arrays(cohort)
    trainings: list[tuple[str, TrainingSettings]] = [
        ("autoencoder", AUTOENCODER),
        ("denoiser", DENOISER),
        ("embedder", EMBEDDER),
    ]
    for part, settings in trainings:
        out = folder / part
        if not (out / "recipe.json").exists():
            started = time.monotonic()
            for progress in train(
                part,
                arrays,
                out,
                settings,
                preprocessing=make_demo_preprocessing(),
                spacing=(SPACING_MM,) * 3,
                autoencoder=folder / "autoencoder",
            ):
                if progress.validation_loss is not None:
                    seconds = time.monotonic() - started
                    print(
                        f"{part} {progress.step}/{progress.total}: loss {progress.loss:.4f}, "
                        f"validation {progress.validation_loss:.4f}, {seconds:.0f} s",
                        flush=True,
                    )
    for part, name in (("denoiser", "ldm"), ("embedder", "embedder")):
        recipe = read_recipe(folder / part)
        weights = {key: load_weights(folder / part, key) for key in recipe.files}
        save_checkpoint(folder / "checkpoints" / name, recipe, weights, half=True)
        print(
            f"{folder / 'checkpoints' / name}:"
            f" {compute_checkpoint_hash(folder / 'checkpoints' / name)}"
        )


def load_arrays(cohort: Cohort) -> SplitArrays:
    """Return the preprocessed training and validation volumes of a cohort."""
    recipe = make_demo_preprocessing()
    return {
        split: np.stack([recipe.apply(row.read()) for row in cohort.rows(split)])
        for split in (Split.TRAINING, Split.VALIDATION)
    }


if __name__ == "__main__":
    build_checkpoints(Path(sys.argv[1] if len(sys.argv) > 1 else "memscan-demo-training"))
