"""The shipped checkpoints fit the demo, sample live, and are small."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from napari_memscan import jobs
from napari_memscan.checkpoints.loading import describe_checkpoint
from napari_memscan.checkpoints.native_format import read_recipe
from napari_memscan.demo.phantoms import write_phantom_cohort
from napari_memscan.demo.study import SHAPE, create_demo_study, get_demo_checkpoint
from napari_memscan.study import Study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The demo's study over the first phantoms of its cohort."""
    first = partial(write_phantom_cohort, n_training=2, n_validation=1, n_unseen=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_memscan.demo.study.write_phantom_cohort", first)
        return create_demo_study(tmp_path_factory.mktemp("demo"))


def test_shipped_checkpoints_are_small_and_say_what_they_are():
    size = sum(
        p.stat().st_size for p in get_demo_checkpoint("ldm").parent.rglob("*") if p.is_file()
    )
    assert size < 12e6
    assert describe_checkpoint(get_demo_checkpoint("ldm")).startswith("3D LDM")
    assert read_recipe(get_demo_checkpoint("embedder")).input_shape == SHAPE


@pytest.mark.long  # the whole job at its real size
@pytest.mark.timeout(1800)
def test_it_samples_live_and_has_memorised(tmp_path):
    """Other seeds give other volumes; some are nearer to a training phantom than any new one."""
    study = create_demo_study(tmp_path / "demo")
    made = jobs.run_job(jobs.generate_volumes(study, 6, seed=100))
    assert len(made) == 6
    result = jobs.run_job(jobs.scan_study(study))
    # Softer than planted ones, so some of them may pass for near-duplicates only.
    assert result.n_copies + result.n_near >= 1
    arrays = np.stack([study.array_of(s.name) for s in result.samples])
    flat = arrays.reshape(6, -1)
    assert np.corrcoef(flat)[np.triu_indices(6, 1)].min() < 0.9
    best = result.samples[0]
    near = np.corrcoef(study.array_of(best.name).ravel(), study.array_of(best.neighbour).ravel())[
        0, 1
    ]
    assert near > 0.8


def test_it_samples_live_what_looks_like_a_training_phantom(study):
    jobs.run_job(jobs.generate_volumes(study, 1, seed=100, steps=10))
    [row] = study.samples()
    made = study.array(study.sample_path(row)).ravel()
    training = [study.array(real.path).ravel() for real in study.cohort.rows("training")]
    assert max(np.corrcoef(made, real)[0, 1] for real in training) > 0.8


def test_the_same_folder_opens_the_same_study(study):
    again = create_demo_study(study.folder)
    assert isinstance(again, Study)
    assert again.config == study.config
