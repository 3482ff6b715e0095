"""Folders, tables, lists and arrays are the same volumes; what is in two splits is named."""

from __future__ import annotations

import csv

import numpy as np
import pytest

import napari_memscan
from napari_memscan.errors import BadInput
from napari_memscan.volumes.cache import ArrayCache
from napari_memscan.volumes.reader import write_nifti
from napari_memscan.volumes.sources import VolumeSource, refuse_overlap
from napari_memscan.volumes.volume import Volume

SIZES = {"training": 13, "validation": 11, "synthetic": 13}
# All steps of the chain, each as short as it gets.
CHAIN = {"retrieved": 3, "proposed": 1, "verified": 1, "planted": 1}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("table")
    random = np.random.default_rng(6)
    for split, n in SIZES.items():
        for i in range(n):
            data = random.random((12, 13, 14)).astype(np.float32)
            write_nifti(Volume(data, (1, 1, 1)), root / split / f"{i:02d}.nii.gz")
    # The first eleven synthetic files are training files.
    for i in range(11):
        copied = (root / "training" / f"{i:02d}.nii.gz").read_bytes()
        (root / "synthetic" / f"{i:02d}.nii.gz").write_bytes(copied)
    return root


@pytest.fixture(scope="module")
def by_folder(root):
    return napari_memscan.scan(*(root / split for split in SIZES), **CHAIN)


def table(root, name, subject=lambda split, i: f"{split}{i}"):
    path = root / name
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "split", "subject_id"])
        for split, n in SIZES.items():
            for i in range(n):
                writer.writerow([f"{split}/{i:02d}.nii.gz", split, subject(split, i)])
    return path


@pytest.mark.slow
def test_one_table_three_times_is_three_folders(root, by_folder, tmp_path):
    path = table(root, "cohort.csv")
    by_table = napari_memscan.scan(path, str(path), path, cache=ArrayCache(tmp_path), **CHAIN)
    assert by_table.n_training == 13
    assert [s.similarity for s in by_table.samples] == [s.similarity for s in by_folder.samples]
    assert by_table.threshold == by_folder.threshold
    assert any("24 volumes have no subject_id" in w for w in by_folder.warnings)
    assert not any("subject_id" in w for w in by_table.warnings)
    assert any("Training (13) and synthetic (13) are larger" in w for w in by_table.warnings)


@pytest.mark.slow
def test_exact_duplicates_come_first_each_beside_its_own(by_folder):
    first = by_folder.samples[:11]
    assert all(s.similarity == pytest.approx(1, abs=1e-6) for s in first)
    assert {(s.name, s.neighbour) for s in first} == {
        (f"synthetic/{name}", f"training/{name}") for name in (f"{i:02d}.nii.gz" for i in range(11))
    }
    assert all(s.verdict == "copy" for s in first)
    assert all(s.similarity < 0.5 for s in by_folder.samples[11:])
    assert by_folder.n_mem >= 11


def test_a_subject_in_two_splits_is_named(root):
    path = table(root, "leak.csv", lambda split, i: f"p{i}" if i == 3 else f"{split}{i}")
    with pytest.raises(BadInput, match="subject p3 is in training and in validation"):
        napari_memscan.scan(path, path, path)


def test_tables_without_the_split_and_missing_files_are_messages(root):
    path = root / "synthetic_only.csv"
    path.write_text("path,split\nsynthetic/00.nii.gz,synthetic\n")
    with pytest.raises(BadInput, match="no row has the split 'training'"):
        VolumeSource(path, "training")
    gone = VolumeSource([root / "nowhere.nii"], "validation")
    with pytest.raises(BadInput, match=r"nowhere.nii \(validation\): missing"):
        refuse_overlap(VolumeSource(root / "training", "training"), gone)
    with pytest.raises(BadInput, match="no such folder"):
        VolumeSource(root / "nowhere", "training")


def test_the_same_array_in_training_and_validation_is_named():
    random = np.random.default_rng(0)
    training, validation = random.random((4, 12, 12, 12)), random.random((3, 12, 12, 12))
    validation[2] = training[1]
    with pytest.raises(BadInput, match=r"validation\[2\].*training\[1\].*same volume"):
        refuse_overlap(VolumeSource(training, "training"), VolumeSource(validation, "validation"))


@pytest.mark.slow
def test_how_a_table_says_to_read_a_file_is_part_of_the_cached_vector(tmp_path):
    random = np.random.default_rng(1)
    lines = {"a": ["path,split,axes,spacing"], "b": ["path,split,axes,spacing"]}
    for split in SIZES:
        for i in range(3):
            np.save(tmp_path / f"{split}{i}.npy", random.random((12, 13, 14)).astype(np.float32))
            lines["a"].append(f"{split}{i}.npy,{split},XYZ,1 1 1")
            lines["b"].append(f"{split}{i}.npy,{split},ZYX,1 1 1")
    results = {}
    for name, rows in lines.items():
        path = tmp_path / f"{name}.csv"
        path.write_text("\n".join(rows))
        cache = ArrayCache(tmp_path / "cache")
        results[name] = napari_memscan.scan(path, path, path, cache=cache, **CHAIN)
    assert results["a"].preprocessing["shape"] == [12, 13, 14]
    assert results["b"].preprocessing["shape"] == [14, 13, 12]
    fresh = napari_memscan.scan(*[tmp_path / "b.csv"] * 3, **CHAIN)
    assert results["b"].to_json() == fresh.to_json()
