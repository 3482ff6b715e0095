"""The benchmark of the detection runs from end to end, and its numbers mean what they say."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    """Import a module of the folder, which is no package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def test_tiny_run_prints_every_table(load, capsys, tmp_path):
    detection = load("detection")
    options = ["--tiny", "--seeds", "3", "--cohorts", "phantoms", "--processes", "1"]
    options += ["--verified", "1"]
    options += ["--no-generated", "--no-embedders", "--work", str(tmp_path)]
    assert detection.main(options) in (0, 1)
    printed = capsys.readouterr().out
    for expected in (
        "phantoms, registered",
        "phantoms, perturbed",
        "recall@1/5/20",
        "true near-duplicate",
        "Dar et al.",
        "goals: macro-F1 >= 0.95",
    ):
        assert expected in printed
    # Unchanged but for blur and noise, among six phantoms: nobody can fail to find these.
    line = next(row for row in printed.splitlines() if row.startswith("memscan "))
    assert "1.00/1.00/1.00" in line


def test_missing_hippocampus_is_said_and_left_out(load, capsys, tmp_path):
    detection = load("detection")
    options = ["--cohorts", "hippocampus", "--hippocampus", str(tmp_path / "none")]
    detection.main(options)
    assert "hippocampus is left out" in capsys.readouterr().out


def test_splits_share_no_volume_and_tuning_no_volume_with_them(load):
    cohorts = load("_cohorts")
    sizes = cohorts.Sizes(4, 3, 2, 2, 2, 2)
    seen = set()
    for tuning in (False, True):
        for seed in (0, 1):
            study = cohorts.split("bodies", seed, sizes, Path("none"), tuning)
            for part in (study.training, study.validation, study.unseen, study.apart):
                seen |= {volume.tobytes() for volume in part.volumes}
    assert len(seen) == 4 * 11


def test_individuals_of_one_body_are_alike_and_phantoms_are_not(load):
    cohorts = load("_cohorts")
    sizes = cohorts.Sizes(8, 1, 1, 1, 1, 1)
    alike = {
        name: cohorts.likeness_of_strangers(cohorts.split(name, 0, sizes, Path("none")).training)
        for name in ("bodies", "phantoms")
    }
    assert alike["bodies"] > 0.9 > 0.4 > alike["phantoms"]


def test_macro_f1_counts_undecided_as_wrong(load):
    scoring = load("_scoring")
    truth = ["copy", "copy", "near-duplicate", "near-duplicate", "novel", "novel"]
    right = scoring.confusion(truth, truth)
    assert scoring.macro_f1(right) == 1
    said = ["copy", "undecided", "near-duplicate", "near-duplicate", "novel", "novel"]
    assert scoring.macro_f1(scoring.confusion(truth, said)) == pytest.approx((2 / 3 + 2) / 3)
    # A method with two classes never gets the third right.
    said = ["copy", "copy", "novel", "novel", "novel", "novel"]
    assert scoring.macro_f1(scoring.confusion(truth, said)) == pytest.approx((1 + 2 / 3) / 3)


def test_true_positive_rate_allows_a_twentieth_of_the_others(load):
    scoring = load("_scoring")
    scores = np.concatenate([np.arange(40.0), [37.5, 38.5, 39.5, 40.5]])
    positive = np.arange(44) >= 40
    # Of forty others two may lie above the limit, 38 and 39; with none allowed it is 39.
    assert scoring.tpr_at(scores, positive) == 1
    assert scoring.tpr_at(scores, positive, fpr=0.0) == 0.5


def test_false_discoveries_of_a_fixed_threshold(load):
    scoring = load("_scoring")
    truth = np.array(["novel"] * 4 + ["copy"] * 4)
    called = np.array([True, False, False, False] + [True] * 4)
    found = scoring.false_discoveries(np.arange(8.0), truth, np.empty(0), called, 0.1, 0)
    assert found == (pytest.approx(0.2), 5)


def test_recall_counts_only_queries_that_have_a_source(load):
    scoring = load("_scoring")
    found = scoring.recall([[3, 1], [2, 0], [5, 6]], [1, 0, -1], k=1)
    np.testing.assert_array_equal(found, [False, False])
    np.testing.assert_array_equal(
        scoring.recall([[3, 1], [2, 0], [5, 6]], [1, 0, -1], k=2), [True, True]
    )
