"""Letters at the edges, and the shape of the grid."""

import pytest

from napari_memscan.widgets.common.orientation import (
    PLANES,
    RADIOLOGICAL,
    compute_grid_shape,
    get_edge_letters,
)


@pytest.mark.parametrize(
    ("plane", "top", "left"), [("Axial", "A", "R"), ("Coronal", "S", "R"), ("Sagittal", "S", "A")]
)
def test_radiological_convention(plane, top, left):
    found = get_edge_letters(PLANES[plane], RADIOLOGICAL)
    opposite = dict(zip("RLAPSI", "LRPAIS", strict=True))
    assert found == {"top": top, "bottom": opposite[top], "left": left, "right": opposite[left]}


def test_letters_follow_a_camera_that_was_turned():
    assert get_edge_letters((2, 1, 0), ("down", "right")) == {
        "top": "P",
        "bottom": "A",
        "left": "L",
        "right": "R",
    }
    assert get_edge_letters((0, 1, 2), ("down", "right"))["top"] == "P"


@pytest.mark.parametrize(
    ("n", "width", "height", "shape"),
    [
        (4, 560, 720, (2, 2)),
        (6, 560, 720, (3, 2)),
        (6, 1500, 700, (2, 3)),
        (2, 800, 700, (1, 2)),
        (3, 1500, 500, (1, 3)),
        (1, 500, 500, (1, 1)),
        (2, 400, 800, (2, 1)),
    ],
)
def test_the_grid_gives_panes_the_most_room(n, width, height, shape):
    assert compute_grid_shape(n, width, height) == shape
    assert shape[0] * shape[1] >= n
