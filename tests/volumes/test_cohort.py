"""Cohorts that would make every number wrong are refused; the rest is imported as it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_memscan.errors import BadInput
from napari_memscan.volumes.cohort import Cohort, CohortRow
from napari_memscan.volumes.datalists import import_mrnet, import_msd
from napari_memscan.volumes.importers import import_cohort, import_csv, import_folder
from napari_memscan.volumes.reader import write_nifti
from napari_memscan.volumes.volume import Volume

HIPPOCAMPUS = Path(__file__).parents[3] / "shared" / "data" / "msd_hippocampus"


def volume(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.random.default_rng(seed).random((4, 4, 4)))
    return path


@pytest.fixture
def folder(tmp_path):
    for split, seeds in (("train", range(3)), ("val", range(3, 5)), ("test", range(5, 6))):
        for seed in seeds:
            volume(tmp_path / split / f"sub-{seed:02d}_t1.npy", seed)
    return tmp_path


def test_folders_of_splits_with_a_subject_pattern(folder):
    cohort = import_cohort(folder, subject_pattern=r"sub-(\d+)")
    assert cohort.counts() == {"training": 3, "validation": 2, "synthetic": 0, "unseen": 1}
    assert [r.subject_id for r in cohort.rows("training")] == ["00", "01", "02"]
    cohort.check()
    assert cohort.warnings == []
    with pytest.raises(BadInput, match="finds no subject"):
        import_cohort(folder, subject_pattern="patient(.)")
    with pytest.raises(BadInput, match="regular expression"):
        import_cohort(folder, subject_pattern="(")


def test_saved_and_loaded_it_is_the_same_and_may_move(folder, tmp_path):
    cohort = import_cohort(folder, subject_pattern=r"(?P<subject>sub-\d+)")
    cohort.save(folder / "cohort.csv")
    assert "train/sub-00_t1.npy" in (folder / "cohort.csv").read_text()
    assert import_csv(folder / "cohort.csv").rows() == cohort.rows()
    moved = folder.rename(tmp_path.parent / f"{tmp_path.name}-moved")
    again = import_cohort(moved)
    assert [r.sha256 for r in again.rows()] == [r.sha256 for r in cohort.rows()]
    again.check()


def test_conditions_are_kept_and_a_table_without_them_has_no_column(folder):
    cohort = import_cohort(folder)
    cohort.save(folder / "cohort.csv")
    header = (folder / "cohort.csv").read_text().splitlines()[0]
    assert header == "name,path,split,subject_id,session_id,axes,spacing,sha256"
    assert {row.condition for row in import_csv(folder / "cohort.csv").rows()} == {""}

    names = ["left", "right, upper", "", "NA", "1", "left"]
    rows = [replace(r, condition=c) for r, c in zip(cohort.rows(), names, strict=True)]
    Cohort.from_rows(rows).save(folder / "cohort.csv")
    again = import_csv(folder / "cohort.csv")
    assert again.rows() == rows
    assert [row.condition for row in again.join_cohorts(again).rows()] == names * 2

    # The same as a datalist, where texts may be numbers.
    entries = [
        {"image": row.path, "condition": 1 if row.condition == "1" else row.condition}
        for row in rows
    ]
    del entries[2]["condition"]
    listed = {"training": entries[:3], "validation": entries[3:]}
    (folder / "datalist.json").write_text(json.dumps(listed))
    found = import_cohort(folder / "datalist.json")
    assert [row.condition for row in found.rows()] == names
    found.save(folder / "other.csv")
    assert import_csv(folder / "other.csv").rows() == found.rows()


def test_a_row_reads_its_volume_with_its_axes_and_spacing(tmp_path):
    array = np.random.default_rng(0).random((3, 4, 5))
    np.save(tmp_path / "v.npy", array)
    row = CohortRow(str(tmp_path / "v.npy"), "training", axes="ZYX", spacing="1 2 3")
    read = row.read()
    np.testing.assert_allclose(read.data, array.T, rtol=1e-6)
    assert read.spacing == (1, 2, 3)


def rows(tmp_path, *values):
    return Cohort.from_rows(
        CohortRow(str(volume(tmp_path / f"{i}.npy", i)), split, subject, sha256=digest)
        for i, (split, subject, digest) in enumerate(values)
    )


def test_what_cannot_be_calibrated_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no validation"):
        rows(tmp_path, ("training", "a", ""), ("training", "b", "")).check()
    with pytest.raises(BadInput, match="at least 2"):
        rows(tmp_path, ("training", "a", ""), ("validation", "b", "")).check()


def test_a_subject_in_two_splits_is_named(tmp_path):
    cohort = rows(tmp_path, ("training", "a", ""), ("training", "P7", ""), ("validation", "P7", ""))
    with pytest.raises(BadInput, match=r"subject P7 is in training .* and in validation"):
        cohort.check()


def test_the_same_file_in_training_and_validation_is_named(tmp_path):
    cohort = rows(
        tmp_path, ("training", "a", "1"), ("training", "b", "2"), ("validation", "c", "2")
    )
    with pytest.raises(BadInput, match=r"2\.npy \(validation\) and .*1\.npy \(training\)"):
        cohort.check()


def test_what_a_reader_should_know_is_a_warning_said_once(tmp_path):
    cohort = rows(tmp_path, ("training", "", "1"), ("training", "b", "1"), ("validation", "c", "3"))
    cohort.check()
    cohort.check()
    assert len(cohort.warnings) == 2
    assert "1 volumes have no subject_id" in cohort.warnings[0]
    assert "identical" in cohort.warnings[1]


def test_a_missing_file_is_named(tmp_path):
    cohort = rows(tmp_path, ("training", "a", ""), ("training", "b", ""), ("validation", "c", ""))
    (tmp_path / "1.npy").unlink()
    with pytest.raises(BadInput, match=r"1\.npy: missing"):
        cohort.check()


def test_tables_of_other_people(tmp_path):
    volume(tmp_path / "v" / "a.npy", 1)
    table = tmp_path / "list.csv"
    table.write_text("image,split,subject_id,extra\nv/a.npy,held,S1,x\n")
    cohort = import_csv(table, splits={"held": "validation"})
    assert cohort.rows()[0].split == "validation"
    with pytest.raises(BadInput, match="split 'held' is not known"):
        import_csv(table)
    table.write_text("file,split\nv/a.npy,train\n")
    with pytest.raises(BadInput, match="'path' and 'split' are needed"):
        import_csv(table)
    table.write_text("path,split\nv/b.npy,train\n")
    with pytest.raises(BadInput, match=r"b\.npy: missing"):
        import_csv(table)
    with pytest.raises(BadInput, match="not a readable CSV"):
        import_csv(tmp_path / "nothing.csv")
    table.write_text("")
    with pytest.raises(BadInput, match="not a readable CSV"):
        import_csv(table)


def test_tables_as_spreadsheets_write_them(tmp_path):
    for seed in range(3):
        volume(tmp_path / f"{seed}.npy", seed)
    table = tmp_path / "list.csv"
    # A byte order mark, blanks after commas, a short line, numbers with leading zeros.
    table.write_text("path, split, subject_id\n0.npy, Train, 007\n1.npy,train\n", "utf-8-sig")
    assert [(r.split, r.subject_id) for r in import_csv(table).rows()] == [
        ("training", "007"),
        ("training", ""),
    ]
    table.write_text("path,split\n0.npy,test\n")
    assert import_csv(table, {"unseen": "synthetic"}).rows()[0].split == "synthetic"
    table.write_text("path,split\n0.npy,train\n,train\n")
    with pytest.raises(BadInput, match="line 3 names no file"):
        import_csv(table)
    table.write_text("path;split\n0.npy;train\n")
    with pytest.raises(BadInput, match="separated by commas"):
        import_csv(table)


def test_a_subject_that_the_pattern_leaves_empty_is_no_subject(folder):
    with pytest.raises(BadInput, match="finds no subject"):
        import_cohort(folder, subject_pattern=r"(patient)?.*")


def test_a_link_keeps_its_own_name(tmp_path):
    store = volume(tmp_path / "store" / "a.npy", 1)
    store.rename(store.with_name("d41d8c"))
    (tmp_path / "data").mkdir()
    try:
        (tmp_path / "data" / "a.npy").symlink_to(tmp_path / "store" / "d41d8c")
    except OSError:
        pytest.skip("this system makes no symbolic links")
    row = import_folder(tmp_path / "data", "training").rows()[0]
    assert row.path.endswith("a.npy")
    assert row.read().data.shape == (4, 4, 4)


def test_a_dicom_series_has_one_hash_over_its_slices(tmp_path):
    (tmp_path / "ct").mkdir()
    for name in ("1.dcm", "2.dcm"):
        (tmp_path / "ct" / name).write_text(name)
    first = import_folder(tmp_path, "training").rows()[0]
    (tmp_path / "ct" / "2.dcm").write_text("other")
    assert first.sha256 != import_folder(tmp_path, "training").rows()[0].sha256


def test_files_are_chosen_by_what_they_are(tmp_path):
    volume(tmp_path / "a.npy", 1)
    (tmp_path / "list.csv").write_text("path,split\na.npy,train\n")
    (tmp_path / "d.json").write_text(json.dumps({"training": ["a.npy"]}))
    assert import_cohort(tmp_path / "list.csv").counts()["training"] == 1
    assert import_cohort(tmp_path / "d.json").counts()["validation"] == 1
    (tmp_path / "cohort.csv").write_text("path,split\na.npy,val\n")
    assert import_cohort(tmp_path).counts()["validation"] == 1


def test_decathlon_is_divided_by_subject(tmp_path):
    names = [f"imagesTr/h_{i}.npy" for i in range(10)]
    for i, name in enumerate(names):
        volume(tmp_path / name, i)
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"training": [{"image": f"./{n}", "label": "x"} for n in names]}))
    cohort = import_cohort(tmp_path, validation_share=0.3, seed=2)
    assert cohort.counts()["validation"] == 3
    assert import_msd(path, 0.3, 2).rows() == cohort.rows()
    assert import_msd(path, 0.3, 3).rows() != cohort.rows()
    assert "does not say" in cohort.warnings[0]
    paired = import_msd(path, 0.4, subject_pattern=r"h_(\d)")
    paired.check()
    with pytest.raises(BadInput, match="between 0 and 1"):
        import_msd(path, 1.5)
    path.write_text("{}")
    with pytest.raises(BadInput, match="Decathlon"):
        import_msd(path)


def test_mrnet_has_slices_first(tmp_path):
    for i in range(5):
        path = tmp_path / "train" / "sagittal" / f"{i:04d}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.random.default_rng(i).integers(0, 255, (3, 6, 8), dtype=np.uint8))
    cohort = import_cohort(tmp_path)
    assert cohort.counts()["validation"] == 1
    # Sagittal: slices along X, columns front to back along Y, rows head to feet along Z.
    assert cohort.rows()[0].read().data.shape == (3, 8, 6)
    with pytest.raises(BadInput, match="MRNet"):
        import_mrnet(tmp_path, plane="axial")


def test_nothing_to_import_is_said(tmp_path):
    with pytest.raises(BadInput, match="no such file or folder"):
        import_cohort(tmp_path / "x")
    with pytest.raises(BadInput, match=r"no cohort\.csv"):
        import_cohort(tmp_path)
    with pytest.raises(BadInput, match="holds no volumes"):
        import_folder(tmp_path, "training")


@pytest.mark.hippocampus
@pytest.mark.skipif(not HIPPOCAMPUS.is_dir(), reason="the real MR volumes are not on this machine")
def test_real_volumes():
    cohort = import_cohort(HIPPOCAMPUS)
    cohort.check()
    assert cohort.counts() == {"training": 130, "validation": 73, "synthetic": 0, "unseen": 57}
    for row in cohort.rows()[::40]:
        read = row.read()
        assert read.spacing == pytest.approx((1, 1, 1))
        assert min(read.data.shape) > 20


def test_a_monai_datalist_keeps_splits_subjects_and_geometry(tmp_path):
    names = ["a.nii", "b.nii", "c.npy", "d.nii", "s.npy"]
    for name in names:
        data = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
        if name.endswith(".npy"):
            np.save(tmp_path / name, data)
        else:
            write_nifti(Volume(data, (1.0, 1.0, 1.0)), tmp_path / name)
    value = {
        "name": "study",
        "training": [{"image": "a.nii", "label": "x.nii", "subject_id": "p1"}, "b.nii"],
        "validation": [{"image": "c.npy", "axes": "ZYX", "spacing": [1, 2, 3]}],
        "testing": [{"image": "d.nii"}],
        "synthetic": [{"image": "s.npy", "axes": "ZYX"}],
    }
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps(value))
    cohort = import_cohort(path, subject_pattern=r"^(\w)\.")
    assert {k: n for k, n in cohort.counts().items() if n} == {
        "training": 2,
        "validation": 1,
        "unseen": 1,
        "synthetic": 1,
    }
    assert [row.subject_id for row in cohort.rows("training")] == ["p1", "b"]
    (held_out,) = cohort.rows("validation")
    assert held_out.read().data.shape == (5, 4, 3)
    assert held_out.read().spacing == (1, 2, 3)
    path.write_text(json.dumps(value | {"validation": [{"label": "x"}]}))
    with pytest.raises(BadInput, match=r'entry 0 of "validation" names no image'):
        import_cohort(path)
    path.write_text(json.dumps(value | {"validation": ["gone.nii"]}))
    with pytest.raises(BadInput, match=r"gone\.nii: missing"):
        import_cohort(path)
    path.write_text("[" * 100_000)
    with pytest.raises(BadInput, match="cannot be read"):
        import_cohort(path)


def test_one_list_is_a_pool_or_names_the_split_of_each_volume(tmp_path):
    for i in range(4):
        volume(tmp_path / "images" / f"p{i}.npy", i)
    names = [f"images/p{i}.npy" for i in range(4)]
    path = tmp_path / "list.json"
    path.write_text(json.dumps([{"image": name, "label": "x.nii"} for name in names]))
    pool = import_cohort(path, subject_pattern=r"images/p(\d)")
    assert pool.counts()["validation"] == 1
    assert sorted(row.subject_id for row in pool.rows()) == ["0", "1", "2", "3"]
    assert pool.warnings == []
    splits = ["train", "train", "val", "test"]
    entries = [
        {"image": n, "split": s, "subject_id": "p"} for n, s in zip(names, splits, strict=True)
    ]
    path.write_text(json.dumps(entries))
    told = import_cohort(path)
    assert [row.split for row in told.rows()] == ["training", "training", "validation", "unseen"]
    path.write_text(json.dumps([*entries, {"image": names[0]}]))
    with pytest.raises(BadInput, match="entry 4 names no known split"):
        import_cohort(path)
    # Outside the list's folder, and with a pattern: where the files lie does not matter.
    (tmp_path / "lists").mkdir()
    beside = tmp_path / "lists" / "list.json"
    beside.write_text(json.dumps([{"image": f"../{name}"} for name in names]))
    assert len(import_cohort(beside, subject_pattern=r"p(\d)").rows()) == 4


@pytest.mark.parametrize("text", ["null", "3", '"a"', "true"])
def test_what_is_no_list_is_refused_with_what_was_expected(tmp_path, text):
    (tmp_path / "list.json").write_text(text)
    with pytest.raises(BadInput, match=r"datalist is expected.*training.*image"):
        import_cohort(tmp_path / "list.json")
