"""Volumes made elsewhere, as a generator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from napari_memscan.generators.sample import GeneratedSample
from napari_memscan.volumes.reader import list_volumes, read_volume


class FolderGenerator:
    """Yields the volumes of a folder, in the order of their names.

    Parameters
    ----------
    folder : path
        Searched with its sub-folders.

    Attributes
    ----------
    files : list of Path
        What it will yield.

    Raises
    ------
    BadInput
        The folder is missing or holds no volume.
    """

    recipe_hash = ""
    checkpoint_hash = ""

    def __init__(self, folder: str | Path) -> None:
        self.files = list_volumes(folder)

    def generate(
        self,
        seeds: Sequence[int] = (),
        *,
        steps: int | None = None,
        sampler: str | None = None,
        start: int = 0,
    ) -> Iterator[GeneratedSample]:
        """Yield one sample a file from the `start`-th on.

        `seeds`, `steps` and `sampler` mean nothing here; they are taken so that any generator
        can stand where another did.
        """
        for index, path in enumerate(self.files[start:], start):
            yield GeneratedSample(index, None, read_volume(path))
