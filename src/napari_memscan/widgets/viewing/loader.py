"""Loads what is asked for, and then what will be asked for next, behind the reader's back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from threading import Condition, Thread
from typing import Any

from qtpy.QtCore import QObject, Signal, Slot

from napari_memscan.errors import MemscanError
from napari_memscan.typing import Array, Triple
from napari_memscan.widgets.common.mailbox import Mailbox
from napari_memscan.widgets.viewing.case import ArrayKey, compute_pair_array
from napari_memscan.widgets.viewing.memory_cache import VolumeMemoryCache

LOG = logging.getLogger(__name__)

LoadVolume = Callable[[str], Array]
GetSpacing = Callable[[], Triple]


class CaseLoader(QObject):
    """One thread that always works on what is wanted most.

    Each request replaces the one before. What the thread is at is finished and kept, since it may
    well be wanted again; nobody is told of it. The thread ends when there is nothing to do.

    It is no napari worker: those make napari ask, when its window is closed, whether to wait for
    them, and nobody should be asked about volumes that were only loaded ahead.

    Attributes
    ----------
    arrived : Signal()
        All that the newest request needs is there, or one of it failed.
    """

    arrived = Signal()

    def __init__(self, arrays: VolumeMemoryCache, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.arrays = arrays
        self._changed = Condition()
        self._source: tuple[LoadVolume, GetSpacing] | None = None
        self._spacing: Triple | None = None
        self._needed: tuple[ArrayKey, ...] = ()
        self._soon: tuple[ArrayKey, ...] = ()
        self._failures: dict[ArrayKey | None, tuple[ArrayKey | None, str]] = {}
        self._full = False
        self._epoch = 0
        self._thread: Thread | None = None
        self._waited = False
        self._mailbox = Mailbox(self._hear)

    @property
    def spacing(self) -> Triple | None:
        """Voxel size of all volumes in mm; None before it is known."""
        return self._spacing

    @property
    def busy(self) -> bool:
        """Whether the thread works, be it for later."""
        with self._changed:
            return self._thread is not None

    def set_source(self, load: LoadVolume, spacing: GetSpacing) -> None:
        """Load with these from now on; what another source gave is forgotten."""
        with self._changed:
            if self._source is not None and self._source[0] != load:
                self._forget()
            self._source = (load, spacing)

    def request(self, needed: Sequence[ArrayKey], soon: Sequence[ArrayKey] = ()) -> bool:
        """Ask for `needed` in place of what was asked before; return whether all is there.

        If not, `arrived` follows. What failed before is tried again.
        """
        with self._changed:
            self._needed, self._soon = tuple(needed), tuple(soon)
            self._full = False
            for item in (*needed, None):
                self._failures.pop(item, None)
            self._start()
            ready = self._ready()
            self._waited = not ready
        return ready

    def expect(self, soon: Sequence[ArrayKey]) -> None:
        """Load these when there is nothing else to do, in this order."""
        with self._changed:
            self._soon = tuple(soon)
            self._full = False
            for item in soon:
                self._failures.pop(item, None)
            self._start()

    def failure(self) -> tuple[ArrayKey | None, str] | None:
        """Return what failed of the newest request, and why; the item is None for the spacing.

        Of a pair one of whose volumes could not be loaded it is that volume.
        """
        with self._changed:
            for item in (None, *self._needed):
                if item in self._failures:
                    return self._failures[item]
        return None

    def get(self) -> dict[ArrayKey, Array]:
        """Return the arrays of the newest request, as far as they are there."""
        found = {item: self.arrays.get(item) for item in self._needed}
        return {item: array for item, array in found.items() if array is not None}

    def clear(self) -> None:
        """Forget everything; an answer that is still to come is dropped."""
        with self._changed:
            self._waited = False
            self._needed = self._soon = ()
            self._source = None
            self._forget()

    def _forget(self) -> None:
        self._epoch += 1
        self._spacing = None
        self._failures.clear()
        self.arrays.clear()

    def _ready(self) -> bool:
        return self._spacing is not None and all(item in self.arrays for item in self._needed)

    def _answered(self) -> bool:
        """Whether the newest request is waited for and all of it there, or one of it failed."""
        failed = any(item in self._failures for item in (None, *self._needed))
        return self._waited and (failed or self._ready())

    @Slot(object)
    def _hear(self, _news: None) -> None:
        # What was sent for a request that another one has replaced since says nothing.
        with self._changed:
            answered = self._answered()
            self._waited = self._waited and not answered
        if answered:
            self.arrived.emit()

    # In the thread

    def _start(self) -> None:
        if self._thread is None and self._source is not None and self._next() is not None:
            self._thread = Thread(
                target=self._work, args=(self._mailbox,), name="memscan-viewing", daemon=True
            )
            self._thread.start()

    def _next(self) -> tuple[ArrayKey | None] | None:
        """Return what to load next, in a tuple since None stands for the spacing."""
        if self._spacing is None and None not in self._failures:
            return (None,)
        if self._spacing is None:
            return None
        for item in (*self._needed, *(() if self._full else self._soon)):
            if item not in self.arrays and item not in self._failures:
                return (item,)
        return None

    def _work(self, mailbox: Mailbox) -> None:
        while True:
            with self._changed:
                following = self._next() if self._source is not None else None
                if following is None:
                    self._thread = None
                    self._changed.notify_all()
                    return
                assert self._source is not None
                source, epoch, spacing = self._source, self._epoch, self._spacing
            (item,) = following
            self._do(item, source, epoch, spacing)
            with self._changed:
                answered = self._answered()
            if answered:
                mailbox.send(None)

    def _do(
        self,
        item: ArrayKey | None,
        source: tuple[LoadVolume, GetSpacing],
        epoch: int,
        spacing: Triple | None,
    ) -> None:
        load, find_spacing = source
        at = [item]
        try:
            if item is None:
                x, y, z = find_spacing()
                with self._changed:
                    if epoch == self._epoch:
                        self._spacing = (float(x), float(y), float(z))
                return
            assert spacing is not None
            self._keep(item, self._made(item, load, epoch, spacing, at), epoch)
        except MemscanError as error:
            self._fail(item, at[-1], str(error), epoch)
        except Exception as error:
            # The window must live on, and the person must hear of it; the log keeps the traceback.
            LOG.exception("a volume could not be loaded")
            text = f"Something unexpected went wrong ({type(error).__name__}: {error})."
            self._fail(item, at[-1], f"{text} The log has the details.", epoch)

    def _made(
        self,
        item: ArrayKey,
        load: LoadVolume,
        epoch: int,
        spacing: Triple,
        at: list[ArrayKey | None],
    ) -> Array:
        """Return an array; what is being worked on is the last of `at`."""
        if item.kind == "volume":
            return load(item.path)
        pair: list[Any] = []
        for path in (item.query, item.path):
            volume = ArrayKey("volume", path)
            array = self.arrays.get(volume)
            if array is None:
                at.append(volume)
                array = load(path)
                at.pop()
                self._keep(volume, array, epoch)
            pair.append(array)
        return compute_pair_array(item, pair[0], pair[1], spacing)

    def _keep(self, item: ArrayKey, array: Array, epoch: int) -> None:
        with self._changed:
            if epoch != self._epoch:
                return
            if not self.arrays.put(item, array, self._needed, self._soon) and item in self._soon:
                self._full = True

    def _fail(self, item: ArrayKey | None, culprit: ArrayKey | None, text: str, epoch: int) -> None:
        with self._changed:
            if epoch == self._epoch:
                self._failures[item] = (culprit, text)
