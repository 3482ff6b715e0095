"""``manifest.json``: what a release claims, volume by volume, and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from napari_memscan.report.conclusion import (
    compose_conclusion,
    find_deciding_rule,
    is_selftest_stale,
)
from napari_memscan.report.policy import ReleasePolicy
from napari_memscan.review.events import get_program_version
from napari_memscan.typing import Decision, Verdict

if TYPE_CHECKING:
    from napari_memscan.detection.planting.selftest import SelfTest
    from napari_memscan.detection.results.scan_result import SampleResult, ScanResult
    from napari_memscan.detection.statistics.proportions import Proportion

MANIFEST_FORMAT = 1


@dataclass(frozen=True)
class ReleaseSelection:
    """How many volumes there were, and what became of them.

    Attributes
    ----------
    generated, released : int
        All of the study; those in the release.
    left_out : int
        Passed, and more than were wanted: which ones was drawn.
    rejected : dict of str to int
        Why, and how many.
    """

    generated: int
    released: int
    left_out: int
    rejected: dict[str, int]

    def __str__(self) -> str:
        n = sum(self.rejected.values())
        text = f"{self.released} of {self.generated} volumes released, {n} rejected"
        if self.rejected:
            text += " (" + ", ".join(f"{why}: {k}" for why, k in self.rejected.items()) + ")"
        return text + (f", {self.left_out} passed and not wanted" if self.left_out else "")


def summarise_decisions(said: Mapping[str, str], named: bool) -> dict[str, Any]:
    """Return how many readers decided what; with their names if they are to be told."""
    counts = Counter(said.values())
    summary: dict[str, Any] = {decision: counts[decision] for decision in Decision}
    return summary | ({"by": dict(sorted(said.items()))} if named else {})


def build_manifest_entry(
    file: str,
    sha256: str,
    made: Mapping[str, str],
    sample: SampleResult,
    decisions: Mapping[str, Any],
    why: str,
) -> dict[str, Any]:
    """Return what the manifest says of one volume.

    Parameters
    ----------
    file, sha256 : str
        In the release.
    made : mapping
        Sample, seed, hashes and settings: what made it.
    sample : SampleResult
        What the scan says of it, already without names.
    decisions : mapping
        Of `summarise_decisions`.
    why : str
        What let it pass.
    """
    return {
        "file": file,
        "sha256": sha256,
        **made,
        "verdict": sample.verdict,
        "reason": sample.reason,
        "score": sample.score,
        "displacement_mm": sample.neighbours[0].displacement,
        "similarity": sample.similarity,
        "p_value": sample.p_value,
        "decisions": dict(decisions),
        "passed": why,
    }


def build_manifest(
    *,
    title: str,
    license: str,
    layout: str,
    policy: ReleasePolicy,
    stated_rule: Sequence[str],
    selection: ReleaseSelection,
    result: ScanResult,
    no_power: str,
    selftest: SelfTest | None,
    n_subjects: int,
    decisions: Mapping[str, Any],
    volumes: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the whole manifest as JSON-ready values; `result` is already without names."""
    c = result.calibration
    return {
        "format": MANIFEST_FORMAT,
        "memscan": get_program_version(),
        "title": title,
        "license": license,
        "layout": layout,
        "policy": asdict(policy) | {"rule": list(policy.rule), "stated_rule": list(stated_rule)},
        "selection": asdict(selection),
        "scan": {
            "answer": compose_conclusion(result),
            "rule": result.rule,
            "measure": result.measure,
            "threshold": result.threshold,
            "quantile": result.quantile,
            "q": c.q if c is not None else None,
            "n_null": c.n_null if c is not None else len(result.null),
            "by_chance": find_deciding_rule(result).by_chance,
            "no_power": no_power,
            "n_training": result.n_training,
            "n_training_subjects": n_subjects,
            "n_validation": result.n_validation,
            "n_synthetic": result.n_synthetic,
            "n_copies": result.n_copies,
            "copies_interval": list(result.copies_interval),
            "n_near": result.n_near,
            "n_undecided": result.count(Verdict.UNDECIDED),
            "embedder": result.embedder,
            "embedder_hash": result.embedder_hash,
            "search_hash": c.search_hash if c is not None else None,
            "preprocessing": result.preprocessing,
            "warnings": list(result.warnings),
        },
        "assumption": None
        if c is None
        else {"failed": c.assumption_shifted, "p_value": c.assumption_p, "text": c.assumption},
        "selftest": None
        if selftest is None
        else _summarise_selftest(selftest, is_selftest_stale(result, selftest)),
        "decisions": dict(decisions),
        "volumes": list(volumes),
    }


def _summarise_selftest(selftest: SelfTest, old: bool) -> dict[str, Any]:
    return {
        "out_of_date": old,
        "level": selftest.level,
        "sensitivity": _rate_to_dict(selftest.sensitivity),
        "near_duplicates": _rate_to_dict(selftest.sum(Verdict.NEAR_DUPLICATE).found),
        "specificity": _rate_to_dict(selftest.specificity),
        "notes": list(selftest.notes),
    }


def _rate_to_dict(rate: Proportion) -> dict[str, Any]:
    low, high = rate.interval if rate.n else (None, None)
    return {"k": rate.k, "n": rate.n, "interval": [low, high]}
