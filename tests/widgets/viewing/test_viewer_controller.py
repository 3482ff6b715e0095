"""All that a controller can ask for, over napari's model without a window."""

import gc
import weakref

import numpy as np
import psutil
import pytest

from napari_memscan.widgets.viewing import LAYOUTS, PAIR_MODES, Case, CaseVolume

from .conftest import SPACING, WAIT


def data(viewing) -> list[np.ndarray]:
    return [layer.data for layer in viewing.layers]


def everything_told(viewing, viewer) -> str:
    """All that napari shows of layers in any of its lists, tooltips and status lines."""
    told = []
    for layer in viewing.layers:
        told += [layer.name, str(layer.metadata), str(layer.source), str(layer.help)]
        told.append(str(layer.get_status(position=(0,) * layer.ndim)))
    told += [str(o) for o in viewer.canvas.overlays.values()]
    return " ".join(told)


def test_the_grid_shows_the_volumes_of_the_case(viewing, shelf, show):
    case = shelf.case(0)
    seen = []
    viewing.shown.connect(seen.append)
    show(viewing, case)
    assert seen == ["case 0"]
    assert [layer.name for layer in viewing.layers] == ["S of 0", "A of 0 ◂", "B of 0", "C of 0"]
    for layer, volume in zip(viewing.layers, shelf.of(case), strict=True):
        assert layer.data is volume
        assert tuple(layer.scale) == SPACING
    assert [layer.bounding_box.visible for layer in viewing.layers] == [False, True, False, False]


def test_layers_and_the_readers_choices_outlive_a_case(viewing, shelf, show):
    show(viewing, shelf.case(0))
    layers = viewing.layers
    viewing.set_plane("Coronal")
    layers = viewing.layers
    viewing.step(3)
    viewing.set_width_level(50, 45)
    at = viewing.position
    show(viewing, shelf.case(1))
    assert viewing.layers == layers
    assert viewing.position == at
    assert at["slice"] == 8 + 3
    assert [tuple(layer.contrast_limits) for layer in layers] == [(0.2, 0.7)] * 4
    # Other numbers of neighbours need other layers, which have the same window.
    show(viewing, shelf.case(2, neighbours=1))
    assert [tuple(layer.contrast_limits) for layer in viewing.layers] == [(0.2, 0.7)] * 2
    assert viewing.position["voxel"] == at["voxel"]


def test_paths_are_told_nowhere(viewing, viewer, shelf, show, settle):
    case = shelf.case(0)
    show(viewing, case)
    for layout in LAYOUTS:
        viewing.set_layout(layout)
        settle(viewing)
        assert "secret" not in everything_told(viewing, viewer)
        assert "nii" not in everything_told(viewing, viewer)


def test_a_window_is_that_of_all_panes_however_it_is_set(viewing, shelf, show):
    show(viewing, shelf.case(0), modality="CT", units=(-300, 900))
    assert viewing.window.presets == ("Full", "Abdomen", "Bone", "Brain", "Lung")
    viewing.set_preset("Abdomen")
    assert viewing.window.width_level == pytest.approx((350, 40))
    limits = [tuple(layer.contrast_limits) for layer in viewing.layers]
    assert limits == [pytest.approx((165 / 1200, 515 / 1200))] * 4
    # napari's own slider.
    viewing.layers[2].contrast_limits = (0.1, 0.2)
    assert [tuple(layer.contrast_limits) for layer in viewing.layers] == [(0.1, 0.2)] * 4
    assert viewing.window.preset == "Custom"
    viewing.layers[0].gamma = 1.5
    assert viewing.layers[3].gamma == 1.5
    viewing.reset_window()
    assert viewing.limits == (0, 1)


def test_percentiles_are_measured_anew_for_each_pair(viewing, shelf, show):
    show(viewing, shelf.case(0), modality="MR")
    viewing.set_preset("5-95 %")
    first = viewing.limits
    case = shelf.case(1)
    for shown in case.all:
        shelf.volumes[shown.path] = shelf.volumes[shown.path] * np.float32(0.5)
    show(viewing, case, modality="MR")
    assert viewing.limits[1] < first[1]
    assert viewing.window.preset == "5-95 %"


def test_the_pair_is_shown_after_registration(viewing, shelf, show, settle):
    """The partner is shifted by two voxels, and the pose says so."""
    case = shelf.case(0, neighbours=1)
    volume = shelf.volumes[case.synthetic.path]
    pose = np.eye(4)
    pose[0, 3] = 2 * SPACING[0]
    near = CaseVolume("A", "/secret/shifted.nii.gz", tuple(pose.ravel()))
    shelf.volumes[near.path] = np.roll(volume, 2, axis=0)
    viewing.set_layout("pair")
    show(viewing, Case("shifted", case.synthetic, (near,)))
    synthetic, _, _, partner = viewing.layers
    assert partner.visible
    inside = partner.data[:-2]
    assert np.allclose(inside, synthetic.data[:-2], atol=1e-3)
    assert (partner.data[-2:] == 0).all()
    assert viewing.registered

    viewing.set_pair_mode("difference")
    settle(viewing)
    over = viewing.layers[1]
    assert np.isnan(over.data[-2:]).all()
    assert np.abs(over.data[:-2]).max() < 1e-3
    low, high = over.contrast_limits
    assert low == -high < 0

    viewing.set_pair_mode("similarity map")
    settle(viewing)
    over = viewing.layers[1]
    assert np.nanmedian(over.data) > 0.99
    assert tuple(over.contrast_limits) == (-1, 1)


def test_blinking_and_fading_change_what_is_seen_and_say_so(viewing, viewer, shelf, show, settle):
    show(viewing, shelf.case(0))
    viewing.set_layout("pair")
    viewing.set_pair_mode("blink")
    settle(viewing)
    over = viewing.layers[1]
    titles = [layer.name_overlay.visible for layer in viewing.layers[:2]]
    assert (over.opacity, titles) == (0, [True, False])
    viewing.flip()
    titles = [layer.name_overlay.visible for layer in viewing.layers[:2]]
    assert (over.opacity, titles) == (1, [False, True])
    assert over.name == "A of 0"
    # The next case begins with its synthetic volume.
    show(viewing, shelf.case(1))
    assert viewing.layers[1].opacity == 0
    viewing.set_pair_mode("fade")
    settle(viewing)
    viewing.set_fade(0.25)
    assert viewing.layers[1].opacity == 0.25
    assert "25 % of it is A of 1" in viewer.canvas.overlays["memscan_legend"].text


def test_a_timer_blinks_as_fast_as_asked(viewing, shelf, show, settle, qtbot):
    show(viewing, shelf.case(0))
    viewing.set_layout("pair")
    viewing.set_pair_mode("blink")
    settle(viewing)
    viewing.set_blinking(True, 100)
    seen = set()
    qtbot.waitUntil(lambda: seen.add(viewing.layers[1].opacity) or seen == {0, 1}, timeout=WAIT)
    viewing.set_pair_mode("fade")
    assert not viewing.blinking


def test_lines_of_the_partner_follow_slice_and_window(viewing, shelf, show, settle):
    show(viewing, shelf.case(0))
    viewing.set_layout("pair")
    viewing.set_pair_mode("contours")
    settle(viewing)
    lines = viewing.layers[2]
    assert lines.visible
    first = np.array(lines.data)
    assert len(first)
    assert set(first[:, 0, 2]) == {6}
    viewing.step(1)
    assert set(np.array(lines.data)[:, 0, 2]) == {7}
    viewing.set_width_level(20, 10)
    assert len(lines.data) != len(first)
    viewing.set_pair_mode("fade")
    settle(viewing)
    assert len(viewing.layers[2].data) == 0


def test_without_a_pose_slices_are_shifted_and_scroll_together(
    viewing, viewer, shelf, show, settle
):
    show(viewing, shelf.case(0, transform=None))
    viewing.set_layout("pair")
    viewing.set_pair_mode("difference")
    settle(viewing)
    assert not viewing.registered
    assert viewing.position["pair_mode"] == "side by side"
    assert "Not registered" in viewer.canvas.overlays["memscan_legend"].text
    synthetic, over, _, partner = viewing.layers
    assert partner.visible
    assert not over.visible
    viewing.set_offset(2)
    for _ in range(2):
        world = viewer.dims.point
        at = [layer.world_to_data(world)[2] for layer in (synthetic, partner)]
        assert at[1] - at[0] == pytest.approx(2)
        viewing.step(1)
    assert viewing.position["offsets"] == [0, 0, 2]
    assert "+2 slices" in viewer.canvas.overlays["memscan_legend"].text
    # Of this pair, and of no other.
    show(viewing, shelf.case(0, transform=None, neighbours=2))
    assert viewing.position["offsets"] == [0, 0, 2]
    show(viewing, shelf.case(1, transform=None))
    assert "offsets" not in viewing.position
    assert viewing.offset == 0


def test_what_cannot_be_aligned_is_shown_as_it_is(viewing, shelf, show, settle):
    case = shelf.case(0, neighbours=1)
    shelf.volumes[case.neighbours[0].path] = np.zeros((20, 16, 12), np.float32)
    failures = []
    viewing.failed.connect(failures.append)
    viewing.set_layout("pair")
    show(viewing, case)
    assert failures == []
    assert not viewing.registered
    assert viewing.layers[3].data is shelf.volumes[case.neighbours[0].path]


def test_three_planes_share_a_point(viewing, viewer, shelf, show, settle):
    case = shelf.case(0)
    show(viewing, case)
    viewing.set_layout("planes")
    settle(viewing)
    volume = shelf.volumes[case.synthetic.path]
    axial, coronal, sagittal = (layer.data for layer in viewing.layers[0:9:3])
    assert np.array_equal(axial, volume[:, :, 6].T)
    assert np.array_equal(coronal, volume[:, 8].T)
    assert np.array_equal(sagittal, volume[10].T)
    assert axial.base is not None, "a view, no copy"
    # A click on the axial slice, in mm about its centre: rows are Y, columns X.
    viewing.click((0, 0), (1.125, -2.25))
    assert viewing.position["voxel"] == [5, 9, 6]
    assert np.array_equal(viewing.layers[6].data, volume[5].T)
    viewing.scroll((0, 1), 2)
    assert viewing.position["voxel"] == [5, 11, 6]
    # The same place in another layout.
    viewing.set_layout("grid")
    settle(viewing)
    assert viewer.dims.point == pytest.approx((2.5, 8.25, 6.0))


def test_letters_follow_the_convention_in_every_layout(viewing, viewer, shelf, show, settle):
    show(viewing, shelf.case(0))
    overlays = viewer.canvas.overlays
    assert overlays["memscan_left"].text == "R"
    viewing.set_radiological(False)
    assert overlays["memscan_left"].text == "L"
    viewing.set_plane("Sagittal")
    assert overlays["memscan_left"].text == "A"
    viewing.set_layout("planes")
    settle(viewing)

    def screen(pane: int) -> dict[str, float]:
        """Letter to how far on the left it is on the screen."""
        letters = viewing.layers[3 * pane + 2]
        world = [letters.data_to_world(p)[1] for p in letters.data]
        return dict(zip(letters.text.values, world, strict=True))

    assert screen(0)["L"] > screen(0)["R"]
    viewing.set_radiological(True)
    assert screen(0)["R"] > screen(0)["L"]
    assert screen(2)["A"] > screen(2)["P"]


def test_the_image_is_mirrored_with_its_letters(viewing, shelf, show, settle):
    show(viewing, shelf.case(0))
    viewing.set_layout("planes")
    settle(viewing)
    for radiological in (True, False):
        viewing.set_radiological(radiological)
        image, _, letters = viewing.layers[:3]
        right = letters.data[list(letters.text.values).index("R")]
        # X grows to the patient's right: the letter is at the end of the last column.
        world = letters.data_to_world(right)
        assert image.world_to_data(world)[1] > 15


def test_in_3d_both_volumes_are_turned_together(viewing, viewer, shelf, show, settle):
    show(viewing, shelf.case(0))
    viewing.set_layout("3D")
    settle(viewing)
    assert viewer.dims.ndisplay == 3
    images = viewing.stage.images
    assert [layer.rendering for layer in images] == ["mip", "mip"]
    viewing.set_rendering("attenuated_mip")
    assert [layer.rendering for layer in images] == ["attenuated_mip"] * 2
    # From the front: neither A nor P, one behind the other.
    letters = viewing.layers[1]
    assert [t for t in letters.text.values if t] == ["R", "L", "S", "I"]
    viewer.scene.camera.angles = (0, 60, 0)
    assert letters.shown.all()
    viewing.set_layout("grid")
    settle(viewing)
    assert viewer.dims.ndisplay == 2


def test_the_partner_is_chosen_and_marked(viewing, shelf, show, settle):
    show(viewing, shelf.case(0))
    chosen = []
    viewing.partner_changed.connect(chosen.append)
    viewing.click((0, 1), (0, 0, 0))
    viewing.set_partner(2)
    viewing.set_partner(7)
    settle(viewing)
    assert chosen == [2]
    assert viewing.layers[3].name == "C of 0 ◂"
    assert [layer.bounding_box.visible for layer in viewing.layers] == [False, False, False, True]
    viewing.set_layout("pair")
    settle(viewing)
    assert viewing.layers[3].name == "C of 0"


def test_a_missing_file_empties_the_panes_and_the_next_case_is_shown(viewing, viewer, shelf, show):
    failures = []
    viewing.failed.connect(failures.append)
    show(viewing, shelf.case(0))
    case = shelf.case(1)
    shelf.missing.add(case.synthetic.path)
    show(viewing, case)
    (text,) = failures
    assert text.startswith("S of 1 cannot be shown. /secret/made1.nii.gz: missing. Restore")
    assert "voxel" not in viewing.position
    assert viewing.layers == []
    assert len(viewer.layers) == 0
    show(viewing, shelf.case(2))
    assert viewing.layers[0].name == "S of 2"
    # The file is back.
    shelf.missing.clear()
    show(viewing, case)
    assert viewing.layers[0].name == "S of 1"


def test_neighbours_that_are_missing_are_named_and_the_others_are_shown(
    viewing, shelf, show, settle
):
    failures, lacking, shown = [], [], []
    viewing.failed.connect(failures.append)
    viewing.partly.connect(lacking.append)
    viewing.shown.connect(shown.append)
    case = shelf.case(1)
    shelf.missing |= {case.neighbours[1].path, case.neighbours[2].path}
    show(viewing, case)
    (text,) = lacking
    assert text.startswith("B of 1 cannot be shown. /secret/b1.nii.gz: missing. Restore")
    assert text.endswith("Nor can 1 more of its neighbours.")
    assert (failures, shown) == ([], ["case 1"])
    names = [layer.name for layer in viewing.layers]
    assert names == ["S of 1", "A of 1 ◂", "B of 1: cannot be shown", "C of 1: cannot be shown"]
    assert viewing.layers[1].data is shelf.volumes[case.neighbours[0].path]
    assert not viewing.layers[2].data.any()
    assert viewing.position["absent"] == [1, 2]
    # As the partner it is needed; with another one there is a pair again.
    viewing.set_layout("pair")
    viewing.set_partner(2)
    settle(viewing)
    assert failures[0].startswith("C of 1 cannot be shown.")
    assert viewing.layers == []
    viewing.set_partner(0)
    settle(viewing)
    assert viewing.layers[0].name == "S of 1"
    assert shown == ["case 1", "case 1"]
    # The files are back.
    shelf.missing.clear()
    viewing.set_layout("grid")
    show(viewing, case)
    assert viewing.layers[2].data is shelf.volumes[case.neighbours[1].path]
    assert "absent" not in viewing.position
    # With nothing to compare with there is nothing to see.
    shelf.missing |= {shown.path for shown in case.neighbours}
    viewing.clear()
    show(viewing, case)
    assert len(failures) == 2
    assert viewing.layers == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_missing_partner_is_named_and_nothing_is_told_to_a_blind_reader(
    viewing, shelf, show, layout
):
    failures = []
    viewing.failed.connect(failures.append)
    viewing.neutral = True
    viewing.set_layout(layout)
    case = shelf.case(1)
    shelf.missing.add(case.neighbours[0].path)
    show(viewing, case)
    (text,) = failures
    assert text.startswith("A of 1 cannot be shown. A of 1: missing. Restore this file")
    assert viewing.layers == []


def test_nothing_is_seen_while_a_case_loads(viewing, viewer, shelf, show, qtbot):
    show(viewing, shelf.case(0))
    shelf.gate.clear()
    viewing.show(shelf.case(1), shelf.load, shelf.spacing)
    assert viewing.loading
    assert [layer.opacity for layer in viewing.layers] == [0] * 4
    assert viewing.layers[0].name == "S of 1"
    assert viewer.canvas.overlays["memscan_message"].text
    # Nor is anything of the last one recorded.
    assert not {"voxel", "mm", "slice"} & set(viewing.position)
    assert not viewing.position["registered"]
    shelf.gate.set()
    qtbot.waitUntil(lambda: not viewing.loading, timeout=WAIT)
    assert [layer.opacity for layer in viewing.layers] == [1] * 4
    assert not viewer.canvas.overlays["memscan_message"].text


def test_cases_loaded_ahead_are_shown_at_once_and_read_once(viewing, shelf, show, qtbot):
    cases = [shelf.case(i) for i in range(4)]
    show(viewing, cases[0])
    viewing.expect(cases[1:])
    qtbot.waitUntil(lambda: not viewing.preloading, timeout=WAIT)
    seen = []
    viewing.shown.connect(seen.append)
    for case in cases[1:]:
        viewing.show(case, shelf.load, shelf.spacing)
        assert not viewing.loading
    assert seen == [case.key for case in cases[1:]]
    assert len(shelf.read) == len(set(shelf.read)) == 16


def test_pairs_are_aligned_ahead_too(viewing, shelf, show, qtbot):
    viewing.set_layout("pair")
    viewing.set_pair_mode("similarity map")
    show(viewing, shelf.case(0))
    following = shelf.case(1)
    viewing.expect([following])
    qtbot.waitUntil(lambda: not viewing.preloading, timeout=WAIT)
    viewing.show(following, shelf.load, shelf.spacing)
    assert not viewing.loading


def test_loading_ahead_keeps_to_its_limit_and_ends(viewing, shelf, show, qtbot):
    one = shelf.volumes[shelf.case(0).synthetic.path].nbytes
    viewing.set_memory(10 * one / 2**20)
    show(viewing, shelf.case(0))
    viewing.expect([shelf.case(i) for i in range(1, 9)])
    qtbot.waitUntil(lambda: not viewing.preloading, timeout=WAIT)
    assert 8 * one < viewing.cached_bytes <= 10 * one
    assert len(shelf.read) <= 11


def of_case(viewing, shelf, case) -> bool:
    """Whether all that is on any layer was made of this case's volumes."""
    volumes = shelf.of(case)
    seen = []
    for layer in viewing.layers:
        values = layer.data
        mine = any(np.shares_memory(values, v) for v in volumes) if values.ndim == 3 else True
        seen.append(mine)
    titles = all(
        layer.name.removesuffix(" ◂").endswith(case.key.removeprefix("case "))
        for layer in viewing.stage.images
    )
    return all(seen) and titles


def test_stepping_quickly_never_shows_another_case(viewing, shelf, qtbot):
    """Some are loaded ahead, some are not, some are passed over; each answer is the newest's."""
    cases = [shelf.case(i, neighbours=2) for i in range(50)]
    wrong, seen = [], []

    def check(key: str) -> None:
        seen.append(key)
        case = cases[int(key.removeprefix("case "))]
        if key != viewing.case.key or not of_case(viewing, shelf, case):
            wrong.append(key)

    viewing.shown.connect(check)
    for i, case in enumerate(cases):
        viewing.show(case, shelf.load, shelf.spacing)
        viewing.expect(cases[i + 1 : i + 1 + i % 4])
        qtbot.wait(i % 3)
    qtbot.waitUntil(lambda: not viewing.loading, timeout=WAIT)
    assert wrong == []
    assert seen[-1] == "case 49"
    assert of_case(viewing, shelf, cases[-1])


@pytest.mark.parametrize("mode", PAIR_MODES)
def test_nothing_of_the_last_case_stays_on_any_layer(viewing, shelf, show, mode):
    viewing.set_layout("pair")
    viewing.set_pair_mode(mode)
    show(viewing, shelf.case(0))
    before = [np.array(a) for a in data(viewing)]
    show(viewing, shelf.case(1))
    for old, new in zip(before, data(viewing), strict=True):
        assert not len(new) or not np.array_equal(old, new, equal_nan=True)


def test_an_answer_after_the_panes_are_closed_is_dropped(viewing, shelf, qtbot):
    shelf.gate.clear()
    viewing.show(shelf.case(0), shelf.load, shelf.spacing)
    viewing.clear()
    shelf.gate.set()
    qtbot.waitUntil(lambda: not viewing.preloading, timeout=WAIT)
    qtbot.wait(30)
    assert viewing.layers == []
    assert viewing.cached_bytes == 0


def test_another_study_forgets_what_was_loaded(viewing, shelf, show):
    case = shelf.case(0)
    show(viewing, case)
    other = {path: 1 - volume for path, volume in shelf.volumes.items()}
    viewing.show(case, other.__getitem__, shelf.spacing)
    while viewing.loading:
        from qtpy.QtWidgets import QApplication

        QApplication.processEvents()
    assert viewing.layers[0].data is other[case.synthetic.path]


def test_no_layer_and_no_array_is_left_behind(viewing, viewer, shelf, show, settle):
    """As the benchmark does with 500 cases."""
    viewing.set_memory(0)
    gone = []
    for i in range(12):
        case = shelf.case(i, neighbours=1)
        viewing.state.layout = LAYOUTS[i // 3]
        show(viewing, case)
        assert len(viewer.layers) == len(viewing.layers) <= 18
        gone += [weakref.ref(shelf.volumes.pop(shown.path)) for shown in case.all]
    viewing.clear()
    del case
    gc.collect()
    assert len(viewer.layers) == 0
    # napari itself remembers one layer, the active one of the last case.
    assert [ref() for ref in gone[:-2] if ref() is not None] == []


@pytest.mark.parametrize("n", [200, pytest.param(500, marks=pytest.mark.long)])
def test_hundreds_of_samples_leave_no_layer_and_no_memory(viewing, viewer, show, shelf, n):
    """In napari's model; with a real canvas the benchmark does the same."""
    viewing.set_memory(0)
    process, used = psutil.Process(), []
    for i in range(n):
        paths = [f"{kind}{i}" for kind in "ab"]
        # Half a megabyte each, another in every place: all of them would be too many to keep.
        shelf.volumes = {path: np.full((50, 50, 50), i, np.float32) for path in paths}
        own, near = (CaseVolume(path, path) for path in paths)
        show(viewing, Case(str(i), own, (near,)))
        assert len(viewer.layers) == len(viewing.layers) == 2
        used.append(process.memory_info().rss / 2**20)
    assert np.median(used[-50:]) - np.median(used[50:100]) < 60


def test_the_window_is_given_back_as_it_was(viewing, viewer, shelf, show, settle):
    viewer.add_image(np.zeros((4, 5, 6)), name="mine")
    viewer.scene.camera.orientation2d = ("down", "right")
    wheel, drag = list(viewer.mouse_wheel_callbacks), list(viewer.mouse_drag_callbacks)
    overlays = set(viewer.canvas.overlays)
    for layout in LAYOUTS:
        viewing.state.layout = layout
        show(viewing, shelf.case(0))
        assert not viewer.layers["mine"].visible
    viewing.clear()
    assert [layer.name for layer in viewer.layers] == ["mine"]
    assert viewer.layers["mine"].visible
    assert viewer.dims.ndisplay == 2
    assert viewer.dims.order == (0, 1, 2)
    assert tuple(str(o) for o in viewer.scene.camera.orientation2d) == ("down", "right")
    assert not viewer.canvas.grid.enabled
    assert viewer.canvas.background_color_override is None
    assert viewer.mouse_wheel_callbacks == wheel
    assert viewer.mouse_drag_callbacks == drag
    assert set(viewer.canvas.overlays) == overlays
    assert viewer.scene.camera.mouse_zoom


def test_the_partner_that_is_recorded_is_the_one_on_the_screen(viewing, shelf, show, settle):
    show(viewing, shelf.case(0))
    viewing.set_partner(2)
    settle(viewing)
    show(viewing, shelf.case(1, neighbours=2))
    assert viewing.layers[2].name == "B of 1 ◂"
    assert viewing.position["partner"] == 1


def test_the_memory_for_arrays_can_be_changed(viewing, shelf, show):
    kept = 4 * 20 * 16 * 12 * 4
    show(viewing, shelf.case(0))
    show(viewing, shelf.case(1))
    assert viewing.cached_bytes == 2 * kept
    viewing.set_memory(0)
    show(viewing, shelf.case(2))
    assert viewing.cached_bytes == kept
    viewing.set_memory(None)
    show(viewing, shelf.case(3))
    show(viewing, shelf.case(4))
    assert viewing.cached_bytes == 3 * kept


def test_a_position_says_where_in_mm(viewing, shelf, show, settle):
    show(viewing, shelf.case(0), modality="CT", units=(-300, 900))
    viewing.set_partner(1)
    viewing.set_plane("Sagittal")
    viewing.set_layout("pair")
    viewing.set_pair_mode("fade")
    settle(viewing)
    viewing.step(-4)
    viewing.set_preset("Bone")
    assert viewing.position["mm"] == [-1.75, 0.375, 0.5]


def test_fonts_follow_naparis(viewing, viewer, shelf, show):
    from napari.settings import get_settings

    appearance = get_settings().appearance
    before = appearance.font_size
    show(viewing, shelf.case(0))
    small = viewing.layers[0].name_overlay.font_size
    try:
        appearance.font_size = before + 6
        overlays = viewer.canvas.overlays
        assert overlays["memscan_left"].font_size == before + 6
        assert viewing.layers[0].name_overlay.font_size > small
    finally:
        appearance.font_size = before
