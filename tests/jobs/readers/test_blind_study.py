"""A study's own samples and validation volumes in a blind study."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_memscan import jobs
from napari_memscan.errors import BadInput
from napari_memscan.files import hash_file
from napari_memscan.jobs.readers.blind_study import (
    collect_exhibits,
    open_blind_session,
    prepare_blind_plan,
)
from napari_memscan.review.plan_files import load_plans


@pytest.fixture(scope="module")
def scanned(phantoms, tiny_ldm, tmp_path_factory):
    from napari_memscan.config import GeneratorConfig, StudyConfig, VerificationConfig
    from napari_memscan.study import Study
    from napari_memscan.volumes.preprocessing import Preprocessing, Window

    config = StudyConfig(
        name="tiny",
        generator=GeneratorConfig(kind="ldm", path=str(tiny_ldm)),
        preprocessing=Preprocessing(shape=(16, 16, 16), intensity=Window(low=-300, high=900)),
        verification=VerificationConfig(retrieved=3, proposed=1, verified=1, planted=1, workers=1),
    )
    study = Study.create(tmp_path_factory.mktemp("blind") / "study", config, phantoms)
    with pytest.raises(BadInput, match="not scanned yet"):
        jobs.run_job(collect_exhibits(study))
    jobs.run_job(jobs.generate_volumes(study, 4))
    jobs.run_job(jobs.scan_study(study))
    return study


def test_validation_volumes_are_shown_as_the_generator_would_have_made_them(scanned):
    shown = jobs.run_job(collect_exhibits(scanned))
    samples = [e for e in shown if e.kind == "synthetic"]
    validation = [e for e in shown if e.kind == "distractor"]
    assert [e.name for e in sorted(samples, key=lambda e: e.name)] == [
        f"s{i:06d}" for i in range(4)
    ]
    assert [e.name for e in validation] == [row.name for row in scanned.cohort.rows("validation")]
    training = {row.name for row in scanned.cohort.rows("training")}
    assert {e.partner.name for e in shown} <= training
    assert all(e.shown.array and len(e.transform) == 16 for e in validation)
    assert all(e.verdict and len(e.transform) == 16 for e in samples)


def test_planted_copies_are_beside_what_they_are_a_copy_of(scanned):
    shown = [e for e in jobs.run_job(collect_exhibits(scanned, 3)) if e.kind == "planted"]
    assert [e.name for e in shown] == ["p000000", "p000001", "p000002"]
    assert all(e.partner.name == e.shown.name and e.truth == 1 for e in shown)
    made = jobs.run_job(prepare_blind_plan(scanned, "Ben", n_planted=3))
    assert sum(made.truth().values()) == 3
    assert all(case.transform is not None for case in made.cases)
    store = scanned.store()
    session = open_blind_session(scanned, made, store)
    for case, secret in zip(session.cases, made.secrets, strict=True):
        a, b = (session.array(pane.key) for pane in case.panes)
        likeness = np.corrcoef(a.ravel(), b.ravel())[0, 1]
        assert likeness < 0.9999, "a planted copy is no copy of the file"
        assert secret.exhibit.kind != "planted" or secret.exhibit.shown.array
    store.close()


def test_a_reader_gets_the_same_plan_until_another_is_asked_for(scanned):
    made = jobs.run_job(prepare_blind_plan(scanned, "Ann"))
    assert jobs.run_job(prepare_blind_plan(scanned, "Ann")) == made
    assert [p for p in load_plans(scanned.folder / "blind") if p.reader == "Ann"] == [made]
    second = jobs.run_job(prepare_blind_plan(scanned, "Ann", again=True))
    assert second.id != made.id
    assert jobs.run_job(prepare_blind_plan(scanned, "Ann")) == second
    assert jobs.run_job(prepare_blind_plan(scanned, "Ann", forced_choice=True)).forced_choice
    store = scanned.store()
    session = open_blind_session(scanned, second, store)
    for case in session.cases:
        for pane in case.panes:
            array = session.array(pane.key)
            assert array.shape == (16, 16, 16)
            assert array.dtype == np.float32
    one = second.secrets[0]
    np.testing.assert_array_equal(
        session.array(session.cases[0].panes[1].key), scanned.array_of(one.exhibit.partner.name)
    )
    session.answer(1, "copy")
    # Seen today, so it is not shown to her again for a while.
    third = jobs.run_job(prepare_blind_plan(scanned, "Ann", again=True, washout_days=28))
    assert third.refused == (one.exhibit.name,)
    store.close()


def test_hashes_of_a_sample_say_what_was_read_and_what_made_it(scanned):
    row = scanned.samples()[0]
    hashes = scanned.hashes(row)
    assert hashes["sample_sha256"] == hash_file(scanned.sample_path(row))
    assert hashes["checkpoint_hash"]
    assert hashes["recipe_hash"]
    gone = replace(row, path="gone.nii.gz")
    assert scanned.hashes(gone)["sample_sha256"] == ""
