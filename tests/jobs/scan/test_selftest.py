"""A study measures its own detector, goes on where it was stopped, and says where it is blind."""

from __future__ import annotations

import pytest

from napari_memscan import jobs
from napari_memscan.config import VerificationConfig
from napari_memscan.detection.planting.perturbations import COPY_KINDS, KINDS, RANGES
from napari_memscan.detection.planting.selftest import SelfTest
from napari_memscan.errors import BadInput


@pytest.fixture
def study(make_study, tmp_path):
    settings = VerificationConfig(retrieved=3, proposed=1, verified=1, planted=2, workers=1)
    return make_study(tmp_path / "study", verification=settings)


def test_it_counts_every_kind_repeats_and_is_kept(study):
    result = jobs.run_job(jobs.run_selftest(study, n=1))
    planted = {row.kind: row.n for row in result.kinds if row.label != "novel"}
    assert planted == {kind: 1 for kind in KINDS if not kind.startswith("registered")}
    assert all(sum(row.verdicts.values()) == row.n for row in result.kinds)
    assert all(row.retrieved_1 <= row.retrieved_5 <= row.retrieved_k for row in result.kinds)
    # Six validation volumes: nothing can be called at 5 %, and that is said first.
    assert result.n_null == 6
    assert any("No power" in note for note in result.notes)
    assert any("autoencoder" in note for note in result.notes)
    assert result.sensitivity.k == 0
    path = study.scan_dir / "selftest.json"
    whole = path.read_bytes()
    assert SelfTest.load(study.scan_dir) == result
    assert "sensitivity" in str(result)
    # What is stronger is in no sum.
    assert [row.kind for row in result.harder] == list(RANGES)
    assert result.sum("copy").n == len(COPY_KINDS) - 1
    assert "rotation, 2 times" in str(result)
    assert any("rotation up to 20 degrees an axis (0 of 1 called)" in n for n in result.notes)
    # Again, from what is kept: nothing is searched for, and the bytes are the same.
    news = list(jobs.run_selftest(study, n=1))
    assert not [n for n in news if n.what.startswith("compared")]
    assert path.read_bytes() == whole


def test_at_a_level_that_this_null_allows_copies_are_found(make_study, tmp_path):
    # Without a generator: what an autoencoder of random weights gives back resembles nobody.
    study = make_study(tmp_path / "plain", generator=None)
    result = jobs.run_job(jobs.run_selftest(study, n=1, level=0.2))
    unchanged = next(row for row in result.kinds if row.kind == "unchanged")
    assert (unchanged.retrieved_1, unchanged.found.k) == (1, 1)
    assert result.specificity.n > 0


def test_a_damaged_file_and_wrong_numbers_are_refused(study):
    with pytest.raises(BadInput, match="at least 1"):
        jobs.run_job(jobs.run_selftest(study, n=0))
    with pytest.raises(BadInput, match="strength 4"):
        jobs.run_job(jobs.run_selftest(study, strength=4))
    with pytest.raises(BadInput, match="level"):
        jobs.run_job(jobs.run_selftest(study, level=1.0))
    assert SelfTest.load(study.scan_dir) is None
    study.scan_dir.mkdir()
    (study.scan_dir / "selftest.json").write_text("{")
    with pytest.raises(BadInput, match="memscan selftest"):
        SelfTest.load(study.scan_dir)
