"""The whole job in small on real MR volumes, which are not part of the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_memscan import jobs
from napari_memscan.config import GeneratorConfig, RuleConfig, StudyConfig, VerificationConfig
from napari_memscan.study import Study
from napari_memscan.training.settings import AutoencoderSettings, DenoiserSettings, EmbedderSettings
from napari_memscan.volumes.cohort import Cohort, CohortRow
from napari_memscan.volumes.importers import import_cohort
from napari_memscan.volumes.preprocessing import Percentile, Preprocessing

DATA = Path(__file__).parents[2] / "shared" / "data" / "msd_hippocampus"
pytestmark = [
    pytest.mark.hippocampus,
    pytest.mark.skipif(not DATA.is_dir(), reason="the real MR volumes are not on this machine"),
]
RECIPE = Preprocessing(shape=(32, 48, 32), intensity=Percentile())
# All steps of the chain, each as short as it gets.
CHAIN = VerificationConfig(retrieved=3, proposed=1, verified=1, planted=1, workers=1)


@pytest.fixture(scope="module")
def cohort():
    return import_cohort(DATA)


def small(cohort, n_training, n_validation, extra=()):
    real = cohort.rows("training")[:n_training] + cohort.rows("validation")[:n_validation]
    rows = [*real, *extra]
    return Cohort.from_rows(rows)


def test_train_generate_scan_and_report(cohort, tmp_path):
    config = StudyConfig(name="MR", preprocessing=RECIPE, verification=CHAIN)
    study = Study.create(tmp_path / "audit", config, small(cohort, 8, 6))
    models = tmp_path / "models"
    tiny = {
        "autoencoder": AutoencoderSettings(steps=3, channels=(8, 8, 8)),
        "denoiser": DenoiserSettings(steps=3, batch=2, channels=(8, 16), sample_steps=3),
        "embedder": EmbedderSettings(steps=10, n_hiddens=4, working_shape=(8, 12, 8), batch=8),
    }
    for part, settings in tiny.items():
        jobs.run_job(
            jobs.train_model(
                study, part, models / part, settings, autoencoder=models / "autoencoder"
            )
        )
    study.update(
        generator=GeneratorConfig(kind="ldm", path=str(models / "denoiser")),
        embedder=str(models / "embedder"),
    )
    assert jobs.run_job(jobs.generate_volumes(study, 2)) == ["s000000", "s000001"]
    made = study.volume(study.sample_path(study.samples()[0]))
    assert made.data.shape == (32, 48, 32)
    assert made.spacing == pytest.approx((1, 1, 1))
    result = jobs.run_job(jobs.scan_study(study))
    assert (result.n_training, result.n_validation, result.n_synthetic) == (8, 6, 2)
    assert jobs.report_study(study).stat().st_size > 50_000


def test_planted_training_volumes_come_first(cohort, tmp_path):
    planted = [CohortRow(r.path, "synthetic", sha256=r.sha256) for r in cohort.rows("training")[:5]]
    new = [CohortRow(r.path, "synthetic", sha256=r.sha256) for r in cohort.rows("unseen")[:5]]
    study = Study.create(
        tmp_path / "audit",
        StudyConfig(
            name="planted",
            preprocessing=RECIPE,
            verification=VerificationConfig(planted=3, retrieved=3, verified=1, workers=1),
            # At q = 0.1 five among ten could not be called with so few validation subjects.
            rule=RuleConfig(q=0.5),
        ),
        small(cohort, 12, 12, new + planted),
    )
    result = jobs.run_job(jobs.scan_study(study))
    first = {study.path_of(s.name): study.path_of(s.neighbour) for s in result.samples[:5]}
    assert first == {Path(r.path): Path(r.path) for r in planted}
    assert all(s.verdict == "copy" for s in result.samples[:5])
    assert result.samples[5].similarity < 0.99
