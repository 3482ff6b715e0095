"""What each figure of a report shows, in words: for those who do not see it, and below it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_memscan.detection.exploration.threshold_curve import (
    count_above_threshold,
    is_threshold_inclusive,
)
from napari_memscan.report.conclusion import find_deciding_rule, name_threshold
from napari_memscan.report.tables import format_percent, format_rate
from napari_memscan.typing import Verdict

if TYPE_CHECKING:
    from napari_memscan.detection.exploration.threshold_curve import RarefactionCurve
    from napari_memscan.detection.planting.selftest import SelfTest
    from napari_memscan.detection.results.scan_result import SampleResult, ScanResult

N_NAMED_KINDS = 4
"""So many kinds of perturbation are named in a sentence."""


def describe_histogram(result: ScanResult) -> str:
    """Say what the histogram shows."""
    what = "score after registration" if result.measure == "score" else "similarity"
    text = (
        f"Histogram: {what} of {result.n_synthetic} synthetic volumes to their nearest training "
        f"volume, over the null of {len(result.null)} {describe_null(result)}; "
    )
    if result.threshold is None:
        return text + f"the rule {find_deciding_rule(result).name} calls none of them."
    at = count_above_threshold(
        [result.value(s) for s in result.samples],
        result.null,
        result.threshold,
        reaching=is_threshold_inclusive(result),
    )
    return (
        f"{text}{name_threshold(result)} {_format_level(result, result.threshold)}. {at.above}"
        f" synthetic volumes and {at.null_above} of the null lie there."
    )


def describe_null(result: ScanResult) -> str:
    """Return what the null of a scan compares."""
    if result.rule == "dar2024":
        return "training volumes to their nearest validation volume"
    return "validation volumes to their nearest training volume"


def describe_thresholds(result: ScanResult) -> str:
    """Say what the curve over thresholds shows: where synthetic volumes part from the null."""
    n, null = result.n_synthetic, result.null
    values = [result.value(s) for s in result.samples]
    top = max(null)
    clear = sum(value > top for value in values)
    text = (
        f"Curve over thresholds: of {n} synthetic volumes {clear} are nearer than every one of the "
        f"{len(null)} volumes of the null, of which the nearest has {_format_level(result, top)}."
    )
    if result.threshold is None:
        return f"{text} The rule {find_deciding_rule(result).name} has no threshold here."
    at = count_above_threshold(
        values, null, result.threshold, reaching=is_threshold_inclusive(result)
    )
    share = at.error_rate or 0.0
    return (
        f"{text} At the rule's threshold {_format_level(result, result.threshold)} it calls"
        f" {at.above}; {at.n * share:.1f} would be expected if nothing were memorised (error rate"
        f" {format_percent(share)}, 95 % interval {format_percent(at.interval[0])} to"
        f" {format_percent(at.interval[1])})."
    )


def describe_rarefaction(curve: RarefactionCurve) -> str:
    """Say what the rarefaction curve shows."""
    seen, total = round(float(curve.n_mem[-1])), curve.unseen
    text = (
        f"Rarefaction: {seen} of {curve.n_training} training volumes have a copy or near-duplicate "
        f"among {curve.n_synthetic} synthetic volumes"
    )
    if total.interval is None:
        return (
            f"{text}; each was found more than once, or only one was, so more synthetic volumes "
            "are not expected to bring others."
        )
    low, high = total.interval
    return (
        f"{text}, and the curve still rises: with more synthetic volumes at least "
        f"{total.estimate:.0f} are expected (95 % interval {low:.0f} to {high:.0f}, Chao 1987)."
    )


def describe_selftest(test: SelfTest) -> str:
    """Say what the chart of the self-test shows: how much is found, and what is missed most."""
    text = (
        f"Self-test: called were {format_rate(test.sensitivity)} of planted copies and"
        f" {format_rate(test.sum(Verdict.NEAR_DUPLICATE).found)} of planted near-duplicates;"
        f" left alone were {format_rate(test.specificity)} of unrelated volumes."
    )
    shares = {
        row.kind: row.found.k / row.n for row in test.kinds if row.n and row.label != Verdict.NOVEL
    }
    worst = sorted((share, kind) for kind, share in shares.items() if share < 1)[:N_NAMED_KINDS]
    if not worst:
        return f"{text} Every kind of perturbation was found each time."
    named = ", ".join(f"{kind} ({100 * share:.0f} %)" for share, kind in worst)
    return f"{text} Found least: {named}."


def describe_pair(
    result: ScanResult, sample: SampleResult, names: tuple[str, str], registered: bool
) -> str:
    """Say what the planes of a pair show."""
    ours, theirs = names
    text = f"Three planes of synthetic volume {ours} above those of training volume {theirs}"
    if registered:
        text += " registered to it, and below both their difference"
    what = "score" if result.measure == "score" and sample.score is not None else "similarity"
    return (
        f"{text}. {what} {_format_level(result, result.value(sample))}, verdict {sample.verdict}."
    )


def _format_level(result: ScanResult, value: float) -> str:
    digits = 4 if result.measure == "score" else max(4, result.digits)
    return f"{value:.{digits}f}"
