"""Volumes drawn and scanned until enough have passed; those that have not are only left out."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from napari_memscan.errors import BadInput, Hint, HintKind
from napari_memscan.generators.sample import SamplingSettings
from napari_memscan.jobs import distributed as processes
from napari_memscan.jobs.replacement.lineage import collect_scan_results
from napari_memscan.jobs.replacement.regenerate import explain_memory_errors
from napari_memscan.jobs.sampling.generate import generate_volumes
from napari_memscan.jobs.scan.scan import scan_study
from napari_memscan.study import Study

if TYPE_CHECKING:
    from pathlib import Path

    from napari_memscan.detection.mitigation_screening import MissedCopies
    from napari_memscan.detection.results.scan_result import ScanResult
    from napari_memscan.generators.sample import DenoisingStep
    from napari_memscan.progress import Progress
    from napari_memscan.samples import SampleRow

ROUND_DIVISOR = 4
"""A fourth of what is wanted is drawn between two scans."""
MAX_OVERSAMPLING = 4
"""Times as many as wanted are drawn; then it gives up."""


@dataclass(frozen=True)
class ScreeningResult:
    """What a study's scan lets pass.

    Attributes
    ----------
    wanted : int
        Volumes asked for.
    passed, called, undecided : tuple of str
        Samples by what became of them. Replaced ones are not among them.
    q : float or None
        Largest expected share of novel volumes among the called; None where another rule than the
        conformal one decides.
    missed : MissedCopies or None
        Copies that may have passed; None where the study's detector has not been tested, or the
        test is of another detector.
    """

    wanted: int
    passed: tuple[str, ...]
    called: tuple[str, ...]
    undecided: tuple[str, ...]
    q: float | None
    missed: MissedCopies | None

    @property
    def enough(self) -> bool:
        """Whether as many passed as were asked for."""
        return len(self.passed) >= self.wanted

    def __str__(self) -> str:
        drawn = len(self.passed) + len(self.called) + len(self.undecided)
        lines = [
            f"{len(self.passed)} of {drawn} volumes passed, {self.wanted} wanted; "
            f"{len(self.called)} called copy or near-duplicate, {len(self.undecided)} undecided"
        ]
        if self.q is not None:
            lines.append(f"Of the called, at most {self.q:.0%} are expected to be novel.")
        if self.missed is None:
            lines.append(
                "How many copies passed unseen is not known: measure the detector with "
                "'memscan selftest'."
            )
        else:
            lines.append(f"Of those that passed: {self.missed}.")
        return "\n".join(lines)


def generate_until_clean(
    study: Study, n: int, *, most: int | None = None, guidance: float = 0.0, **settings: Any
) -> Generator[DenoisingStep | Progress, None, ScreeningResult]:
    """Draw volumes until `n` of the study's pass, a fourth of `n` between two scans.

    A volume passes with a verdict that the release of this study lets pass without a reader
    (``release.rule`` in study.toml; *novel* by default). Nothing is deleted: what does not pass
    stays in the study, and is not released. How many are drawn follows from `n` alone, so a job
    that was stopped goes on and gives the same bytes.

    Parameters
    ----------
    study : Study
        Its generator must be an LDM.
    n : int
        Volumes that must pass; those that are there already count.
    most : int, optional
        Volumes drawn in all, then it gives up; default `MAX_OVERSAMPLING` times `n`.
    guidance : float
        See `generate_volumes`.
    **settings
        See `generate_volumes`.

    Yields
    ------
    Step, Progress
        As `generate_volumes` and `scan_study` do.

    Returns
    -------
    Screening
        Whose `enough` is False where it gave up.

    Raises
    ------
    BadInput
        The volumes are made elsewhere, or numbers make no sense.
    """
    most = MAX_OVERSAMPLING * n if most is None else most
    if n < 1 or most < 1:
        raise BadInput(f"{n} of at most {most} volumes: at least one of at least one is needed.")
    config = study.config.generator
    if config is not None and config.external:
        raise BadInput(
            f"{study.folder}: its volumes are made elsewhere, so no more can be drawn. Choose an "
            "LDM checkpoint as the study's generator."
        )
    if processes.get_rank_and_size()[1] > 1:
        raise BadInput(
            "volumes that are scanned in between cannot be drawn by several processes. Start one, "
            "without torchrun or srun."
        )
    step, total = ceil(n / ROUND_DIVISOR), min(n, most)
    while total < min(count_drawn(study.samples(), guidance), most):
        total = min(total + step, most)  # A round that was begun is finished before it is scanned.
    with explain_memory_errors():
        if _is_scanned(study) and (found := screen_samples(study, n)).enough:
            return found
        while True:
            yield from generate_volumes(study, total, guidance=guidance, **settings)
            yield from scan_study(study)
            found = screen_samples(study, n)
            if found.enough or total >= most:
                return found
            total = min(total + step, most)


def count_drawn(rows: Iterable[SampleRow], guidance: float = 0.0) -> int:
    """Return how many of the samples were drawn with this guidance, replacements apart."""
    strengths = [
        SamplingSettings.parse(row.settings).guidance.partition(":")[0]
        for row in rows
        if row.seed and not row.parent
    ]
    return strengths.count(f"{guidance:g}" if guidance else "")


def _is_scanned(study: Study) -> bool:
    rows = study.samples()
    return bool(rows) and len(collect_scan_results(study.result(), rows)) == len(rows)


def screen_samples(study: Study, wanted: int) -> ScreeningResult:
    """Return what the last scan of a study lets pass.

    Raises
    ------
    BadInput
        There is none, or volumes came after it.
    """
    result = study.result()
    if result is None:
        raise BadInput(f"{study.folder}: not scanned yet.", Hint(HintKind.SCAN, str(study.folder)))
    rows = study.samples()
    replaced = {row.parent for row in rows if row.parent}
    judged = collect_scan_results(result, rows)
    names = [row.sample for row in rows if row.sample not in replaced]
    if missing := [name for name in names if name not in judged]:
        raise BadInput(f"{missing[0]}: drawn after the last scan. Scan again.")
    verdicts = {name: judged[name].verdict for name in names}
    passing = set(study.config.release.rule)
    called = [n for n, v in verdicts.items() if v.called]
    passed = [n for n, v in verdicts.items() if v in passing]
    rest = set(called) | set(passed)
    return ScreeningResult(
        wanted,
        tuple(passed),
        tuple(called),
        tuple(name for name in names if name not in rest),
        study.config.rule.q if result.rule == "conformal" else None,
        estimate_missed(study.scan_dir, result, len(called), len(names) - len(called)),
    )


def estimate_missed(
    scan_dir: Path, result: ScanResult, called: int, passed: int
) -> MissedCopies | None:
    """Return what the study's self-test says of copies that passed; None where it says nothing."""
    from napari_memscan.detection.mitigation_screening import MissedCopies
    from napari_memscan.detection.planting.selftest import SelfTest
    from napari_memscan.report.conclusion import is_selftest_stale

    test = SelfTest.load(scan_dir)
    if test is None or not test.sensitivity.n:
        return None
    if result.calibration is None or is_selftest_stale(result, test):
        return None  # Of another detector than the one that scanned.
    return MissedCopies(called, passed, test.sensitivity)
