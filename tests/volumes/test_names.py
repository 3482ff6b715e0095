"""Volumes are called by the shortest end of their path that tells them apart, for good."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

from napari_memscan.files import make_absolute, make_portable
from napari_memscan.volumes.cohort import Cohort, CohortRow
from napari_memscan.volumes.names import name_volumes


def test_a_name_is_as_short_as_it_can_be():
    paths = ["/d/p1/ct.nii.gz", "/d/p2/ct.nii.gz", "/d/p2/mr.nii.gz", "/e/p2/ct.nii.gz"]
    assert name_volumes(paths) == ["p1/ct.nii.gz", "d/p2/ct.nii.gz", "mr.nii.gz", "e/p2/ct.nii.gz"]
    # Wherever all of it lies.
    assert name_volumes([f"/mnt/{path}" for path in paths]) == name_volumes(paths)


def test_nothing_gets_a_name_that_is_taken():
    assert name_volumes(["/d/a.nii"], ["a.nii"]) == ["d/a.nii"]
    assert name_volumes(["/d/a.nii", "/d/a.nii"]) == ["d/a.nii", "d/a.nii (2)"]
    assert name_volumes(["/a.nii", "/d/a.nii"], ["a.nii", "a.nii (2)"]) == ["a.nii (3)", "d/a.nii"]
    assert name_volumes(["/s/1.nii"], ["t/1.nii", "v/1.nii"]) == ["s/1.nii"]


def test_names_never_repeat():
    random = Random(0)
    for _ in range(300):
        parts = [random.choices("abc", k=random.randint(1, 3)) for _ in range(random.randint(0, 9))]
        taken = set(random.sample(["a", "b", "a/b", "c (2)"], random.randint(0, 4)))
        names = name_volumes(["/" + "/".join(part) for part in parts], taken)
        assert len({*names, *taken}) == len(names) + len(taken)


def test_names_stay_when_rows_are_added_and_leave_no_room_for_others():
    first = Cohort.from_rows([CohortRow("/d/p1/ct.nii", "training")])
    more = Cohort.from_rows([*first.rows(), CohortRow("/d/p2/ct.nii", "training")], taken=["x"])
    assert [row.name for row in more.rows()] == ["ct.nii", "p2/ct.nii"]
    moved = Cohort.from_rows([CohortRow("/elsewhere/v.nii", "training", name="ct.nii")])
    assert [row.name for row in moved.rows()] == ["ct.nii"]


def test_real_volumes_are_named_before_synthetic_ones_and_those_before_none():
    rows = [
        CohortRow("/s/v.nii", "synthetic"),
        CohortRow("/u/v.nii", "unseen"),
        CohortRow("/t/v.nii", "training"),
    ]
    assert [row.name for row in Cohort.from_rows(rows).rows()] == ["s/v.nii", "u/v.nii", "v.nii"]


def test_absolute_paths_keep_the_names_of_links(tmp_path):
    (tmp_path / "blobs" / "deep").mkdir(parents=True)
    (tmp_path / "blobs" / "0a1b").touch()
    (tmp_path / "v.nii.gz").symlink_to(tmp_path / "blobs" / "0a1b")
    (tmp_path / "link").symlink_to(tmp_path / "blobs" / "deep")
    assert make_absolute(tmp_path / "v.nii.gz") == tmp_path / "v.nii.gz"
    assert make_absolute(tmp_path / "blobs" / ".." / "v.nii.gz") == tmp_path / "v.nii.gz"
    assert make_absolute(tmp_path / "link" / "x") == tmp_path / "link" / "x"
    # Behind the link '..' is the folder it leads to.
    assert make_absolute(tmp_path / "link" / ".." / "0a1b") == tmp_path / "blobs" / "0a1b"
    here = Path.cwd()
    try:
        os.chdir(tmp_path)
        assert make_absolute("v.nii.gz") == tmp_path / "v.nii.gz"
    finally:
        os.chdir(here)


def test_what_lies_in_a_study_or_beside_it_is_relative(tmp_path):
    study = tmp_path / "project" / "study"
    study.mkdir(parents=True)
    for path, kept in {
        study / "data" / "v.nii": "data/v.nii",
        tmp_path / "project" / "data" / "v.nii": "../data/v.nii",
        tmp_path / "v.nii": str(tmp_path / "v.nii"),
        "package.module:function": "package.module:function",
    }.items():
        assert make_portable(path, study) == kept
    assert make_portable(study / "v.nii", study, study / "synthetic") == "../v.nii"
    # A study below the root would have the whole machine beside it.
    assert make_portable("/data/v.nii", Path("/study")) == "/data/v.nii"
    # Reached through a link, too.
    (tmp_path / "link").symlink_to(tmp_path / "project")
    assert make_portable(tmp_path / "link" / "data" / "v.nii", study) == "../data/v.nii"
