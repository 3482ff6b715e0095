"""What was searched for and registered once is not again, and what is kept changes no result."""

from __future__ import annotations

import pytest

from napari_memscan import jobs
from napari_memscan.config import GeneratorConfig, VerificationConfig
from napari_memscan.demo.phantoms import draw_phantom
from napari_memscan.detection.registration.verifier import Verifier
from napari_memscan.detection.retrieval.correlator import Correlator
from napari_memscan.study import Study
from napari_memscan.volumes.cohort import Cohort, CohortRow
from napari_memscan.volumes.reader import write_nifti

SHAPE = (16, 16, 16)


@pytest.fixture
def study(make_study, phantoms, tmp_path):
    few = Cohort.from_rows(phantoms.rows("training")[:6] + phantoms.rows("validation")[:3])
    for i in range(3):
        write_nifti(draw_phantom((7, i), SHAPE), tmp_path / "made" / f"{i}.nii.gz")
    return make_study(tmp_path / "study", few, **settings(tmp_path))


def settings(tmp_path):
    return {
        "generator": GeneratorConfig(kind="folder", path=str(tmp_path / "made")),
        "verification": VerificationConfig(
            retrieved=4, proposed=2, verified=3, planted=1, workers=1
        ),
    }


def with_one_more(cohort, tmp_path):
    path = tmp_path / "new.nii.gz"
    write_nifti(draw_phantom((8, 0), SHAPE), path)
    return Cohort.from_rows([*cohort.rows(), CohortRow(str(path), "training", "new")])


@pytest.fixture
def counted(study, monkeypatch):
    """Return a function that scans a study and returns what it did.

    What was embedded, which pairs were registered, and what the correlator learnt from.
    """

    def scan(study):
        embedded, pairs, images = [], [], []

        def spy(of, name, note):
            original = getattr(of, name)

            def noted(self, *args):
                note(*args)
                return original(self, *args)

            patch.setattr(of, name, noted)

        with monkeypatch.context() as patch:
            spy(type(study.embedder()), "embed", lambda batch: embedded.extend(map(bytes, batch)))
            spy(Verifier, "verify", lambda q, t, _: pairs.append((bytes(q), bytes(t))))
            spy(Correlator, "_image", lambda training, i: images.append(bytes(training[i])))
            spy(Correlator, "_components", lambda: images.append("all"))
            jobs.run_job(jobs.scan_study(study))
        return embedded, pairs, images

    return scan


def files_of(study):
    return {path.name: path.read_bytes() for path in study.scan_dir.iterdir()}


def test_of_an_unchanged_study_nothing_is_compared_again(study, counted):
    _, pairs, images = counted(study)
    assert pairs
    assert len(images) == len(study.cohort.rows("training")) + 1
    before = files_of(study)
    assert counted(study) == ([], [], [])
    assert files_of(study) == before


def test_one_synthetic_volume_more_is_all_that_is_embedded_and_searched_for(
    study, counted, tmp_path
):
    counted(study)
    path = tmp_path / "made" / "new.nii.gz"
    write_nifti(draw_phantom((8, 0), SHAPE), path)
    embedded, pairs, images = counted(study)
    new = bytes(study.array(str(path)))
    assert embedded == [new]
    assert pairs
    assert {query for query, _ in pairs} == {new}
    assert not images


def test_one_training_volume_more_costs_only_its_own_pairs(study, counted, make_study, tmp_path):
    _, first, _ = counted(study)
    cohort = with_one_more(study.cohort, tmp_path)
    cohort.save(study.cohort_path)
    study = Study.open(study.folder)
    embedded, pairs, images = counted(study)
    new = bytes(study.array(str(tmp_path / "new.nii.gz")))
    assert images == [new, "all"]
    # A volume that was planted from the new one is new as well.
    queries = {query for query, _ in first}
    assert all(training == new or query not in queries for query, training in pairs)
    assert any(training == new for _, training in pairs)
    assert len(embedded) == 1 + len({query for query, _ in pairs} - queries) < 4
    scratch = make_study(tmp_path / "scratch", cohort, **settings(tmp_path))
    assert len(counted(scratch)[1]) > 2 * len(pairs)
    assert files_of(study) == files_of(scratch)


def test_more_candidates_cost_only_the_pairs_that_are_more(study, counted):
    _, first, _ = counted(study)
    verification = study.config.verification
    study.update(verification=verification.model_copy(update={"retrieved": 5}))
    assert counted(study) == ([], [], [])
    study.update(verification=verification.model_copy(update={"verified": 4}))
    _, pairs, _ = counted(study)
    assert pairs
    assert not set(pairs) & set(first)
