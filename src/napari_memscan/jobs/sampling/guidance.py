"""Guidance of a study: away from the latents of its training volumes, which are kept."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from napari_memscan.files import hash_json
from napari_memscan.progress import Progress
from napari_memscan.study import Study
from napari_memscan.typing import Split

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_memscan.generators.guidance import Guidance
    from napari_memscan.generators.interface import VolumeGenerator


def prepare_guidance(
    study: Study, generator: VolumeGenerator, strength: float, threads: int
) -> Generator[Progress, None, Guidance | None]:
    """Encode training and validation volumes once, and return the guidance that they give.

    Volumes go through the preprocessing that the model was trained with, which may be another
    than the study's.

    Parameters
    ----------
    study : Study
        Its cache keeps the latents.
    generator : VolumeGenerator
        Whose autoencoder.
    strength : float
        See `Guidance`.
    threads : int
        Of the processor: the sums of an encoder are rounded by it. 0 on a GPU.

    Returns
    -------
    Guidance or None
        None for strength 0: nothing is encoded.

    Raises
    ------
    BadInput
        The recipe does not allow it, the strength is out of range, or a file is missing.
    """
    import numpy as np
    import torch

    from napari_memscan.generators.guidance import Guidance, check_strength
    from napari_memscan.generators.runtime import use_threads

    check_strength(strength)
    if strength == 0:
        return None
    generator.check_guidance()
    recipe = generator.recipe
    splits = [
        (Split.TRAINING, study.cohort.rows(Split.TRAINING)),
        (Split.VALIDATION, study.cohort.rows(Split.VALIDATION)),
    ]
    total = sum(len(rows) for _, rows in splits)
    model = [generator.recipe_hash, generator.checkpoint_hash, threads]
    keys: list[str] = []
    latents: dict[str, torch.Tensor] = {}
    for split, rows in splits:
        own = []
        for row in rows:
            keys.append(hash_json(["latent", study.content_key(row.path), *model]))

            def compute(path: str = row.path) -> NDArray[np.float32]:
                with use_threads(threads):
                    return generator.encode_volume(recipe.preprocessing.apply(study.volume(path)))

            own.append(study.cache.get(keys[-1], compute))
            yield Progress(len(keys), total, f"encoded {row.name} ({split})")
        latents[split] = torch.from_numpy(np.stack(own))
    return Guidance.of(
        strength, latents[Split.TRAINING], latents[Split.VALIDATION], hash_json(keys)
    )
