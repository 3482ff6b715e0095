"""The mouse as radiologists expect it: right drag is the window, the wheel turns the slices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from napari_memscan.widgets.viewing.window_level import Limits, compute_dragged_limits

CLICK_TOLERANCE = 4
"""Pixels that a click may move."""
RIGHT_BUTTON = 2
ZOOM_FACTOR = 1.15


class MouseTarget(Protocol):
    """What the mouse can do."""

    limits: Limits
    flat: bool

    def drag_limits(self, limits: Limits) -> None:
        """Show these voxel values as black and white."""

    def click(self, viewbox: tuple[int, int] | None, position: tuple[float, ...]) -> None:
        """Somebody clicked there."""

    def scroll(self, viewbox: tuple[int, int] | None, by: int) -> None:
        """Somebody turned the wheel there."""


class CanvasMouse:
    """Listens to napari's canvas while volumes are shown, and gives it back as it was.

    Parameters
    ----------
    viewer : napari viewer
    hands : MouseTarget
    """

    def __init__(self, viewer: Any, hands: MouseTarget) -> None:
        self._viewer, self._hands = viewer, hands
        self._wheel: Callable[..., None] = self._on_wheel
        self._drag: Callable[..., Iterator[None]] = self._on_drag
        self._before: list[Any] = []
        self._turned = 0.0
        self.active = False

    def set_active(self, active: bool) -> None:
        """Listen, or listen no longer."""
        if active == self.active:
            return
        self.active = active
        wheel, drag = self._viewer.mouse_wheel_callbacks, self._viewer.mouse_drag_callbacks
        if active:
            # napari's own, which turns slices with Ctrl, would do so while Ctrl zooms.
            self._before = list(wheel)
            wheel[:] = [self._wheel]
            drag.append(self._drag)
        else:
            wheel[:] = self._before
            if self._drag in drag:
                drag.remove(self._drag)

    def _on_wheel(self, viewer: Any, event: Any) -> None:
        if not self._hands.flat:
            return
        if "Control" in event.modifiers:
            self._viewer.scene.camera.zoom *= ZOOM_FACTOR ** float(event.delta[1])
            return
        # Wheels that turn smoothly send parts of a step.
        self._turned += float(event.delta[1])
        steps = int(self._turned)
        self._turned -= steps
        if steps:
            self._hands.scroll(event.viewbox, -steps)

    def _on_drag(self, viewer: Any, event: Any) -> Iterator[None]:
        if event.button == RIGHT_BUTTON or "Shift" in event.modifiers:
            yield from self._window(event)
        elif event.button == 1 and not event.modifiers:
            yield from self._click(event)

    def _window(self, event: Any) -> Iterator[None]:
        camera = self._viewer.scene.camera
        pan, camera.mouse_pan = camera.mouse_pan, False
        limits, start = self._hands.limits, tuple(event.pos)
        height, width = self._viewer.canvas.size
        try:
            yield
            while event.type == "mouse_move":
                x, y = event.pos
                right, up = (x - start[0]) / width, (start[1] - y) / height
                self._hands.drag_limits(compute_dragged_limits(limits, right, up))
                yield
        finally:
            camera.mouse_pan = pan

    def _click(self, event: Any) -> Iterator[None]:
        start, position, viewbox = tuple(event.pos), tuple(event.position), event.viewbox
        far = 0.0
        yield
        while event.type == "mouse_move":
            far = max(far, *(abs(a - b) for a, b in zip(event.pos, start, strict=True)))
            yield
        if far <= CLICK_TOLERANCE:
            self._hands.click(viewbox, position)
