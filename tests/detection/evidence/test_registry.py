"""The registry, and evaluating it as a whole."""

import json
from pathlib import Path

import numpy as np
import pytest

from napari_memscan.detection.decision.thresholds import PaperRule, compute_null_floor
from napari_memscan.detection.evidence import DEFAULT_METRICS, METRICS, evaluate_metrics
from napari_memscan.detection.retrieval.neighbours import NeighbourIndex
from napari_memscan.detection.statistics.intervals import clopper_pearson
from napari_memscan.errors import BadInput

ALL = [metric.key for metric in METRICS]
DOCS = Path(__file__).parents[3] / "docs" / "evidence.md"


@pytest.fixture(scope="module")
def cohort():
    """Volumes and, as their vectors, the voxels themselves."""
    random = np.random.default_rng(0)
    sizes = {"training": 120, "validation": 90, "synthetic": 100}
    volumes = {k: random.random((n, 5, 4, 3)).astype(np.float32) for k, n in sizes.items()}
    copied = volumes["synthetic"].copy()
    copied[:60] = np.clip(volumes["training"][:60] + 0.02 * random.normal(size=(60, 5, 4, 3)), 0, 1)
    return volumes, volumes | {"synthetic": copied}


def evaluated(volumes, keys=ALL, **options):
    vectors = {name: v.reshape(len(v), -1) for name, v in volumes.items()}
    return {r.key: r for r in evaluate_metrics(keys, **vectors, volumes=volumes, **options)}


@pytest.fixture(scope="module")
def results(cohort):
    return [evaluated(volumes) for volumes in cohort]


def test_every_metric_gives_a_number_and_its_whole_record(results):
    for found in results:
        assert list(found) == ALL
        for key, result in found.items():
            value = json.loads(json.dumps(result.to_dict(), allow_nan=False))
            assert np.isfinite(value["value"]), key
            assert value["n"] == {"training": 120, "validation": 90, "synthetic": 100}
            if result.interval:
                assert value["interval"][0] <= value["value"] <= value["interval"][1]
                assert value["rule"]


def test_copies_move_each_metric_of_copying_in_its_direction(results):
    novel, copied = results
    told = 0
    for metric in METRICS:
        change = copied[metric.key].value - novel[metric.key].value
        if metric.direction.startswith("larger = more copying") and metric.key not in (
            "collisions",
            "rarefaction",
        ):
            told += 1
            assert change > 0, metric.key
        elif metric.direction.startswith("smaller = more copying"):
            told += 1
            assert change < 0, metric.key
    assert told == 9
    # Each patient was copied once: synthetic volumes do not repeat each other.
    assert copied["collisions"].value <= novel["collisions"].value + 0.05


def test_counts_are_those_of_a_scan(cohort):
    volumes = cohort[1]
    vectors = {name: v.reshape(len(v), -1) for name, v in volumes.items()}
    rule = PaperRule().fit(vectors["training"], vectors["validation"])
    of_synthetic, _ = NeighbourIndex().fit(vectors["training"]).kneighbors(vectors["synthetic"], 1)
    of_training, _ = NeighbourIndex().fit(vectors["synthetic"]).kneighbors(vectors["training"], 1)
    copies, memorised = (int(rule.is_copy(s).sum()) for s in (of_synthetic, of_training))
    assert copies >= 60
    found = evaluated(volumes, ["n_copies", "n_mem", "rarefaction"])
    assert found["n_copies"].values == {"copies": copies, "threshold": rule.threshold_}
    assert found["n_copies"].interval == clopper_pearson(copies, 100)
    assert found["n_copies"].expected == compute_null_floor(120, 90)
    assert found["n_mem"].values["memorised"] == memorised
    assert found["n_mem"].expected == compute_null_floor(100, 90)
    assert found["rarefaction"].values["n_mem at all"] == memorised
    curve = found["rarefaction"].values["n_mem"]
    assert curve == sorted(curve)
    assert evaluated(volumes, ["n_copies"], threshold=1.0)["n_copies"].value == 0


def test_rarefaction_says_where_it_counts_chance(results):
    novel, copied = (found["rarefaction"] for found in results)
    assert "not above what chance gives" in novel.note
    assert "chance" not in copied.note


def test_same_inputs_same_bytes(cohort, results):
    again = evaluated(cohort[1], seed=0)
    assert [r.to_dict() for r in again.values()] == [r.to_dict() for r in results[1].values()]
    assert evaluated(cohort[1], ["nl2"], seed=3)["nl2"].interval != again["nl2"].interval


def test_a_metric_that_cannot_be_computed_says_why_and_others_go_on(cohort):
    few = {name: volumes[:5] for name, volumes in cohort[0].items()}
    found = evaluated(few)
    assert found["c_t"].value is None
    assert "none of 3 cells" in found["c_t"].note
    assert found["recall"].value is None
    assert found["n_copies"].value is not None
    vectors = {name: v.reshape(5, -1) for name, v in few.items()}
    (ncc,) = evaluate_metrics(["ncc"], **vectors)
    assert ncc.value is None
    assert "needs the volumes" in ncc.note


def test_what_none_can_use_is_refused(cohort):
    vectors = {name: v.reshape(len(v), -1) for name, v in cohort[0].items()}
    with pytest.raises(BadInput, match="fid: no such metric"):
        evaluate_metrics(["fid"], **vectors)
    broken = vectors["validation"].copy()
    broken[4, 0] = np.nan
    with pytest.raises(BadInput, match="validation vector 4 holds NaN"):
        evaluate_metrics(**vectors | {"validation": broken})
    with pytest.raises(BadInput, match="1 training vectors; at least 2"):
        evaluate_metrics(**vectors | {"training": vectors["training"][:1]})
    with pytest.raises(BadInput, match="99 synthetic volumes for 100 synthetic vectors"):
        evaluate_metrics(["ncc"], **vectors, volumes={"synthetic": cohort[0]["synthetic"][:99]})


def test_the_registry_is_complete_and_documented():
    assert len(set(ALL)) == len(ALL)
    assert set(DEFAULT_METRICS) < set(ALL)
    text = DOCS.read_text(encoding="utf-8")
    for metric in METRICS:
        assert metric.needs in ("vectors", "volumes")
        assert metric.unit in ("share", "number", "volumes")
        assert all((metric.title, metric.formula, metric.source, metric.misleads))
        assert f"`{metric.key}`" in text


def test_the_gap_is_resampled_by_subject():
    # Eight scans of each subject, all but equal: eight times the volumes, no more evidence.
    random = np.random.default_rng(0)
    people = {"training": random.normal(size=(12, 6)), "validation": random.normal(size=(10, 6))}
    sets = {
        name: np.repeat(vectors, 8, axis=0) + 1e-3 * random.normal(size=(8 * len(vectors), 6))
        for name, vectors in people.items()
    }
    sets["synthetic"] = random.normal(size=(30, 6))
    subjects = {
        name: [f"{name}{i}" for i in np.repeat(range(len(vectors)), 8)]
        for name, vectors in people.items()
    }
    (by_volume,) = evaluate_metrics(["fld_gap"], **sets)
    (by_subject,) = evaluate_metrics(["fld_gap"], **sets, subjects=subjects)
    assert by_subject.value == by_volume.value
    low, high = by_volume.interval
    # The width grows by about the square root of eight.
    assert by_subject.interval[1] - by_subject.interval[0] > 2 * (high - low)
    assert by_subject.interval[0] < by_subject.value < by_subject.interval[1]
    assert "subjects" in by_subject.rule
