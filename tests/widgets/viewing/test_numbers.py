"""Windows, memory, and lines: what needs neither napari nor Qt."""

import numpy as np
import pytest

from napari_memscan.widgets.viewing import pair_images as pairs
from napari_memscan.widgets.viewing import window_level as window
from napari_memscan.widgets.viewing.case import ArrayKey, ViewState, list_needed_arrays
from napari_memscan.widgets.viewing.memory_cache import VolumeMemoryCache, compute_default_limit
from napari_memscan.widgets.viewing.window_level import IntensityUnits

HU = IntensityUnits(-300, 900, "HU")


def array(megabytes: int) -> np.ndarray:
    return np.zeros((megabytes, 512, 512), np.float32)


def item(name: str) -> ArrayKey:
    return ArrayKey("volume", name)


def test_numbers_are_hounsfield_units_where_the_window_is_known():
    limits = HU.limits(350, 40)
    assert [HU.number(v) for v in limits] == pytest.approx([-135, 215])
    assert HU.width_level(limits) == pytest.approx((350, 40))
    assert HU.text(limits) == "W 350  L 40 HU"
    assert IntensityUnits().text((0.2, 0.6)) == "W 40  L 40 %"


def test_presets_of_ct_are_those_that_show_something():
    assert window.list_window_presets("CT", HU) == ("Full", "Abdomen", "Bone", "Brain", "Lung")
    # Cut off at 0 HU: a lung is all black.
    assert "Lung" not in window.list_window_presets("CT", IntensityUnits(0, 900, "HU"))
    assert window.list_window_presets("MR", IntensityUnits()) == (
        "Full",
        *window.PERCENTILE_PRESETS,
    )
    # A fixed window says nothing of an MR volume's units.
    assert window.list_window_presets("MR", HU) == ("Full", *window.PERCENTILE_PRESETS)


def test_percentiles_are_those_of_the_pair_without_nan():
    one, other = np.linspace(0, 0.2, 27000), np.linspace(0.8, 1, 27000)
    volumes = [v.reshape(30, 30, 30).astype(np.float32) for v in (one, other)]
    volumes[1][0] = np.nan
    low, high = window.compute_preset_limits("5-95 %", IntensityUnits(), volumes)
    assert 0 < low < 0.03
    assert 0.97 < high < 1
    assert window.compute_preset_limits("Full", IntensityUnits(), volumes) == (0, 1)


def test_a_drag_to_the_right_is_wider_and_upwards_brighter():
    low, high = window.compute_dragged_limits((0.25, 0.75), 0.2, 0)
    assert low + high == pytest.approx(1)
    assert high - low > 0.6
    low, high = window.compute_dragged_limits((0.25, 0.75), 0, 0.2)
    assert (low, high) == pytest.approx((0.15, 0.65))
    low, high = window.compute_dragged_limits((0.25, 0.75), -9, 0)
    assert high > low


def test_memory_is_bounded_and_what_is_on_the_canvas_stays():
    arrays = VolumeMemoryCache(4 * 2**20)
    on, soon = {item("on")}, [item("1"), item("2"), item("3"), item("4")]
    assert arrays.put(item("old"), array(1), (), ())
    assert arrays.put(item("on"), array(1), on, soon)
    for name in "123":
        assert arrays.put(item(name), array(1), on, soon)
    assert arrays.bytes == 4 * 2**20
    assert item("old") not in arrays, "nobody waits for it"
    assert not arrays.put(item("4"), array(1), on, soon), "those before it come first"
    # The next case: what was soon is needed, and what was on the canvas may go.
    assert arrays.put(item("4"), array(1), {item("1")}, soon[1:])
    assert item("on") not in arrays
    # What is needed is kept at any price.
    assert arrays.put(item("huge"), array(6), {item("huge")}, ())
    assert len(arrays) == 1


def test_the_array_used_last_stays_longest():
    arrays = VolumeMemoryCache(2 * 2**20)
    arrays.put(item("a"), array(1), ())
    arrays.put(item("b"), array(1), ())
    arrays.get(item("a"))
    arrays.put(item("c"), array(1), {item("c")})
    assert item("a") in arrays
    assert item("b") not in arrays


def test_the_default_limit_is_a_part_of_what_is_free():
    assert 2**20 < compute_default_limit() < 2**50


def test_the_line_of_a_disc_is_a_circle():
    y, x = np.indices((41, 41))
    distance = np.hypot(y - 20, x - 20)
    lines = pairs.find_contour(9.7 - distance, 0)
    radius = np.hypot(*(lines - 20).transpose(2, 0, 1))
    assert np.allclose(radius, 9.7, atol=0.1)
    length = np.linalg.norm(lines[:, 1] - lines[:, 0], axis=1).sum()
    assert length == pytest.approx(2 * np.pi * 9.7, rel=0.03)
    # A closed line: every end is that of two segments.
    _, counts = np.unique(lines.reshape(-1, 2).round(9), axis=0, return_counts=True)
    assert (counts == 2).all()


def test_lines_end_where_nothing_is_known():
    image = np.tile(np.arange(10.0), (10, 1))
    image[5:] = np.nan
    lines = pairs.find_contour(image, 4.5)
    assert lines[..., 0].max() == 4
    assert np.allclose(lines[..., 1], 4.5)
    assert pairs.find_contour(np.zeros((1, 5)), 0).shape == (0, 2, 2)


def test_segments_lie_in_their_slice():
    lines = np.array([[[1.0, 2.0], [3.0, 5.0]]])
    (start, along) = pairs.convert_segments(lines, (2, 1, 0), 7)[0]
    assert start.tolist() == [2, 1, 7]
    assert along.tolist() == [3, 2, 0]


def test_a_checkerboard_has_both_volumes_in_equal_parts():
    board = pairs.make_checkerboard(np.ones((16, 16, 16)), np.full((16, 16, 16), np.nan))
    assert board.mean() == 0.5
    assert set(np.unique(board)) == {0, 1}


def test_the_scale_of_a_difference_is_about_zero_and_bears_nan():
    difference = np.full((20, 20, 20), np.nan, np.float32)
    assert pairs.compute_symmetric_limit(difference) == 0.05
    difference[:10] = -0.3
    assert pairs.compute_symmetric_limit(difference) == pytest.approx(0.3)


def test_only_what_a_layout_shows_is_loaded(shelf):
    case = shelf.case(0)
    kinds = {
        layout: [i.kind for i in list_needed_arrays(case, ViewState(layout=layout))]
        for layout in ("grid", "pair", "planes", "3D")
    }
    assert kinds["grid"] == ["volume"] * 4
    assert kinds["pair"] == kinds["planes"] == kinds["3D"] == ["volume", "aligned"]
    with_map = list_needed_arrays(case, ViewState(layout="pair", pair_mode="similarity map"))
    assert [i.kind for i in with_map] == ["volume", "aligned", "map"]
    unregistered = list_needed_arrays(shelf.case(1, transform=None), ViewState(layout="pair"))
    assert [i.kind for i in unregistered] == ["volume", "volume"]
    assert len(list_needed_arrays(shelf.case(2, neighbours=0), ViewState(layout="pair"))) == 1
