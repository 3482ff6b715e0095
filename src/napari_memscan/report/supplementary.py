"""What a study knows besides its scan: self-test, metrics, membership, readers, its cohort."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.detection.evidence.result import MetricResult
from napari_memscan.detection.membership.result import AttackResult, MembershipResult
from napari_memscan.detection.planting.selftest import SelfTest
from napari_memscan.detection.statistics.roc import RocAnalysis, TprAtFpr
from napari_memscan.files import Parsed, hash_file, parse_json

if TYPE_CHECKING:
    from napari_memscan.review.findings import ReaderStudyFindings

EVIDENCE_FILE, MEMBERSHIP_FILE, DUPLICATES_FILE = (
    "evidence.json",
    "membership.json",
    "duplicates.json",
)


@dataclass(frozen=True)
class PublishedMetrics:
    """Published metrics, as ``memscan evidence`` kept them.

    Attributes
    ----------
    metrics : tuple of MetricResult
    embedder, embedder_hash, rule, quantile
        What they were computed with.
    stale : bool
        They belong to another scan than the one there is.
    """

    metrics: tuple[MetricResult, ...]
    embedder: str
    embedder_hash: str
    rule: str
    quantile: float
    stale: bool = False


@dataclass(frozen=True)
class DuplicateSummary:
    """How much is twice in a cohort, as ``memscan dedup`` found it.

    Attributes
    ----------
    groups, volumes : int
        Groups of copies and near-duplicates across training subjects, and volumes in them.
    suspected : int
        Groups of which too few are near to be called.
    leaks : int
        Pairs of a validation and a training volume.
    n_training : int
        Volumes that were searched.
    """

    groups: int
    volumes: int
    suspected: int
    leaks: int
    n_training: int


@dataclass(frozen=True)
class SupplementaryResults:
    """What a report shows beside a scan; None for what nobody has computed.

    Attributes
    ----------
    selftest : SelfTest or None
        What the detector found of volumes planted in this study.
    evidence : PublishedMetrics or None
    membership : MembershipResult or None
    readers : ReaderStudyFindings or None
        None where nobody has decided anything.
    disagreed : frozenset of str
        Samples of which readers say different things.
    twice : DuplicateSummary or None
    n_unknown_subjects : int
        Training and validation volumes whose subject nobody said.
    generator : str
        ``ldm``, ``folder`` or nothing.
    """

    selftest: SelfTest | None = None
    evidence: PublishedMetrics | None = None
    membership: MembershipResult | None = None
    readers: ReaderStudyFindings | None = None
    disagreed: frozenset[str] = frozenset()
    twice: DuplicateSummary | None = None
    n_unknown_subjects: int = 0
    generator: str = ""


def read_evidence(folder: Path) -> PublishedMetrics | None:
    """Read ``evidence.json`` of a study's ``scan``; None where there is none.

    Raises
    ------
    BadInput
        It is damaged or of another version, as with the other files below.
    """

    def parsed(value: Mapping[str, Any]) -> PublishedMetrics:
        metrics = tuple(
            MetricResult(**{**row, "interval": _parse_interval(row["interval"])})
            for row in value["metrics"]
        )
        scan = folder / "summary.json"
        return PublishedMetrics(
            metrics,
            value["embedder"],
            value["embedder_hash"],
            value["rule"],
            float(value["quantile"]),
            stale=not scan.exists() or value["scan"] != hash_file(scan),
        )

    return _read_json(folder / EVIDENCE_FILE, parsed, "memscan evidence")


def read_membership(folder: Path) -> MembershipResult | None:
    """Read ``membership.json`` of a study's ``scan``; None where there is none."""

    def attack(value: Mapping[str, Any]) -> AttackResult:
        found = dict(value["separation"])
        found["interval"] = tuple(found["interval"])
        found["rates"] = tuple(
            TprAtFpr(**{**rate, "interval": _parse_interval(rate["interval"])})
            for rate in found["rates"]
        )
        return AttackResult(
            value["attack"],
            value["rule"],
            dict(value["settings"]),
            RocAnalysis(**found),
            tuple(value["training"]),
            tuple(value["validation"]),
        )

    def parsed(value: Mapping[str, Any]) -> MembershipResult:
        rest: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
        rest["attacks"] = tuple(attack(one) for one in value["attacks"])
        rest["control"] = attack(value["control"])
        return MembershipResult(**rest)

    return _read_json(folder / MEMBERSHIP_FILE, parsed, "memscan membership")


def read_duplicate_summary(folder: Path) -> DuplicateSummary | None:
    """Read ``duplicates.json`` of a study's ``scan``; None where there is none."""

    def parsed(value: Mapping[str, Any]) -> DuplicateSummary:
        return DuplicateSummary(
            groups=len(value["groups"]),
            volumes=sum(len(group["volumes"]) for group in value["groups"]),
            suspected=len(value["suspected"]),
            leaks=len(value["leaks"]),
            n_training=int(value["n_training"]),
        )

    return _read_json(folder / DUPLICATES_FILE, parsed, "memscan dedup")


def _parse_interval(value: Any) -> tuple[float, float] | None:
    return None if value is None else (float(value[0]), float(value[1]))


def _read_json(
    path: Path, parsed: Callable[[Mapping[str, Any]], Parsed], command: str
) -> Parsed | None:
    try:
        return parse_json(path, parsed, f"Run '{command}' again.")
    except FileNotFoundError:
        return None
