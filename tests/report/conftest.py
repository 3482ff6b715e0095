"""Scans with given scores, and one report with everything that a report can hold."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from napari_memscan.detection.decision.class_limits import ClassLimits
from napari_memscan.detection.decision.judgement import NullDistribution, decide
from napari_memscan.detection.evidence import METRICS
from napari_memscan.detection.evidence.result import EXACT_INTERVAL, MetricResult
from napari_memscan.detection.membership.result import (
    STANDING_CAVEATS,
    AttackResult,
    MembershipResult,
)
from napari_memscan.detection.planting.perturbations import COPY_KINDS, NEAR_KINDS
from napari_memscan.detection.planting.selftest import PerturbationResult, SelfTest
from napari_memscan.detection.registration.verifier import PairEvidence as PairEvidence
from napari_memscan.detection.results.calibration_record import CalibrationRecord
from napari_memscan.detection.retrieval.search import SearchHit, SearchResult
from napari_memscan.detection.scan_vectors import scan_vectors
from napari_memscan.detection.statistics.roc import analyse_roc
from napari_memscan.report.page import write_report
from napari_memscan.report.supplementary import (
    DuplicateSummary,
    PublishedMetrics,
    SupplementaryResults,
)
from napari_memscan.review.current_decisions import CurrentDecisions
from napari_memscan.review.events import ReadingEvent
from napari_memscan.review.findings import analyse_reader_study
from napari_memscan.review.truth import Truth
from napari_memscan.typing import Verdict

EMBEDDER = SimpleNamespace(name="pixels", hash="0123456789abcdef")


def judged_scan(
    near=0.75, copy=0.9, null_at=0.4, called=(0.95, 0.94, 0.78, 0.77), n_null=100, q=0.1
):
    """A scan whose scores are given; what is called of them is the chain's own doing."""
    random = np.random.default_rng(1)
    rest = random.normal(0.4, 0.05, 24)
    scores = np.concatenate([called, rest])
    null = random.normal(null_at, 0.05, n_null)
    near, copy = random.normal(near, 0.03, 20), random.normal(copy, 0.01, 20)
    limits = ClassLimits(n_draws=50).fit(null, near, copy, (1 - near, 1 - copy))
    pose = np.eye(4)
    found = [
        SearchResult(
            (SearchHit(i % 5, 0, PairEvidence(s, s, s, s, 1.0, 1 - s, pose, "start")),), (i % 5,)
        )
        for i, s in enumerate(scores)
    ]
    judgement = decide(scores, NullDistribution(null), limits, q=q, found=found)
    vectors = [random.random((n, 20), np.float32) for n in (30, n_null, len(scores))]
    return scan_vectors(
        *vectors,
        training_names=[f"training[{i}]" for i in range(30)],
        synthetic_names=[f"synthetic[{i}]" for i in range(len(scores))],
        embedder=EMBEDDER,
        q=q,
        judgement=judgement,
        calibration=CalibrationRecord.of(
            judgement,
            n_planted=20,
            retrieved=9,
            verified=4,
            search_hash="feedbeef",
            seed=7,
            detector_hash="beadcafe",
        ),
        null_scores=null.tolist(),
    )


def planted(scan, **changes):
    def kind(name, label, n, **verdicts):
        every = dict.fromkeys(Verdict, 0) | {k.replace("_", "-"): v for k, v in verdicts.items()}
        return PerturbationResult(name, label, n, n - 1, n, n, every)

    values = {
        "kinds": (
            kind("flip", "copy", 10, copy=5, novel=5),
            kind("identity", "copy", 40, copy=40),
            kind("elastic", "near-duplicate", 20, near_duplicate=19, undecided=1),
            kind("identity", "novel", 25, copy=1, novel=24),
        ),
        "level": 0.05,
        "k": 9,
        "n_training": 30,
        "n_null": 100,
        "displacement_limit": 0.3,
        "novel_limit": 0.5,
        "embedder": scan.embedder,
        "search_hash": scan.calibration.search_hash,
        "detector_hash": scan.calibration.detector_hash,
        "seed": 1,
        "notes": ("Misses 50% of volumes changed by: flip.",),
    }
    return SelfTest(**values | changes)


@pytest.fixture(scope="session")
def judged():
    """Return a function that gives a scan by its scores."""
    return judged_scan


@pytest.fixture(scope="session")
def self_test():
    """Return a function that gives a self-test of a scan."""
    return planted


def every_kind():
    """One row a kind of perturbation, found less and less often."""
    kinds = [(name, "copy") for name in COPY_KINDS] + [
        (name, "near-duplicate") for name in NEAR_KINDS
    ]
    rows = []
    for i, (name, label) in enumerate(kinds):
        verdicts = dict.fromkeys(Verdict, 0) | {label: 20 - i, "novel": i}
        rows.append(PerturbationResult(name, label, 20, 20 - i, 20, 20, verdicts))
    verdicts = dict.fromkeys(Verdict, 0) | {"copy": 1, "novel": 39}
    return (*rows, PerturbationResult("unchanged", Verdict.NOVEL, 40, 0, 0, 0, verdicts))


def decided(result, said):
    """Decisions of readers on the samples of a scan, oldest first."""
    events, n = [], 0
    for reader, decisions in said.items():
        for sample, decision in zip(result.samples, decisions, strict=False):
            n += 1
            time = f"2026-01-01T00:{n:02d}:00+00:00"
            event = ReadingEvent(n, sample.name, decision, reader, time, "", {})
            events.append(replace(event, seconds=20.0 + n))
    return events


@pytest.fixture(scope="session")
def everything():
    """Return a scan and all that a report can hold, by the names of its arguments."""
    result = judged_scan()
    result = replace(result, warnings=("two volumes have no voxel size, 1 mm is assumed.",))
    said = {
        "Ann": ["copy", "copy", "copy", "not a copy", "unsure", *["not a copy"] * 5],
        "Ben": ["copy", "copy", "not a copy", "not a copy", "unsure", *["not a copy"] * 3],
    }
    events = decided(result, said)
    verdicts = {s.name: s.verdict for s in result.samples}
    known = Truth(
        {s.name: int(i < 2) for i, s in enumerate(result.samples[:8])}, "2 planted copies"
    )
    random = np.random.default_rng(5)
    scores = random.normal(1, 1, 30), random.normal(0, 1, 25)

    def attack(name, rule, **settings):
        made = analyse_roc(*scores, resamples=50)
        return AttackResult(name, rule, settings, made, tuple(scores[0]), tuple(scores[1]))

    membership = MembershipResult(
        attacks=(attack("loss", "-mean ||eps_theta(x_t, t) - eps||^2", t=40, seed=1),),
        control=attack("control", "mean square of the latent; the denoiser is not asked"),
        n_training=30,
        n_validation=25,
        n_training_subjects=30,
        n_validation_subjects=25,
        training_names=("a",),
        validation_names=("b",),
        prediction_type="epsilon",
        schedule="scaled_linear_beta",
        levels=1000,
        condition="none",
        preprocessing={},
        checkpoint_hash="c0ffee",
        recipe_hash="5eed",
        threads=1,
        seed=1,
        resamples=50,
        confidence=0.95,
        warnings=STANDING_CAVEATS,
    )
    metrics = tuple(
        MetricResult(metric.key, 0.25, (0.1, 0.4), EXACT_INTERVAL, 0.05, note="Of 28 volumes.")
        for metric in METRICS
    )
    arrays = random.random((40, 20, 24, 22), np.float32)
    return result, {
        "title": "Knee study of a hospital with a rather long name",
        "decisions": {e.sample: e for e in events if e.reader == "Ann"},
        "pictures": lambda path: arrays[int("".join(filter(str.isdigit, path)))],
        "spacing": (1.0, 1.0, 1.0),
        "attached": SupplementaryResults(
            selftest=planted(result, kinds=every_kind(), notes=("Misses 45% of: flip.",)),
            evidence=PublishedMetrics(metrics, "pixels", "0123456789abcdef", "dar2024", 0.95),
            membership=membership,
            readers=analyse_reader_study(CurrentDecisions(events), verdicts, known),
            disagreed=frozenset([result.samples[2].name]),
            twice=DuplicateSummary(groups=1, volumes=2, suspected=0, leaks=1, n_training=30),
            n_unknown_subjects=3,
            generator="ldm",
        ),
        "provenance": {
            "seeds": "1 to 28",
            "head of the decisions": "0ab1" * 16 + " after 18 events",
        },
        "settings": {"rule.name": "conformal", "seed": "1"},
        "files": {"scan/summary.json": "9f" * 32, "cohort.csv": "a7" * 32},
    }


@pytest.fixture(scope="session")
def full_page(everything, tmp_path_factory):
    """Return the page of that scan."""
    result, more = everything
    return write_report(tmp_path_factory.mktemp("full"), result, **more)
