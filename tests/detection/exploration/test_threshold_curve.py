"""Counts of a threshold that is tried agree with the rule's own; the curve ends at N_mem."""

from dataclasses import replace

import numpy as np
import pytest

from napari_memscan import jobs
from napari_memscan.detection.evidence.counts import compute_rarefaction
from napari_memscan.detection.exploration.threshold_curve import (
    compute_rarefaction_curve,
    count_above_threshold,
    count_scan_copies,
    is_threshold_inclusive,
)
from napari_memscan.detection.results.scan_result import Neighbour, SampleResult
from napari_memscan.detection.statistics.intervals import clopper_pearson
from napari_memscan.samples import SampleRow
from napari_memscan.typing import Verdict


def test_counts_and_the_error_rate_with_its_interval():
    found = count_above_threshold([0.9, 0.5, 0.7], [0.1, 0.7, 0.2, 0.3], 0.7)
    assert (found.above, found.n, found.null_above, found.n_null) == (1, 3, 0, 4)
    assert (found.error_rate, found.interval) == (0.0, clopper_pearson(0, 4))
    reached = count_above_threshold([0.9, 0.5, 0.7], [0.1, 0.7, 0.2, 0.3], 0.7, reaching=True)
    assert (reached.above, reached.null_above, reached.error_rate) == (2, 1, 0.25)
    assert count_above_threshold([0.9], [], 0.5).error_rate is None


@pytest.fixture(scope="module")
def result(tmp_path_factory, phantoms):
    """A real scan: three training volumes stand among the synthetic ones."""
    from napari_memscan.config import RuleConfig, StudyConfig, VerificationConfig
    from napari_memscan.study import Study
    from napari_memscan.volumes.preprocessing import Preprocessing, Window

    config = StudyConfig(
        name="tiny",
        preprocessing=Preprocessing(shape=(16, 16, 16), intensity=Window(low=-300, high=900)),
        verification=VerificationConfig(enabled=False),
        rule=RuleConfig(name="dar2024"),
    )
    study = Study.create(tmp_path_factory.mktemp("explored") / "study", config, phantoms)
    paths = [r.path for r in phantoms.rows("unseen")] + [
        r.path for r in phantoms.rows("training")[:3]
    ]
    for i, path in enumerate(paths):
        study.add_samples([SampleRow(f"s{i:06d}", path)])
    return jobs.run_job(jobs.scan_study(study))


def test_at_the_rules_threshold_the_counts_are_the_rules(result):
    values = [result.value(s) for s in result.samples]
    found = count_above_threshold(
        values, result.null, result.threshold, reaching=is_threshold_inclusive(result)
    )
    assert found.above == result.n_copies
    assert found.above >= 3


def test_the_curve_ends_at_n_mem_and_starts_at_none(result):
    found = compute_rarefaction_curve(result)
    assert found.n_mem[0] == 0
    assert found.n_mem[-1] == pytest.approx(result.n_mem)
    assert (found.sizes[0], found.sizes[-1]) == (0, result.n_synthetic)
    assert (found.low <= found.n_mem).all()
    assert (found.n_mem <= found.high).all()
    assert (np.diff(found.n_mem) >= 0).all()


def result_of(result, hits, n):
    """A scan in which training volumes have so many copies each."""
    called = [
        SampleResult(f"{name}-{i}", name, 1.0, Verdict.COPY, "", (Neighbour(name, 1.0),))
        for name, k in hits.items()
        for i in range(k)
    ]
    rest = [
        SampleResult(f"n{i}", "t", 0.0, Verdict.NOVEL, "", (Neighbour("t", 0.0),))
        for i in range(n - len(called))
    ]
    return replace(result, samples=(*called, *rest), n_synthetic=n, n_training=50, threshold=0.5)


def test_the_interval_holds_what_other_volumes_of_the_generator_would_have_shown(result):
    """Drawn from a generator with known habits: 95 % intervals hold the mean of N_mem."""
    random = np.random.default_rng(0)
    chances = np.concatenate([np.full(10, 0.03), np.full(20, 0.01)])
    n, half = 60, 30
    truth = (1 - (1 - chances) ** half).sum()
    held = 0
    for _ in range(200):
        drawn = random.multinomial(n, [*chances, 1 - chances.sum()])[:-1]
        hits = {f"t{i}": int(k) for i, k in enumerate(drawn) if k}
        found = compute_rarefaction_curve(result_of(result, hits, n))
        at = int(np.flatnonzero(found.sizes == half)[0])
        assert found.n_mem[at] == pytest.approx(
            compute_rarefaction(list(hits.values()), n, [half])[0]
        )
        held += found.low[at] <= truth <= found.high[at]
    assert held / 200 > 0.9


def test_without_called_volumes_there_is_no_copy(result):
    nothing = result_of(result, {}, 10)
    assert not count_scan_copies(nothing).any()
    found = compute_rarefaction_curve(nothing)
    assert found.n_mem.tolist() == [0] * 11
    assert found.unseen.interval is None
    assert compute_rarefaction_curve(replace(nothing, threshold=None)).n_mem[-1] == 0
