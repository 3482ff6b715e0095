"""Arrays in memory, within a limit of bytes; which of them go first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from threading import RLock

from napari_memscan.typing import Array
from napari_memscan.widgets.viewing.case import ArrayKey


def compute_default_limit() -> int:
    """Return a quarter of the memory that is free now, in bytes."""
    import psutil

    return int(psutil.virtual_memory().available // 4)


def compute_memory_limit(memory_mb: float | None) -> int:
    """Return a limit in bytes for one in MB; None is the default."""
    return compute_default_limit() if memory_mb is None else int(memory_mb * 2**20)


class VolumeMemoryCache:
    """Keeps arrays, those used last the longest. Threads may share it.

    Parameters
    ----------
    limit : int
        Bytes. What is on the canvas is kept even where it alone is more.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept: OrderedDict[ArrayKey, Array] = OrderedDict()
        self._bytes = 0
        self._lock = RLock()

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, item: object) -> bool:
        return item in self._kept

    @property
    def bytes(self) -> int:
        """Bytes of all arrays kept."""
        return self._bytes

    def get(self, item: ArrayKey) -> Array | None:
        """Return an array, which counts as used, or None."""
        with self._lock:
            array = self._kept.get(item)
            if array is not None:
                self._kept.move_to_end(item)
            return array

    def put(
        self,
        item: ArrayKey,
        array: Array,
        needed: Collection[ArrayKey],
        soon: Collection[ArrayKey] = (),
    ) -> bool:
        """Keep an array; return whether there was room.

        Arrays that nobody waits for make room first, those used longest ago before others.

        Parameters
        ----------
        item, array
            What to keep.
        needed : collection of ArrayKey
            On the canvas, or about to be: never put out, and kept at any price.
        soon : collection of ArrayKey
            Those of the next cases, soonest first. One of them puts out none that comes before it.
        """
        with self._lock:
            self._drop(item)
            rank = {other: i for i, other in enumerate(soon)}
            mine = -1 if item in needed else rank.get(item, len(rank))
            idle = [i for i in self._kept if i not in needed and i not in rank]
            later = [i for i in reversed(list(rank)) if i in self._kept and rank[i] > mine]
            later = [i for i in later if i not in needed]
            for out in (*idle, *later):
                if self._bytes + array.nbytes <= self.limit:
                    break
                self._drop(out)
            if self._bytes + array.nbytes > self.limit and item not in needed:
                return False
            self._kept[item] = array
            self._bytes += array.nbytes
            return True

    def clear(self) -> None:
        """Keep nothing."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0

    def _drop(self, item: ArrayKey) -> None:
        array = self._kept.pop(item, None)
        if array is not None:
            self._bytes -= array.nbytes
