"""The autoencoder of a study's generator, as the chain of detection takes it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from napari_memscan.files import hash_json
from napari_memscan.study import Study

if TYPE_CHECKING:
    from napari_memscan.generators.ldm import LDMGenerator
    from napari_memscan.typing import Array


class StudyAutoencoder:
    """Passes volumes through the autoencoder of a study's generator.

    The best copy that an LDM can make of a patient is what its decoder makes of the patient's
    latent: softer than the patient. Planted volumes that did not go through it would set limits
    that no copy of this generator reaches, and a null that did not would be too far away.

    Parameters
    ----------
    study : Study
        Its generator is loaded when it is needed.
    threads : int
        Of the processor; results depend on it.

    Attributes
    ----------
    hash : str
        Of the checkpoint; '' where volumes stay as they are: the model works on other volumes than
        the study compares.
    """

    def __init__(self, study: Study, threads: int) -> None:
        self._study, self._threads = study, threads
        recipes = {row.recipe_hash + row.checkpoint_hash for row in study.samples() if row.seed}
        if len(recipes) == 1:
            # Remembered, so that a scan of an unchanged study need not load the model.
            key = hash_json(["decodes", sorted(recipes), study.config.preprocessing.hash])
            self.hash = study.cache.get_text(key, self._ask)
        else:
            self.hash = self._ask()

    def _ask(self) -> str:
        recipe = self._generator.recipe
        fits = recipe.preprocessing.hash == self._study.config.preprocessing.hash
        return self._generator.checkpoint_hash + recipe.hash if fits else ""

    @cached_property
    def _generator(self) -> LDMGenerator:
        return self._study.generator()

    def __call__(self, volume: Array) -> Array:
        """Return a volume (X, Y, Z), encoded and decoded."""
        from napari_memscan.generators.roundtrip import reconstruct_volume
        from napari_memscan.generators.runtime import use_threads

        with use_threads(self._threads):
            return reconstruct_volume(self._generator, volume)


def load_decoder(study: Study) -> StudyAutoencoder | None:
    """Return the autoencoder of a study's generator; None without one that fits its volumes."""
    from napari_memscan.detection.retrieval.entries import choose_threads

    config = study.config.generator
    if config is None or config.external or config.trust:
        return None
    decoder = StudyAutoencoder(study, choose_threads(study.embedder(), study.cache))
    return decoder if decoder.hash else None
