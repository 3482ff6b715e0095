"""Which case is asked for, and what becomes of it: it is there, it is waited for, or it failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_memscan.widgets.viewing.case import (
    ArrayKey,
    Case,
    LoadedCase,
    ViewState,
    list_needed_arrays,
)
from napari_memscan.widgets.viewing.loader import CaseLoader, GetSpacing, LoadVolume
from napari_memscan.widgets.viewing.memory_cache import VolumeMemoryCache


class CaseRequests(QObject):
    """Asks the loader for the newest case only.

    Parameters
    ----------
    state : ViewState
        Says what of a case is needed.
    limit : int
        Bytes of all arrays kept.

    Attributes
    ----------
    loaded : Signal(object)
        All of it is there, as `LoadedCase`.
    waiting : Signal()
        It is not there yet: show nothing.
    failed : Signal(str)
        It will not be there, and why.
    partly : Signal(str)
        It is there but for a neighbour, and why.
    case : Case or None
        The newest one. Where registering it anew failed it has lost its pose.
    busy : bool
        It is waited for.
    neutral : bool
        Messages name volumes by their titles and not by their files, and a case is shown whole or
        not at all.
    """

    loaded = Signal(object)
    waiting = Signal()
    failed = Signal(str)
    partly = Signal(str)

    def __init__(self, state: ViewState, limit: int, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self.loader = CaseLoader(VolumeMemoryCache(limit), self)
        self.loader.arrived.connect(self._on_arrived)
        self.case: Case | None = None
        self.busy = self.neutral = False
        self._expected: tuple[Case, ...] = ()
        self._lacking: list[str] = []

    def ask(self, case: Case, load: LoadVolume, spacing: GetSpacing) -> None:
        """Ask for a case in place of the one before."""
        self.loader.set_source(load, spacing)
        self.case, self._lacking = case, []
        self.again()

    def again(self) -> None:
        """Ask for the same case, of which something else is needed now."""
        if self.case is None:
            return
        self.busy = True
        if self.loader.request(list_needed_arrays(self.case, self._state), self._soon()):
            self._give()
        else:
            self.waiting.emit()

    def expect(self, cases: Sequence[Case]) -> None:
        """Load what is needed of these cases when there is nothing else to do."""
        self._expected = tuple(cases)
        self.loader.expect(self._soon())

    def clear(self) -> None:
        """Ask for nothing, and forget what was loaded."""
        self.case, self._expected, self.busy = None, (), False
        self.loader.clear()

    def _soon(self) -> list[ArrayKey]:
        cases = [case for case in self._expected if case != self.case]
        return list(
            dict.fromkeys(item for case in cases for item in list_needed_arrays(case, self._state))
        )

    def _give(self) -> None:
        assert self.case is not None
        assert self.loader.spacing is not None
        self.busy = False
        self.loaded.emit(LoadedCase(self.case, self.loader.get(), self.loader.spacing))
        lacking, self._lacking = self._lacking, []
        if lacking:
            n = len(lacking) - 1
            self.partly.emit(lacking[0] + (f" Nor can {n} more of its neighbours." if n else ""))

    def _on_arrived(self) -> None:
        if self.case is None or not self.busy:
            return
        failure = self.loader.failure()
        if failure is None:
            self._give()
        elif failure[0] is not None and failure[0].kind != "volume":
            self._change(failure[0], transform=None)  # As it is it can be looked at.
            self.again()
        elif failure[0] is not None and self._spared(failure[0]):
            self._lacking.append(self._words(*failure))
            self._change(failure[0], absent=True)
            self.again()
        else:
            self.busy = False
            self.failed.emit(self._words(*failure))

    def _spared(self, item: ArrayKey) -> bool:
        """Whether there is something to compare with where this volume is not shown."""
        assert self.case is not None
        if self.neutral or self._state.layout != "grid" or item.path == self.case.synthetic.path:
            return False
        return any(not s.absent and s.path != item.path for s in self.case.neighbours)

    def _change(self, item: ArrayKey, **changes: Any) -> None:
        """Show a neighbour in another way than asked for."""
        assert self.case is not None
        neighbours = tuple(
            replace(shown, **changes) if shown.path == item.path else shown
            for shown in self.case.neighbours
        )
        self.case = replace(self.case, neighbours=neighbours)

    def _words(self, item: ArrayKey | None, text: str) -> str:
        if self.case is None or item is None:
            return text
        shown = next((s for s in self.case.all if s.path == item.path), None)
        if shown is None:
            return text
        if self.neutral:
            for name in (shown.path, Path(shown.path).name):
                text = text.replace(name, shown.title)
        return f"{shown.title} cannot be shown. {text}"
