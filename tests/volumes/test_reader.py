"""Whatever the file's orientation and scale, a volume comes out in RAS; anything else is named."""

from __future__ import annotations

import gzip
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_memscan.errors import BadInput
from napari_memscan.volumes.reader import (
    check_header,
    is_volume_path,
    list_volumes,
    parse_spacing,
    read_volume,
    write_nifti,
)
from napari_memscan.volumes.volume import Volume


@pytest.fixture
def data():
    return np.random.default_rng(0).random((5, 6, 7)).astype(np.float32)


def save(path, array, affine=None, **kwargs):
    affine = np.diag([1.0, 2.0, 3.0, 1.0]) if affine is None else affine
    nib.save(nib.Nifti1Image(array, affine, **kwargs), path)
    return path


@pytest.mark.parametrize("code", ["RAS", "LPS", "LAS", "SPL", "PIR", "ASR"])
def test_every_orientation_comes_out_in_ras(code, data, tmp_path):
    image = nib.Nifti1Image(data, np.diag([1.0, 2.0, 3.0, 1.0]))
    target = nib.orientations.axcodes2ornt(code)
    turned = image.as_reoriented(
        nib.orientations.ornt_transform(nib.io_orientation(image.affine), target)
    )
    assert "".join(nib.aff2axcodes(turned.affine)) == code
    nib.save(turned, tmp_path / "v.nii.gz")
    volume = read_volume(tmp_path / "v.nii.gz")
    np.testing.assert_array_equal(volume.data, data)
    assert volume.spacing == pytest.approx((1, 2, 3))


@pytest.mark.parametrize("code", ["RAS", "LAS", "PIR"])
def test_voxel_sizes_are_those_of_the_affine_however_it_is_stored(code, data, tmp_path):
    image = nib.Nifti1Image(data, np.diag([3.0, 3.0, 3.0, 1.0]))
    target = nib.orientations.axcodes2ornt(code)
    turned = image.as_reoriented(
        nib.orientations.ornt_transform(nib.io_orientation(image.affine), target)
    )
    turned.header["pixdim"][1:4] = 2.0
    nib.save(turned, tmp_path / "v.nii")
    assert read_volume(tmp_path / "v.nii").spacing == pytest.approx((3, 3, 3))


def test_header_scale_is_applied(data, tmp_path):
    image = nib.Nifti1Image((data * 100).astype(np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, -10)
    nib.save(image, tmp_path / "v.nii")
    stored = nib.load(tmp_path / "v.nii")
    np.testing.assert_allclose(read_volume(tmp_path / "v.nii").data, stored.get_fdata(), rtol=1e-6)


def test_a_trailing_axis_of_one_is_dropped_and_others_are_refused(data, tmp_path):
    assert read_volume(save(tmp_path / "a.nii", data[..., None])).data.shape == (5, 6, 7)
    with pytest.raises(BadInput, match="single channel"):
        read_volume(save(tmp_path / "b.nii", np.stack([data, data], -1)))
    with pytest.raises(BadInput, match="2D image"):
        read_volume(save(tmp_path / "c.nii", data[:, :, :1]))
    rgb = np.zeros((4, 4, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(BadInput, match="colour"):
        read_volume(save(tmp_path / "d.nii", rgb))


def test_writing_is_exact_and_the_same_bytes(data, tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_nifti(Volume(data, (0.5, 1.0, 2.0)), tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    again = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(again.data, data)
    assert again.spacing == pytest.approx((0.5, 1, 2))
    write_nifti(Volume(data, None), tmp_path / "u.nii")
    assert read_volume(tmp_path / "u.nii").spacing is None


@pytest.mark.parametrize(
    ("axes", "order", "flips"),
    [("XYZ", (0, 1, 2), ()), ("DHW", (2, 1, 0), ()), ("zYX", (2, 1, 0), (0,))],
)
def test_arrays_have_declared_axes(axes, order, flips, data, tmp_path):
    np.save(tmp_path / "v.npy", np.flip(data.transpose(order), flips))
    volume = read_volume(tmp_path / "v.npy", axes=axes, spacing=(1, 1, 4))
    np.testing.assert_array_equal(volume.data, data)
    assert volume.spacing == (1, 1, 4)


def test_archives_hold_one_array(data, tmp_path):
    np.savez(tmp_path / "one.npz", volume=data)
    np.testing.assert_array_equal(read_volume(tmp_path / "one.npz").data, data)
    np.savez(tmp_path / "two.npz", a=data, b=data)
    with pytest.raises(BadInput, match="exactly one"):
        read_volume(tmp_path / "two.npz")


def test_damaged_files_say_what_to_do(data, tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        read_volume(tmp_path / "missing.nii")
    (tmp_path / "empty.nii.gz").touch()
    with pytest.raises(BadInput, match="empty"):
        read_volume(tmp_path / "empty.nii.gz")
    whole = gzip.compress(
        nib.Nifti1Image(np.random.default_rng(0).random((20, 20, 20)), np.eye(4)).to_bytes()
    )
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match="truncated"):
        read_volume(tmp_path / "cut.nii.gz")
    (tmp_path / "text.nii").write_text("hello " * 100)
    with pytest.raises(BadInput, match="not a whole NIfTI"):
        read_volume(tmp_path / "text.nii")
    (tmp_path / "text.npy").write_text("hello")
    with pytest.raises(BadInput, match="NumPy"):
        read_volume(tmp_path / "text.npy")
    np.save(tmp_path / "objects.npy", np.array([{}, 1, None], dtype=object))
    with pytest.raises(BadInput, match="could run code"):
        read_volume(tmp_path / "objects.npy")
    np.save(tmp_path / "words.npy", np.full((3, 3, 3), "x"))
    with pytest.raises(BadInput, match="real numbers"):
        read_volume(tmp_path / "words.npy")
    (tmp_path / "image.png").write_bytes(b"png")
    with pytest.raises(BadInput, match="not a volume"):
        read_volume(tmp_path / "image.png")
    np.save(tmp_path / "v.npy", data)
    with pytest.raises(BadInput, match="permutation"):
        read_volume(tmp_path / "v.npy", axes="XXY")


def test_nan_and_constant_volumes_are_refused(data, tmp_path):
    data[1, 2, 3] = np.nan
    with pytest.raises(BadInput, match="1 voxels are NaN"):
        read_volume(save(tmp_path / "n.nii", data))
    with pytest.raises(BadInput, match="every voxel is 3"):
        read_volume(save(tmp_path / "c.nii", np.full((4, 4, 4), 3, np.float32)))


def test_listing_finds_volumes_in_order_and_nothing_else(data, tmp_path):
    for name in ("b.nii.gz", "a.npy", ".hidden.nii", "notes.txt", "sub/c.nii"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = [p.relative_to(tmp_path).as_posix() for p in list_volumes(tmp_path)]
    assert names == ["a.npy", "b.nii.gz", "sub/c.nii"]
    assert not is_volume_path(tmp_path / ".hidden.nii")
    with pytest.raises(BadInput, match="no such folder"):
        list_volumes(tmp_path / "x")
    (tmp_path / "none").mkdir()
    with pytest.raises(BadInput, match="holds no volumes"):
        list_volumes(tmp_path / "none")


def test_spacing_is_three_numbers():
    assert parse_spacing("1 2.5 3") == (1, 2.5, 3)
    assert parse_spacing("1,2,3") == (1, 2, 3)
    assert parse_spacing(" ") is None
    with pytest.raises(BadInput, match="three numbers"):
        parse_spacing("1 2")
    for wrong in ("0 1 1", "1 -1 1", "nan 1 1", "1 1 inf"):
        with pytest.raises(BadInput, match="above 0 mm"):
            parse_spacing(wrong)


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz", "v.npy", "v.npz"])
def test_whatever_the_damage_it_is_a_message(name, data, tmp_path):
    path = tmp_path / name
    if name == "v.npy":
        np.save(path, data)
    elif name == "v.npz":
        np.savez_compressed(path, data)
    else:
        write_nifti(Volume(data, (1, 2, 3)), path)
    whole, random, messages = path.read_bytes(), np.random.default_rng(0), []
    for i in range(150):
        damaged = bytearray(whole)
        if i % 5 == 0:
            damaged = damaged[: random.integers(1, len(whole))]
        for place in random.integers(0, min(len(damaged), 360), 3):
            damaged[place] = random.integers(0, 256)
        path.write_bytes(damaged)
        try:
            volume = read_volume(path)
        except BadInput as error:
            messages.append(str(error))
        else:
            assert volume.data.ndim == 3
    assert len(messages) > 20
    assert all(name in message for message in messages)


def test_headers_that_do_not_say_directions_are_refused(data, tmp_path):
    image = nib.Nifti1Image(data, np.eye(4))
    raw = image.to_bytes()
    header = nib.Nifti1Header(raw[:348])
    header["srow_y"] = 0
    (tmp_path / "v.nii").write_bytes(header.binaryblock + raw[348:])
    with pytest.raises(BadInput, match="left and right are unknown"):
        read_volume(tmp_path / "v.nii")


def test_complex_values_and_archives_without_arrays_are_refused(data, tmp_path):
    with pytest.raises(BadInput, match="real numbers"):
        read_volume(save(tmp_path / "c.nii", data.astype(np.complex64)))
    with zipfile.ZipFile(tmp_path / "z.npz", "w") as archive:
        archive.writestr("notes.txt", "hello")
    with pytest.raises(BadInput, match="holds no array"):
        read_volume(tmp_path / "z.npz")


def test_a_folder_that_is_hidden_is_not_searched(data, tmp_path):
    (tmp_path / ".checkpoints").mkdir()
    np.save(tmp_path / ".checkpoints" / "a.npy", data)
    np.save(tmp_path / "b.npy", data)
    assert [p.name for p in list_volumes(tmp_path)] == ["b.npy"]


OPENED: list[str] = []


def _note_opened(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        OPENED.append(arguments[0])


def test_only_what_can_be_a_slice_is_opened_to_look_for_series(data, tmp_path):
    for i in range(5):
        np.save(tmp_path / f"v{i}.npy", data)
        (tmp_path / f"notes{i}.txt").write_text("no volume")
    named, unnamed, other = (tmp_path / name for name in ("named", "unnamed", "other"))
    for folder in (named, unnamed, other):
        folder.mkdir()
    for i in range(20):
        (named / f"{i}.dcm").touch()
        (unnamed / f"1.2.840.{i}").write_bytes(b"\0" * 128 + b"DICM")
        (other / f"table{i}").write_text("no volume")
    sys.addaudithook(_note_opened)
    OPENED.clear()
    found = list_volumes(tmp_path)
    opened = [name for name in OPENED if name.startswith(str(tmp_path))]
    assert found == [named, unnamed, *(tmp_path / f"v{i}.npy" for i in range(5))]
    assert len(opened) == 5
    assert {Path(name).parent for name in opened} == {unnamed, other}


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.npy", "a.npz"])
def test_a_header_tells_a_volume_from_what_is_none(name, data, tmp_path):
    path = tmp_path / name

    def keep(array):
        if name.endswith("y"):
            np.save(path, array)
        elif name.endswith("z") and "nii" not in name:
            np.savez(path, array)
        else:
            save(path, array)

    keep(data)
    check_header(path)
    if ".nii" in name:
        nib.save(nib.Nifti2Image(data, np.eye(4)), path)
        check_header(path)
    for wrong in (data[0], np.stack([data, data], -1)):
        keep(wrong)
        with pytest.raises(BadInput, match="shape"):
            check_header(path)
    for content in (b"", b"no volume", gzip.compress(b"no volume")):
        path.write_bytes(content)
        with pytest.raises(BadInput, match=name):
            check_header(path)
    path.unlink()
    with pytest.raises(BadInput, match="no such file"):
        check_header(path)


def test_voxels_are_not_read_to_check_a_header(data, tmp_path):
    write_nifti(Volume(data, None), tmp_path / "a.nii")
    np.save(tmp_path / "a.npy", np.full_like(data, np.nan))
    content = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "a.nii").write_bytes(content[:400])
    check_header(tmp_path / "a.nii")
    check_header(tmp_path / "a.npy")
    for name in ("a.nii", "a.npy"):
        with pytest.raises(BadInput):
            read_volume(tmp_path / name)
