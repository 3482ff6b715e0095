"""The training of one run, with or without augmentation."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.errors import JobFailed
from napari_memscan.jobs.training import conditions_to_train, spacing_to_train, volumes_to_train
from napari_memscan.study import Study

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_memscan.training.settings import DenoiserSettings

VIEWS = 7
"""Changed versions that stand beside each training volume where there is augmentation."""
FLIP_AXES, DEGREES = (0,), 5.0
"""Of the paper: flipped with probability 0.5, and turned by up to so much about each axis."""


def fit(
    own: Study, out: Path, settings: DenoiserSettings, autoencoder: Path, device: str, views: int
) -> Generator[Any, None, None]:
    """Train a run's denoiser, which goes on where it stopped.

    Latents are computed before the first step, so augmentation is not drawn anew in every step:
    each volume has `views` changed versions beside it, which are drawn as often as it is. Steps
    stay the same.

    Parameters
    ----------
    own : Study
        Of the run; the first ``settings.duplicated`` training volumes are drawn more often.
    out : path
        Folder of the checkpoint.
    settings : DenoiserSettings
    autoencoder : path
        Trained.
    device : str
    views : int
        0: no augmentation.
    """
    from napari_memscan.training.run import train

    arrays = yield from volumes_to_train(own)
    conditions = conditions_to_train(own)
    if views:
        conditions["training"] = [c for c in conditions["training"] for _ in range(1 + views)]
        arrays["training"] = viewed(arrays["training"], views, settings.seed)
        settings = settings.model_copy(update={"duplicated": settings.duplicated * (1 + views)})
    yield from train(
        "denoiser",
        arrays,
        out,
        settings,
        device=device,
        preprocessing=own.config.preprocessing,
        spacing=spacing_to_train(own),
        autoencoder=autoencoder,
        conditions=conditions,
    )
    if not (out / "recipe.json").exists():
        raise JobFailed(f"{out}: the training ended without a checkpoint.")


def viewed(volumes: NDArray[np.float32], views: int, seed: int) -> NDArray[np.float32]:
    """Return each volume with its changed versions after it, (n (1 + views), X, Y, Z).

    Parameters
    ----------
    volumes : array (n, X, Y, Z)
    views : int
    seed : int
        Of flips and angles; the versions of a volume do not depend on those beside it.
    """
    import numpy as np
    import torch

    from napari_memscan.training.views import augmented

    made = []
    for i, volume in enumerate(volumes):
        random = torch.Generator().manual_seed(seed * 1_000_003 + i)
        batch = torch.from_numpy(np.ascontiguousarray(volume))[None, None]
        repeated = batch.expand(views, -1, -1, -1, -1)
        changed = augmented(repeated, random, FLIP_AXES, DEGREES)
        made.append(torch.cat([batch, changed])[:, 0].numpy())
    return np.concatenate(made).astype(np.float32)
