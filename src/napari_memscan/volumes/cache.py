"""Arrays kept on disk by key; deleting the folder costs time, nothing else."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.files import replacing


class ArrayCache:
    """Arrays by key, one ``.npy`` file each.

    Parameters
    ----------
    folder : path
        Made when the first array is kept.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def path(self, key: str) -> Path:
        """Return where an array is kept under `key`, or would be."""
        return self.folder / key[:2] / f"{key}.npy"

    def has(self, key: str) -> bool:
        """Return whether an array is kept under `key`."""
        return self.path(key).exists()

    def get(self, key: str, compute: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return the array kept under `key`; compute and keep it where there is none.

        Parameters
        ----------
        key : str
            Letters and digits, such as a hash over all that the array depends on.
        compute : callable
            Called when nothing usable is kept; a file that cannot be read is replaced.
        """
        path = self.path(key)
        try:
            array: NDArray[Any] = np.load(path, allow_pickle=False)
            return array
        except FileNotFoundError:
            pass
        except (ValueError, EOFError, OSError):
            path.unlink(missing_ok=True)
        array = compute()
        # Written from memory: numpy's own writing does not say that a disk is full.
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        with replacing(path) as temporary:
            temporary.write_bytes(buffer.getbuffer())
        return array
