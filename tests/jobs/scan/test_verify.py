"""What a study's verdicts are calibrated on is as soft as what its generator makes."""

from __future__ import annotations

import numpy as np

from napari_memscan import jobs
from napari_memscan.generators.roundtrip import reconstruct_volume
from napari_memscan.jobs.progress import run_job
from napari_memscan.jobs.scan.plants import decode_validation
from napari_memscan.jobs.scan.scan import iter_embeddings
from napari_memscan.jobs.scan.search import StudySearch, prepare_task


def searched(study):
    """Return the search of a study, and its validation volumes as they are."""
    rows = {split: study.cohort.rows(split) for split in ("training", "validation")}
    vectors = {
        split: np.stack(list(iter_embeddings(study, [row.path for row in rows[split]])))
        for split in rows
    }
    search = StudySearch(study, [row.path for row in rows["training"]], vectors["training"])
    tasks = [
        prepare_task(study, row.path, vector, row.subject_id)
        for row, vector in zip(rows["validation"], vectors["validation"], strict=True)
    ]
    return search, tasks


def test_the_null_of_an_ldm_went_through_its_autoencoder(make_study, tmp_path):
    study = make_study(tmp_path / "study")
    jobs.run_job(jobs.generate_volumes(study, 2))
    result = jobs.run_job(jobs.scan_study(study))
    assert result.calibration is not None
    assert result.calibration.decoded
    search, tasks = searched(study)
    decoded = run_job(decode_validation(study, tasks))
    generator = study.generator()
    for before, after in zip(tasks, decoded, strict=True):
        assert after.subject == before.subject
        np.testing.assert_allclose(
            after.load(), reconstruct_volume(generator, before.load()), atol=1e-6
        )
        assert not np.allclose(after.load(), before.load())
        assert not np.array_equal(after.vector, before.vector)
    scores = [found.score for found in run_job(search.run(decoded))]
    assert sorted(result.null) == sorted(scores)


def test_without_an_ldm_volumes_stay_as_they_are(make_study, tmp_path):
    study = make_study(tmp_path / "study", generator=None)
    _, tasks = searched(study)
    assert run_job(decode_validation(study, tasks)) == tasks
