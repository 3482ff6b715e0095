"""What a study's verdicts are calibrated on is as soft as what its generator makes."""

from __future__ import annotations

import numpy as np

from napari_memscan import jobs
from napari_memscan.generators.roundtrip import reconstruct_volume
from napari_memscan.jobs.scan.volumes import list_entries, open_chain, prepare_splits
from napari_memscan.progress import run_job


def opened(study):
    """Return the chain of a study, and its validation volumes as they are."""
    tasks = run_job(prepare_splits(study, list_entries(study, "training", "validation")))
    return open_chain(study, tasks["training"]), tasks["validation"]


def test_the_null_of_an_ldm_went_through_its_autoencoder(make_study, tmp_path):
    study = make_study(tmp_path / "study")
    jobs.run_job(jobs.generate_volumes(study, 2))
    result = jobs.run_job(jobs.scan_study(study))
    assert result.calibration is not None
    assert result.calibration.decoded
    chain, tasks = opened(study)
    decoded = run_job(chain.decode(tasks))
    generator = study.generator()
    for before, after in zip(tasks, decoded, strict=True):
        assert after.subject == before.subject
        np.testing.assert_allclose(
            after.load(), reconstruct_volume(generator, before.load()), atol=1e-6
        )
        assert not np.allclose(after.load(), before.load())
        assert not np.array_equal(after.vector, before.vector)
    scores = [found.score for found in run_job(chain.search.run(decoded))]
    assert sorted(result.null) == sorted(scores)


def test_without_an_ldm_volumes_stay_as_they_are(make_study, tmp_path):
    chain, tasks = opened(make_study(tmp_path / "study", generator=None))
    assert chain.decoder is None
    assert run_job(chain.decode(tasks)) == tasks
