"""Arrays kept by key, on disk or in memory; to lose them costs time, nothing else."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_memscan.errors import JobFailed
from napari_memscan.files import write_atomically
from napari_memscan.typing import Array


class Store(Protocol):
    """Where work keeps what it has made, by keys that hash all that it depends on."""

    def has(self, key: str, /) -> bool:
        """Return whether an array is kept under `key`."""

    def get(self, key: str, compute: Callable[[], NDArray[Any]], /) -> NDArray[Any]:
        """Return the array kept under `key`; compute and keep it where there is none."""

    def put(self, key: str, array: NDArray[Any], /) -> None:
        """Keep an array under `key`."""

    def open_volume(self, key: str, make: Callable[[], Array], /) -> Callable[[], Array]:
        """Return what gives the volume (X, Y, Z) of `key` whenever it is called."""


class MemoryStore:
    """A store that ends with the process; of volumes it holds none: they are made when asked for.

    What `open_volume` returns can be sent to another process where `make` can.
    """

    def __init__(self) -> None:
        self._arrays: dict[str, NDArray[Any]] = {}

    def has(self, key: str) -> bool:
        """Return whether an array is kept under `key`."""
        return key in self._arrays

    def get(self, key: str, compute: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return the array kept under `key`; compute and keep it where there is none."""
        if key not in self._arrays:
            self._arrays[key] = compute()
        return self._arrays[key]

    def put(self, key: str, array: NDArray[Any]) -> None:
        """Keep an array under `key`, in place of what is kept there."""
        self._arrays[key] = array

    def open_volume(self, key: str, make: Callable[[], Array]) -> Callable[[], Array]:
        """Return what makes the volume (X, Y, Z) whenever it is called."""
        return make


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
            return _read_array(path)
        except FileNotFoundError:
            pass
        except (ValueError, EOFError, OSError):
            path.unlink(missing_ok=True)
        array = compute()
        self.put(key, array)
        return array

    def get_text(self, key: str, compute: Callable[[], str]) -> str:
        """Return the text kept under `key`; compute and keep it where there is none."""
        kept = self.get(key, lambda: np.frombuffer(compute().encode(), np.uint8))
        return kept.tobytes().decode()

    def open_volume(self, key: str, make: Callable[[], Array]) -> Callable[[], Array]:
        """Keep the volume (X, Y, Z) of `key`; return what reads it, in any process.

        One that is kept is not read before it is asked for. Found damaged then, it is removed, and
        what reads it raises JobFailed.
        """
        if not self.has(key):
            self.put(key, make())
        return partial(_read_kept_volume, self.path(key))

    def put(self, key: str, array: NDArray[Any]) -> None:
        """Keep an array under `key`, in place of what is kept there."""
        # Written from memory: numpy's own writing does not say that a disk is full.
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        with write_atomically(self.path(key)) as temporary:
            temporary.write_bytes(buffer.getbuffer())


def _read_kept_volume(path: Path) -> Array:
    try:
        return _read_array(path)
    except (ValueError, EOFError, OSError) as error:
        path.unlink(missing_ok=True)
        raise JobFailed(
            f"{path}: was damaged, and is removed ({error}). Start again: it is made anew, and "
            "what was finished is kept."
        ) from error


def _read_array(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array
