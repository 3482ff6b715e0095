"""A study is read, decided on, reported and released wherever it is moved or mounted."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from napari_memscan import jobs
from napari_memscan.demo.phantoms import draw_phantom, write_phantom_cohort
from napari_memscan.errors import BadInput
from napari_memscan.jobs.readers.blind_study import open_blind_session, prepare_blind_plan
from napari_memscan.jobs.release.consistency import require_current_scan
from napari_memscan.report.verification import verify_release
from napari_memscan.review.session import ReviewSession
from napari_memscan.study import Study
from napari_memscan.volumes.cache import ArrayCache
from napari_memscan.volumes.cohort import Cohort, CohortRow
from napari_memscan.volumes.reader import write_nifti


def write_project(folder, make_study, tiny_ldm, inside):
    """A study with its volumes and its model in it or beside it, scanned; all of it can move."""
    place = folder / "study" if inside else folder
    cohort = write_phantom_cohort(place / "data", 6, 4, 0, shape=(16, 16, 16))
    shutil.copytree(tiny_ldm, place / "ldm")
    study = make_study(
        folder / "study",
        cohort,
        generator={"kind": "ldm", "path": str(place / "ldm")},
        rule={"name": "size-matched"},
        verification={"enabled": False},
    )
    jobs.run_job(jobs.generate_volumes(study, 3, batch=1, precision="float32", memory="contiguous"))
    jobs.run_job(jobs.scan_study(study))
    jobs.run_job(prepare_blind_plan(study, "Ben"))
    for name in (*(row.name for row in cohort.rows()), *(row.sample for row in study.samples())):
        study.array_of(name)  # Somebody has looked at them.
    return study


@pytest.mark.parametrize(
    ("inside", "mounted"),
    [
        (True, False),
        (False, True),
        # Each is in one of those above.
        pytest.param(True, True, marks=pytest.mark.long),
        pytest.param(False, False, marks=pytest.mark.long),
    ],
)
def test_all_goes_on_in_another_place(make_study, tiny_ldm, tmp_path, monkeypatch, inside, mounted):
    old = write_project(tmp_path / "project", make_study, tiny_ldm, inside)
    scanned = {file.name: file.read_bytes() for file in old.scan_dir.iterdir()}
    (tmp_path / "mnt").mkdir()
    there = tmp_path / "mnt" / "renamed"
    shutil.move(tmp_path / "project", tmp_path / "moved" if mounted else there)
    if mounted:
        there.symlink_to(tmp_path / "moved")
    made = []
    put = ArrayCache.put
    monkeypatch.setattr(ArrayCache, "put", lambda *a: made.append(a[1]) or put(*a))
    study = Study.open(there / "study")
    assert not study.cohort.warnings
    # Everything is known that was known: not even a file is hashed again.
    jobs.run_job(jobs.scan_study(study))
    assert {file.name: file.read_bytes() for file in study.scan_dir.iterdir()} == scanned
    assert made == []

    # Read, one by one, to the end.
    session = ReviewSession(study.store())
    session.reader = "Ann"
    session.refresh(study.result(), study.lineage())
    assert len(session.items) == 3
    first = next(iter(session.items))
    for sample in list(session.items):
        assert session.find_next(list(session.items)) == sample
        assert study.array_of(sample).shape == (16, 16, 16)
        for near in session.items[sample].neighbours:
            assert study.array_of(near.name).shape == (16, 16, 16)
        row = next(row for row in study.samples() if row.sample == sample)
        answer = "copy" if sample == first else "not a copy"
        session.decide(sample, answer, evidence=study.hashes(row))
        session.refresh(study.result(), study.lineage())
    blind = open_blind_session(study, jobs.run_job(prepare_blind_plan(study, "Ben")), session.store)
    assert all(
        blind.array(pane.key).shape == (16, 16, 16) for case in blind.cases for pane in case.panes
    )
    session.close()

    page = jobs.report_study(study).read_text()
    assert "3 of 3 volumes read" in page
    assert page.count('<img class="pair"') == 3 or page.count("data:image/png") >= 3
    assert str(tmp_path) not in page.replace(str(study.folder), "")
    out = tmp_path / "out"
    written = jobs.run_job(jobs.release_volumes(study, out, license="CC0-1.0"))
    assert written.selection.released == 2
    assert verify_release(out, written.fingerprint).intact
    assert made == []

    (one,) = jobs.run_job(jobs.regenerate_samples(study, [first], tries=1))
    assert one.rejected == first
    assert study.sample_path(study.samples()[-1]).is_file()


def test_nothing_that_a_study_keeps_says_where_it_lies(make_study, tiny_ldm, tmp_path):
    study = write_project(tmp_path / "project", make_study, tiny_ldm, inside=False)
    jobs.run_job(jobs.evaluate_metrics(study, ["n_copies", "authpct"]))
    jobs.run_job(jobs.evaluate_membership(study, "loss"))
    files = [file for file in study.folder.rglob("*") if file.is_file()]
    told = [f for f in files if f.suffix != ".npy" and str(tmp_path).encode() in f.read_bytes()]
    assert [file.relative_to(study.folder) for file in told] == []
    assert {"cohort.csv", "study.toml", "membership.json"} <= {file.name for file in files}


def test_volumes_that_are_reached_by_a_link_to_their_folder_are_registered_once(
    make_study, tmp_path
):
    real = tmp_path / "real"
    write_phantom_cohort(real / "data", 2, 1, 2, shape=(16, 16, 16))
    (tmp_path / "link").symlink_to(real)
    rows = [
        CohortRow(str(file), "training" if "T" in file.name else "validation", file.name)
        for file in sorted((tmp_path / "link" / "data").rglob("*.nii.gz"))
        if "unseen" not in file.parts
    ]
    unseen = tmp_path / "link" / "data" / "unseen"
    table = next(unseen.iterdir())
    study = make_study(
        tmp_path / "link" / "study",
        Cohort.from_rows([*rows, CohortRow(str(table), "synthetic", axes="XYZ")]),
        generator={"kind": "folder", "path": str(unseen)},
    )
    for opened in (study, study, Study.open(study.folder)):
        jobs.run_job(jobs.generate_volumes(opened, 1))
        assert len(opened.samples()) == 2
        # What the table says of it is known by its place.
        sample = next(r for r in opened.samples() if r.sample == table.name)
        path = opened.sample_path(sample)
        assert opened.content_key(path) != opened.sha256(path)


def test_settings_of_a_study_in_a_study_are_the_same_when_both_are_moved(
    make_study, tiny_ldm, tmp_path
):
    """As mitigation and experiments keep them: else they would not go on where they stopped."""
    shutil.copytree(tiny_ldm, tmp_path / "a" / "ldm")
    outer = make_study(
        tmp_path / "a", generator={"kind": "ldm", "path": str(tmp_path / "a" / "ldm")}
    )
    Study.create(tmp_path / "a" / "inner", outer.absolute_config(), outer.cohort)
    (tmp_path / "a").rename(tmp_path / "b")
    outer, inner = (Study.open(tmp_path / "b" / name) for name in ("", "inner"))
    assert inner.absolute_config() == outer.absolute_config()
    assert inner.generator().checkpoint_hash == outer.generator().checkpoint_hash
    assert not Path(inner.config.generator.path).is_absolute()


def test_how_a_model_inside_the_study_was_trained_is_told_from_everywhere(
    make_study, tiny_ldm, tmp_path, monkeypatch
):
    from napari_memscan.jobs.release.report import describe_provenance

    def provided(folder, n):
        shutil.copytree(tiny_ldm, folder)
        recipe = json.loads((folder / "recipe.json").read_text())
        recipe["provenance"] = {"denoiser": {"n_training": n, "settings": {"steps": 7}}}
        (folder / "recipe.json").write_text(json.dumps(recipe))

    provided(tmp_path / "study" / "ldm", 5)
    provided(tmp_path / "elsewhere" / "ldm", 99)
    model = {"kind": "ldm", "path": str(tmp_path / "study" / "ldm")}
    study = Study.open(make_study(tmp_path / "study", generator=model).folder)
    assert study.config.generator.path == "ldm"
    monkeypatch.chdir(tmp_path / "elsewhere")
    told = describe_provenance(study, [], 0, "")
    assert told["denoiser trained with"] == "5 volumes; steps 7"


def test_a_checkpoint_of_links_to_blobs_is_read_and_named_by_its_links(tiny_ldm, tmp_path):
    from napari_memscan.checkpoints.native_format import find_weight_file, read_recipe
    from napari_memscan.checkpoints.trusted.trust_check import resolve_model_path

    repository = tmp_path / "models--group--ldm"
    snapshot = repository / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for i, file in enumerate(sorted(Path(tiny_ldm).iterdir())):
        shutil.copy(file, repository / "blobs" / f"{i}a")
        (snapshot / file.name).symlink_to(repository / "blobs" / f"{i}a")
    found = find_weight_file(snapshot, read_recipe(snapshot), "denoiser")
    assert found.parent == snapshot
    (tmp_path / "model.ckpt").symlink_to(repository / "blobs" / "0a")
    assert resolve_model_path("model.ckpt", tmp_path) == str(tmp_path / "model.ckpt")
    # A link out of the folder is refused all the same.
    out = tmp_path / "out"
    shutil.copytree(snapshot, out, symlinks=True)
    with pytest.raises(BadInput, match="outside the checkpoint"):
        find_weight_file(out, read_recipe(out), "denoiser")


def test_freshness_is_told_by_bytes_and_not_by_times(make_study, tmp_path):
    study = make_study(tmp_path / "study", verification={"enabled": False})
    jobs.run_job(jobs.generate_volumes(study, 2))
    jobs.run_job(jobs.scan_study(study))
    rows = {row.sample: row for row in study.samples()}
    path = study.sample_path(rows["s000001"])
    before = path.read_bytes()
    # Restored from a backup that keeps no times.
    for time in (1, 4_000_000_000):
        os.utime(path, (time, time))
        require_current_scan(study, rows)
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    with pytest.raises(BadInput, match="1 samples are not those that were scanned: s000001"):
        require_current_scan(study, rows)
    path.write_bytes(before)
    require_current_scan(study, rows)


def test_a_row_of_the_table_may_point_elsewhere_and_keeps_its_name(make_study, tmp_path):
    cohort = write_phantom_cohort(tmp_path / "patients", 3, 2, 0, shape=(16, 16, 16))
    study = make_study(tmp_path / "a" / "study", cohort, verification={"enabled": False})
    jobs.run_job(jobs.generate_volumes(study, 1))
    before = jobs.run_job(jobs.scan_study(study)).to_json()
    text = study.cohort_path.read_text()
    assert str(tmp_path / "patients") in text  # Neither in the study nor beside it.
    shutil.move(tmp_path / "patients", tmp_path / "archive")
    gone = Study.open(study.folder)
    assert "5 of 5 files that the cohort names are missing" in gone.cohort.warnings[-1]
    study.cohort_path.write_text(
        text.replace(str(tmp_path / "patients"), str(tmp_path / "archive"))
    )
    again = Study.open(study.folder)
    assert [row.name for row in again.cohort.rows()] == [row.name for row in cohort.rows()]
    assert jobs.run_job(jobs.scan_study(again)).to_json() == before


def test_a_row_that_somebody_adds_gets_a_name_for_good(make_study, tmp_path):
    cohort = write_phantom_cohort(tmp_path / "patients", 2, 1, 0, shape=(16, 16, 16))
    study = make_study(tmp_path / "study", cohort)
    new = tmp_path / "later" / Path(cohort.rows("training")[0].path).name
    write_nifti(draw_phantom(77, (16, 16, 16)), new)
    with study.cohort_path.open("a") as file:
        file.write(f",{new},training,new\n")
    name = f"later/{new.name}"
    assert Study.open(study.folder).path_of(name) == new
    assert f"\n{name}," in study.cohort_path.read_text()
    # Not even where it would be told by less now.
    lines = study.cohort_path.read_text().splitlines()
    study.cohort_path.write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    assert Study.open(study.folder).path_of(name) == new
    study.cohort_path.write_text("\n".join([*lines, lines[-1]]) + "\n")
    with pytest.raises(BadInput, match=f"{name} is the name of two volumes"):
        Study.open(study.folder)


def test_samples_that_the_table_lost_are_said(make_study, tmp_path):
    study = make_study(tmp_path / "study", verification={"enabled": False})
    jobs.run_job(jobs.generate_volumes(study, 2))
    jobs.run_job(jobs.scan_study(study))
    lines = study.samples_path.read_text().splitlines()
    study.samples_path.write_text("\n".join(lines[:-1]) + "\n")
    lost = "1 samples of the last scan are not in this table, the first is s000001"
    for job in (study.result, lambda: jobs.report_study(study), lambda: study.queue(study.store())):
        with pytest.raises(BadInput, match=lost):
            job()
    jobs.run_job(jobs.scan_study(study))
    assert study.result().n_synthetic == 1


@pytest.fixture
def links(tmp_path):
    """Folders as caches of hubs leave them: links to files that are named by their hash."""
    (tmp_path / "blobs").mkdir()
    for split, numbers in (
        ("training", range(6)),
        ("validation", range(10, 14)),
        ("synthetic", (1, 30)),
    ):
        (tmp_path / "hub" / split).mkdir(parents=True)
        for n in numbers:
            blob = tmp_path / "blobs" / f"{split}{n:02d}"
            write_nifti(draw_phantom(n, (16, 16, 16)), made := tmp_path / "made.nii.gz")
            made.rename(blob)
            (tmp_path / "hub" / split / f"v{n:02d}.nii.gz").symlink_to(blob)
    return tmp_path / "hub"


def test_links_are_read_under_their_own_names_by_a_study_and_without_one(
    make_study, links, tmp_path
):
    from napari_memscan import scan
    from napari_memscan.volumes.importers import import_folder

    real = import_folder(links / "training", "training", r"(v\d+)").join_cohorts(
        import_folder(links / "validation", "validation", r"(v\d+)")
    )
    for row in real.rows():
        assert Path(row.path).is_symlink()
    study = make_study(
        tmp_path / "study",
        real,
        generator={"kind": "folder", "path": str(links / "synthetic")},
        verification={"enabled": False},
    )
    result = jobs.run_job(jobs.scan_study(study))
    # One is called as a training volume is, so it keeps the name of its folder, too.
    assert [sample.name for sample in result.samples] == ["synthetic/v01.nii.gz", "v30.nii.gz"]
    assert result.samples[0].neighbour == "v01.nii.gz"
    table = tmp_path / "all.csv"
    rows = [(r.path, r.split, r.subject_id) for r in real.rows()]
    rows += [(links / "synthetic" / f"v{n}.nii.gz", "synthetic", "") for n in ("01", "30")]
    table.write_text(
        "path,split,subject_id\n" + "".join(f"{p},{split},{who}\n" for p, split, who in rows)
    )
    alone = scan(
        table, table, table, preprocessing=study.config.preprocessing, verify=False, cache=None
    )
    assert alone.to_json() == result.to_json()
    # A decision, a release: all of it under these names.
    store = study.store()
    store.record("synthetic/v01.nii.gz", "copy", "Ann")
    store.close()
    preview = jobs.preview_release(study)
    assert preview.selection.rejected == {"a reader decided copy": 1}
    # Outside none of them is known: the name of a file may be a patient's.
    study.update(release={"license": "CC0-1.0", "rule": ["novel", "undecided"]})
    store = study.store()
    store.record("v30.nii.gz", "not a copy", "Ann")
    store.close()
    out = tmp_path / "out"
    assert jobs.run_job(jobs.release_volumes(study, out)).selection.released == 1
    for file in out.rglob("*"):
        if file.is_file() and file.suffix != ".gz":
            assert not re.search(r"\bv(01|30)\b", file.read_text(errors="replace")), file
