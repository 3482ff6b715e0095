"""What a study's verdicts are calibrated on is as soft as what its generator makes."""

from __future__ import annotations

import numpy as np

from napari_memscan import jobs
from napari_memscan.generators.roundtrip import roundtrip
from napari_memscan.jobs.progress import run
from napari_memscan.jobs.scan.plants import strangers
from napari_memscan.jobs.scan.scan import embedded
from napari_memscan.jobs.scan.search import StudySearch, plain


def searched(study):
    """Return the search of a study, and its validation volumes as they are."""
    rows = {split: study.cohort.rows(split) for split in ("training", "validation")}
    vectors = {
        split: np.stack(list(embedded(study, [row.path for row in rows[split]]))) for split in rows
    }
    search = StudySearch(study, [row.path for row in rows["training"]], vectors["training"])
    tasks = [
        plain(study, row.path, vector, row.subject_id)
        for row, vector in zip(rows["validation"], vectors["validation"], strict=True)
    ]
    return search, tasks


def test_the_null_of_an_ldm_went_through_its_autoencoder(make_study, tmp_path):
    study = make_study(tmp_path / "study")
    jobs.run(jobs.generate(study, 2))
    result = jobs.run(jobs.scan(study))
    assert result.calibration is not None
    assert result.calibration.decoded
    search, tasks = searched(study)
    decoded = run(strangers(study, tasks))
    generator = study.generator()
    for before, after in zip(tasks, decoded, strict=True):
        assert after.subject == before.subject
        np.testing.assert_allclose(after.load(), roundtrip(generator, before.load()), atol=1e-6)
        assert not np.allclose(after.load(), before.load())
        assert not np.array_equal(after.vector, before.vector)
    scores = [found.score for found in run(search.run(decoded))]
    assert sorted(result.null) == sorted(scores)


def test_without_an_ldm_volumes_stay_as_they_are(make_study, tmp_path):
    study = make_study(tmp_path / "study", generator=None)
    _, tasks = searched(study)
    assert run(strangers(study, tasks)) == tasks
