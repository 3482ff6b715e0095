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
    options += ["--generated", "none", "--embedders", "none", "--work", str(tmp_path)]
    assert detection.main(options) in (0, 1)
    printed = capsys.readouterr().out
    for expected in (
        "phantoms, registered",
        "phantoms, perturbed",
        "phantoms, other",
        "part replaced",
        "recall@1/5/20",
        "true near-duplicate",
        "Dar et al.",
        "goals: macro-F1 >= 0.95",
        "memscan+low-resolution",
        "differs from the published code",
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
    cohort = {n: cohorts.split(n, 0, sizes, Path("none")).training for n in ("bodies", "phantoms")}
    alike = {name: cohorts.compute_unrelated_correlation(part) for name, part in cohort.items()}
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


def test_nothing_below_the_floor_is_a_false_discovery(load):
    scoring = load("_scoring")
    truth = np.array(["novel"] * 4 + ["copy"] * 4)
    # One novel volume is nearer than all of the null, as the copies are.
    scores = np.array([0.1, 0.1, 0.1, 0.6, 0.9, 0.9, 0.9, 0.9])
    null, nothing = np.linspace(0, 0.5, 99), np.zeros(8, bool)
    asked = scores, truth, null, nothing, 0.1, 0
    assert scoring.false_discoveries(*asked) == (pytest.approx(0.2), 5)
    assert scoring.false_discoveries(*asked, 0.7) == (0, 4)


def test_other_near_duplicates_come_from_their_source_and_are_no_copies_of_it(load):
    cohorts, other = load("_cohorts"), load("_others")
    sizes = cohorts.Sizes(5, 1, 4, 1, 4, 1)
    study = cohorts.split("bodies", 0, sizes, Path("none"))
    made = cohorts.plant_batches(study, sizes)
    batch = other.plant_others(study, 6, made)
    assert [batch.truth.count(label) for label in ("copy", "near-duplicate", "novel")] == [4, 6, 4]
    assert set(other.CHANGES) == {
        k for k, t in zip(batch.kinds, batch.truth, strict=True) if t == "near-duplicate"
    }
    # As they lie: most like their source of all training volumes, and less than its copies are.
    flat = study.training.volumes.reshape(5, -1)
    likeness = {"copy": [], "near-duplicate": []}
    for volume, label, source in zip(made[0].volumes, made[0].truth, made[0].sources, strict=True):
        if label == "copy":
            likeness[label].append(np.corrcoef(volume.ravel(), flat[source])[0, 1])
    for number in range(0, 6, 2):
        found = np.corrcoef(batch.volumes[number].ravel(), flat)[0, 1:]
        assert found.argmax() == batch.sources[number]
        likeness["near-duplicate"].append(found.max())
    assert max(likeness["near-duplicate"]) < min(likeness["copy"])


def test_only_the_named_chain_counts_and_only_on_all_seeds(load, capsys):
    report = load("_report")
    good = report.Line(2, values=(0.96, 1.0, 0.99), false=(0.05, 0.1))

    def reached(chain="memscan", n_generated=0, **lines):
        by_setting = {("memscan", "registered"): good} | {
            ("memscan", setting): line for setting, line in lines.items()
        }
        bad = report.Line(2, values=(0.94, 1.0, 0.99), false=(0.05, 0.1))
        by_setting["memscan+structural", "registered"] = bad
        return report.print_summary({"phantoms": by_setting}, chain, 2, n_generated)

    assert reached()
    assert not reached("memscan+structural")
    assert not reached("memscan+another")
    assert not reached(registered=report.Line(1, values=good.values, false=good.false))
    assert not reached(registered=report.Line(2, values=good.values, false=(0.05, 0.11)))
    # No goal is set where nothing was learnt from.
    assert reached(other=report.Line(2, values=(0.1, 0.1, 0.1), false=(0.9, 0.9)))
    assert not reached(n_generated=1)
    assert reached(n_generated=1, generated=report.Line(1, called=((19, 20), (1, 10))))
    assert not reached(n_generated=1, generated=report.Line(1, called=((18, 20), (1, 10))))
    assert not reached(n_generated=1, generated=report.Line(1, called=((19, 20), (2, 10))))
    assert "repeats called 18 of 20 FAIL" in capsys.readouterr().out


def test_recall_counts_only_queries_that_have_a_source(load):
    scoring = load("_scoring")
    found = scoring.recall([[3, 1], [2, 0], [5, 6]], [1, 0, -1], k=1)
    np.testing.assert_array_equal(found, [False, False])
    np.testing.assert_array_equal(
        scoring.recall([[3, 1], [2, 0], [5, 6]], [1, 0, -1], k=2), [True, True]
    )


def test_a_mean_above_q_within_its_error_is_neither_pass_nor_fail(load):
    calibration = load("calibration")
    tally, nothing = calibration.Tally(), np.zeros(10, bool)
    # In 11 of 100 studies without copies something is called; then in 30.
    for called in [~nothing] * 11 + [nothing] * 89:
        tally.add(called, nothing)
    line, said = tally.line("conformal", 10, 10, 0.0, 0.1)
    assert said == calibration.WITHIN
    assert "11.0%" in line
    assert tally.line("conformal", 10, 10, 0.0, 0.12)[1] == "PASS"
    for _ in range(27):
        tally.add(~nothing, nothing)
    assert tally.line("conformal", 10, 10, 0.0, 0.1)[1] == "FAIL"
    assert tally.line("dar2024", 10, 10, 0.0, None)[1] == ""
