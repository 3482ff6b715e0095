"""A self-test and a release belong to one detector: another one shows, whatever its name is."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from napari_memscan import jobs
from napari_memscan.demo.phantoms import write_phantom_cohort
from napari_memscan.detection.results.scan_result import ScanResult
from napari_memscan.errors import BadInput, Hint, HintKind
from napari_memscan.jobs.release.consistency import require_current_scan
from napari_memscan.report.conclusion import is_selftest_stale
from napari_memscan.study import Study
from napari_memscan.typing import Split
from napari_memscan.volumes.cohort import Cohort
from napari_memscan.volumes.reader import write_nifti


@pytest.fixture(scope="module")
def few(phantoms):
    """Four training and three validation volumes."""
    return Cohort.from_rows(phantoms.rows("training")[:4] + phantoms.rows("validation")[:3])


def test_a_self_test_is_of_one_detector_and_another_shows(make_study, few, tmp_path):
    study = make_study(tmp_path / "study", few)
    test = jobs.run_job(jobs.run_selftest(study, n=1))
    jobs.run_job(jobs.generate_volumes(study, 2))
    assert test.detector_hash
    assert test.above_all.n == test.sensitivity.n
    # Any number of synthetic volumes, and another level of false calls, is the same detector.
    study.update(rule=study.config.rule.model_copy(update={"q": 0.2}))
    assert not is_selftest_stale(jobs.run_job(jobs.scan_study(study)), test)
    asked = study.config.verification
    for changes in ({"planted": 2}, {"proposed": 2}):
        study.update(verification=asked.model_copy(update=changes))
        assert is_selftest_stale(jobs.run_job(jobs.scan_study(study)), test), changes
    study.update(verification=asked)
    # A training volume less.
    rows = few.rows()
    Cohort.from_rows(rows[1:]).save(study.cohort_path)
    assert is_selftest_stale(jobs.run_job(jobs.scan_study(Study.open(study.folder))), test)
    # The embedder is trained again under its name: only its hash says so.
    few.save(study.cohort_path)
    again = Study.open(study.folder)
    again.embedder().hash = "another"
    assert is_selftest_stale(jobs.run_job(jobs.scan_study(again)), test)


def test_a_release_needs_the_embedder_and_the_verification_of_its_scan(make_study, few, tmp_path):
    study = make_study(tmp_path / "study", few)
    jobs.run_job(jobs.generate_volumes(study, 2))
    result = jobs.run_job(jobs.scan_study(study))
    rows = {row.sample: row for row in study.samples()}
    assert require_current_scan(study, rows).to_json() == result.to_json()
    asked = study.config.verification
    for changes in (
        {"retrieved": 2},
        {"proposed": 2},
        {"verified": 2},
        {"planted": 2},
        {"enabled": False},
    ):
        study.update(verification=asked.model_copy(update=changes))
        with pytest.raises(BadInput, match=r"\[verification\]") as refused:
            require_current_scan(study, rows)
        assert refused.value.hint == Hint(HintKind.SCAN, str(study.folder))
    # Processes change nothing.
    study.update(verification=asked.model_copy(update={"workers": 2}))
    require_current_scan(study, rows)
    study.update(verification=asked)
    replace(result, embedder_hash="another").save(study.scan_dir)
    with pytest.raises(BadInput, match="embedder is not the one of the last scan"):
        require_current_scan(study, rows)


def test_a_release_needs_the_references_of_its_scan(make_study, tmp_path):
    cohort = write_phantom_cohort(tmp_path / "first" / "volumes", 4, 3, 0, shape=(16, 16, 16))
    made = make_study(tmp_path / "first" / "study", cohort)
    jobs.run_job(jobs.generate_volumes(made, 1))
    jobs.run_job(jobs.scan_study(made))

    def change(number, split, column):
        """Return a copy of the study in which one row, or its file, is another."""
        shutil.copytree(tmp_path / "first", tmp_path / str(number))
        study = Study.open(tmp_path / str(number) / "study")
        rows = study.cohort.rows()
        place = next(i for i, row in enumerate(rows) if row.split == split)
        if column == "gone":
            Path(rows[place].path).unlink()
        elif column == "file":
            volume = study.volume(rows[place].path)
            write_nifti(replace(volume, data=volume.data + 1), rows[place].path)
        elif column:
            rows[place] = replace(rows[place], **{column: "2 2 2"})
            Cohort.from_rows(rows).save(study.cohort_path)
        return Study.open(study.folder), {row.sample: row for row in study.samples()}

    columns = product((Split.TRAINING, Split.VALIDATION), ("file", "spacing", "subject_id"))
    for number, (split, column) in enumerate(columns):
        study, rows = change(number, split, column)
        with pytest.raises(BadInput, match="training and validation volumes, or what") as told:
            require_current_scan(study, rows)
        assert told.value.hint == Hint(HintKind.SCAN, str(study.folder)), (split, column)
    # As it was, moved; and without a file: what it held is remembered.
    for number, column in enumerate(("", "gone"), 6):
        require_current_scan(*change(number, Split.TRAINING, column))


def test_a_study_names_volumes_of_another_voxel_size_at_every_scan(make_study, few, tmp_path):
    study = make_study(tmp_path / "study", few)
    jobs.run_job(jobs.generate_volumes(study, 2))
    assert not [w for w in jobs.run_job(jobs.scan_study(study)).warnings if "voxel size" in w]
    path = study.sample_path(study.samples()[0])
    write_nifti(replace(study.volume(path), spacing=(1.2, 1.2, 1.2)), path)
    for _ in range(2):
        result = jobs.run_job(jobs.scan_study(study))
        (told,) = [w for w in result.warnings if "voxel size" in w]
        assert told.startswith("1 of 2 synthetic volumes has")
        assert f"{study.samples()[0].sample} 1.2 x 1.2 x 1.2, not 0.6 x 0.6 x 0.6 mm" in told
    assert ScanResult.load(study.scan_dir).warnings == result.warnings
