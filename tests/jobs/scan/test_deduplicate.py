"""A study's cohort is searched for what is twice, stopped and resumed, and written without it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from napari_memscan import jobs
from napari_memscan.cli import app
from napari_memscan.errors import BadInput
from napari_memscan.files import hash_file
from napari_memscan.volumes.cohort import Cohort, CohortRow
from napari_memscan.volumes.importers import import_csv
from napari_memscan.volumes.reader import read_volume, write_nifti


@pytest.fixture(scope="module")
def cohort(phantoms, tmp_path_factory):
    """Five training volumes and one again under another name, a little brighter; one leak."""
    folder = tmp_path_factory.mktemp("twice")
    rows = [
        CohortRow(r.path, r.split, f"{r.split}-{i}", sha256=r.sha256)
        for split, n in (("training", 5), ("validation", 3))
        for i, r in enumerate(phantoms.rows(split)[:n])
    ]

    def again(row, split, subject):
        volume = read_volume(row.path)
        path = folder / f"{subject}.nii.gz"
        write_nifti(replace(volume, data=volume.data * 1.0001), path)
        return CohortRow(str(path), split, subject, sha256=hash_file(path))

    rows += [again(rows[1], "training", "same-as-1"), again(rows[3], "validation", "same-as-3")]
    rows.append(CohortRow(phantoms.rows("unseen")[0].path, "unseen", "u"))
    return Cohort.from_rows(rows)


@pytest.fixture(scope="module")
def study(cohort, tmp_path_factory):
    from napari_memscan.config import StudyConfig, VerificationConfig
    from napari_memscan.study import Study
    from napari_memscan.volumes.preprocessing import Preprocessing, Window

    config = StudyConfig(
        name="twice",
        preprocessing=Preprocessing(shape=(16, 16, 16), intensity=Window(low=-300, high=900)),
        verification=VerificationConfig(retrieved=2, proposed=1, verified=1, planted=1, workers=1),
    )
    return Study.create(tmp_path_factory.mktemp("study"), config, cohort)


@pytest.fixture(scope="module")
def result(study):
    """Of a job that was stopped once in the midst."""
    job = jobs.deduplicate_cohort(study)
    for news in job:
        if news.what.startswith("compared") and news.done >= 3:
            break
    job.close()
    job = jobs.deduplicate_cohort(study)
    compared = []
    while True:
        try:
            news = next(job)
        except StopIteration as end:
            assert min(compared) > 3
            return end.value
        if news.what.startswith("compared"):
            compared.append(news.done)


def test_a_volume_under_another_name_is_found(result, study):
    rows = result.training
    assert [group.members for group in result.found.groups] == [(1, 5)]
    assert [rows[i].subject_id for i in (1, 5)] == ["training-1", "same-as-1"]
    kept = json.loads((study.scan_dir / "duplicates.json").read_text())
    assert kept["groups"][0]["subjects"] == ["training-1", "same-as-1"]
    assert kept == json.loads(json.dumps(result.to_dict()))


def test_a_leak_into_validation_is_told(result):
    (leak,) = result.found.leaks
    assert result.validation[leak.first].subject_id == "same-as-3"
    assert result.training[leak.second].subject_id == "training-3"


def test_what_is_left_out_is_in_no_split_and_has_its_reason(result, tmp_path):
    result.write(tmp_path / "cohort.csv")
    written = import_csv(tmp_path / "cohort.csv")
    assert written.counts() == {"training": 5, "validation": 4, "synthetic": 0, "unseen": 1}
    (gone,) = {row.path for row in result.cohort.rows()} - {row.path for row in written.rows()}
    removed = pd.read_csv(tmp_path / "removed.csv")
    assert list(removed["path"]) == [gone]
    assert "copy of" in removed["reason"][0]
    assert "score 1.000" in removed["reason"][0]
    written.check()
    with pytest.raises(BadInput, match="is there already"):
        result.write(tmp_path / "cohort.csv")


def test_the_command_prints_groups_and_writes_the_cohort(result, study, tmp_path):
    def memscan(*arguments, code=0):
        run = CliRunner().invoke(app, ["dedup", *map(str, arguments)])
        assert run.exit_code == code, run.stderr
        return run

    text = memscan(study.folder, "--write", tmp_path / "cohort.csv").stdout
    assert "1 group" in text
    assert "same-as-1" in text
    assert text.count("keep") == 1
    assert "same-as-3" in text
    assert len(import_csv(tmp_path / "cohort.csv").rows("training")) == 5
    assert json.loads(memscan(study.folder, "--json").stdout) == result.to_dict()
    assert "no such file or folder" in memscan(tmp_path / "nowhere", code=2).stderr


def test_a_cohort_needs_no_study(cohort, tmp_path):
    # Few volumes, for speed: two of them, one again, and one for the null.
    rows = cohort.rows("training")
    few = [rows[0], rows[1], rows[5], cohort.rows("validation")[0]]
    Cohort.from_rows(few).save(tmp_path / "mine.csv")
    arguments = ["dedup", str(tmp_path / "mine.csv"), "--json", "--planted", "1"]
    run = CliRunner().invoke(app, arguments)
    assert run.exit_code == 0, run.stderr
    (group,) = json.loads(run.stdout)["groups"]
    assert set(group["volumes"]) == {Path(rows[i].path).name for i in (1, 5)}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.csv"]
    shutil.rmtree(tmp_path)
