"""Which way a patient lies on the screen: planes of RAS volumes, radiological convention."""

from __future__ import annotations

from collections.abc import Sequence

PLANES = {"Axial": (2, 1, 0), "Coronal": (1, 2, 0), "Sagittal": (0, 2, 1)}
"""Plane to napari's order of the axes (X, Y, Z): the axis sliced, the rows, the columns."""

RADIOLOGICAL = ("up", "left")
"""Rows grow upwards, columns to the left: anterior or superior is up, the patient's right is on
the viewer's left, and a sagittal patient looks to the left."""

NEUROLOGICAL = ("up", "right")
"""The patient's right is on the viewer's right."""

# Where each axis of an RAS volume grows to, and where it comes from.
AXIS_ENDS = (("R", "L"), ("A", "P"), ("S", "I"))


def get_edge_letters(order: Sequence[int], orientation: Sequence[str]) -> dict[str, str]:
    """Return the letters at the edges of a slice.

    Parameters
    ----------
    order : sequence of int
        napari's ``dims.order``; its last two axes are shown, as rows and columns.
    orientation : (str, str)
        napari's ``camera.orientation2d``: where rows (``up``, ``down``) and columns (``left``,
        ``right``) grow to.

    Returns
    -------
    dict
        ``top``, ``bottom``, ``left``, ``right`` to one of R, L, A, P, S, I.
    """
    rows, columns = AXIS_ENDS[order[-2]], AXIS_ENDS[order[-1]]
    vertical, horizontal = (str(getattr(o, "value", o)) for o in orientation)
    if vertical == "down":
        rows = rows[::-1]
    if horizontal == "right":
        columns = columns[::-1]
    return {"top": rows[0], "bottom": rows[1], "left": columns[0], "right": columns[1]}


def get_camera_orientation(order: Sequence[int], radiological: bool = True) -> tuple[str, str]:
    """Return napari's ``camera.orientation2d`` for a plane.

    The two conventions differ in where the patient's right is; a sagittal slice, which has no
    right, looks to the left in both.
    """
    return RADIOLOGICAL if radiological or order[-1] != 0 else NEUROLOGICAL


def compute_grid_shape(n: int, width: float, height: float) -> tuple[int, int]:
    """Return (rows, columns) that give `n` square panes the most room on a canvas.

    Of equal shapes the one with more columns wins: side by side is easier to compare.
    """
    best = (1, n)
    most = 0.0
    for rows in range(1, n + 1):
        columns = -(-n // rows)
        side = min(width / columns, height / rows)
        if side > most * 1.001:
            best, most = (rows, columns), side
    return best
