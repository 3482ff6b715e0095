"""Tables of what stands beside a scan: metrics, membership, readers, another threshold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_memscan.detection.evidence import get_metric
from napari_memscan.detection.exploration.threshold_curve import (
    count_above_threshold,
    is_threshold_inclusive,
)
from napari_memscan.errors import BadInput
from napari_memscan.report.tables import TextTable, format_interval, format_percent, format_rate
from napari_memscan.typing import Decision, Verdict

if TYPE_CHECKING:
    from napari_memscan.detection.evidence import Metric, MetricResult
    from napari_memscan.detection.membership.result import MembershipResult
    from napari_memscan.detection.results.scan_result import ScanResult
    from napari_memscan.report.supplementary import PublishedMetrics
    from napari_memscan.review.findings import ReaderStudyFindings

NOT_READ, READERS_DISAGREE = "not read", "readers disagree"
VERDICTS_WORST_FIRST = (Verdict.COPY, Verdict.NEAR_DUPLICATE, Verdict.UNDECIDED, Verdict.NOVEL)


def tabulate_decisions(pairs: Iterable[tuple[str, str]]) -> TextTable:
    """Return what people said of the program's verdicts.

    Parameters
    ----------
    pairs : iterable of (str, str)
        Verdict and decision of each volume, or `READERS_DISAGREE`; an empty decision is not read.
    """
    counts = Counter((verdict, decision or NOT_READ) for verdict, decision in pairs)
    disagree = any(decision == READERS_DISAGREE for _, decision in counts)
    columns = (*Decision, *((READERS_DISAGREE,) if disagree else ()), NOT_READ)
    rows = []
    for verdict in VERDICTS_WORST_FIRST:
        row = [counts[verdict, column] for column in columns]
        if sum(row):
            rows.append((verdict, *map(str, row), str(sum(row))))
    sums = [sum(counts[v, column] for v in VERDICTS_WORST_FIRST) for column in columns]
    rows.append(("all", *map(str, sums), str(sum(sums))))
    named = (f"reader: {column}" if isinstance(column, Decision) else column for column in columns)
    head = ("Program's verdict", *named, "all")
    return TextTable(head, tuple(rows), tuple(range(1, len(head))), (len(rows) - 1,))


def tabulate_thresholds(result: ScanResult) -> TextTable:
    """Return what the rule's threshold and some of the null's own would call."""
    values, null = [result.value(s) for s in result.samples], np.asarray(result.null, float)
    marks: list[tuple[str, float]] = []
    if result.threshold is not None:
        marks.append(("the rule's", result.threshold))
    marks += [
        ("95th percentile of the null", float(np.quantile(null, 0.95))),
        ("99th percentile of the null", float(np.quantile(null, 0.99))),
        ("largest of the null", float(null.max())),
    ]
    digits = 4 if result.measure == "score" else max(4, result.digits)
    rows = []
    for name, level in marks:
        at = count_above_threshold(values, null, level, reaching=is_threshold_inclusive(result))
        share = at.error_rate or 0.0
        low, high = at.interval
        rows.append(
            (
                name,
                f"{level:.{digits}f}",
                f"{at.above} of {at.n}",
                f"{at.n * share:.1f}",
                f"{at.null_above} of {at.n_null}",
                f"{format_percent(share)} ({format_percent(low)} to {format_percent(high)})",
            )
        )
    head = (
        "Threshold",
        "Value",
        "Calls",
        "Expected by chance",
        "Of the null",
        "Error rate (95 % interval)",
    )
    return TextTable(
        head, tuple(rows), (1, 2, 3, 4, 5), (0,) if result.threshold is not None else ()
    )


def tabulate_metrics(evidence: PublishedMetrics) -> TextTable:
    """Return published metrics with intervals, what they mean, and when they mislead."""
    rows = []
    for metric, found in _iterate_known_metrics(evidence):
        value = "not computed" if found.value is None else _format_number(found.value, metric.unit)
        interval = ""
        if found.interval is not None:
            low, high = (_format_number(limit, metric.unit) for limit in found.interval)
            interval = f"{low} to {high}"
        expected = "" if found.expected is None else _format_number(found.expected, metric.unit)
        note = f"{found.note} " if found.note else ""
        rows.append(
            (
                f"{metric.title} [{metric.key}]",
                value,
                interval,
                expected,
                f"{metric.direction[:1].upper()}{metric.direction[1:]}. {note}{metric.misleads}",
            )
        )
    head = ("Metric", "Value", "95 % interval", "If nothing were memorised", "How to read it")
    return TextTable(head, tuple(rows), (1, 2, 3))


def list_formulas(evidence: PublishedMetrics) -> list[tuple[str, str]]:
    """Return formula, source and kind of interval of each metric."""
    return [
        (
            f"{metric.key}",
            f"{metric.formula}. {metric.source}."
            + (f" Interval: {found.rule}." if found.rule else "")
            + (f" Seed {found.seed}." if found.seed is not None else ""),
        )
        for metric, found in _iterate_known_metrics(evidence)
    ]


def _iterate_known_metrics(evidence: PublishedMetrics) -> Iterator[tuple[Metric, MetricResult]]:
    for found in evidence.metrics:
        try:
            yield get_metric(found.key), found
        except BadInput:  # A study of another version of the program.
            continue


def tabulate_membership(found: MembershipResult) -> TextTable:
    """Return what each attack found, and the latents alone as its control."""
    rows = []
    for attack in (*found.attacks, found.control):
        s = attack.separation
        rates = "; ".join(
            f"at {format_percent(r.fpr)} false: "
            + (
                r.reason
                if r.tpr is None
                else f"{format_percent(r.tpr)} ({_format_share_interval(r.interval)})"
            )
            for r in s.rates
        )
        control = attack is found.control
        rows.append(
            (
                "control: latents alone" if control else attack.attack,
                f"{s.auc:.3f}",
                format_interval(s.interval),
                f"{s.p_value:.4f}",
                f"{format_percent(s.success_rate)} ({format_percent(s.success_rate_by_chance)})",
                "" if control else rates,
            )
        )
    head = (
        "Attack",
        "AUC",
        "95 % interval",
        "p",
        "Success (by chance)",
        "Training volumes recognised",
    )
    return TextTable(head, tuple(rows), (1, 2, 3, 4))


def list_attacks(found: MembershipResult) -> list[tuple[str, str]]:
    """Return what each attack computes, with its settings."""
    rows = []
    for attack in (*found.attacks, found.control):
        settings = ", ".join(f"{k} {_format_setting(v)}" for k, v in attack.settings.items())
        rows.append((attack.attack, f"{attack.rule}{f'; {settings}' if settings else ''}"))
    return rows


def tabulate_readers(found: ReaderStudyFindings) -> TextTable:
    """Return how much each reader did."""
    stages = sorted({stage for reader in found.readers for stage in reader.decisions})
    rows = tuple(
        (
            reader.name,
            *(str(reader.decisions.get(stage, 0)) for stage in stages),
            "" if reader.seconds is None else f"{reader.seconds:.0f}",
        )
        for reader in found.readers
    )
    head = ("Reader", *(f"{stage} decisions" for stage in stages), "Seconds each (median)")
    return TextTable(head, rows, tuple(range(1, len(head))))


def tabulate_agreement(found: ReaderStudyFindings) -> TextTable | None:
    """Return every kappa with its interval; None where fewer than two readers decided."""
    rows = tuple(
        (
            " and ".join(one.readers) if len(one.readers) < 3 else ", ".join(one.readers),
            stage,
            f"{one.name}'s kappa",
            "not defined" if one.value is None else f"{one.value:.2f}",
            format_interval(one.interval, 2),
            "" if one.agreed is None else format_percent(one.agreed, 0),
            str(one.n_cases),
            one.note + (f" {len(one.left_out)} left out, not read by all." if one.left_out else ""),
        )
        for stage, kappas in found.agreement.items()
        for one in kappas
    )
    if not rows:
        return None
    head = ("Readers", "Stage", "Measure", "Value", "95 % interval", "Agree", "Cases", "Note")
    return TextTable(head, rows, (3, 4, 5, 6))


def tabulate_accuracy(found: ReaderStudyFindings) -> TextTable | None:
    """Return the program against each reader, and all against what is known."""
    rows = tuple(
        (
            one.judge,
            one.reference,
            _format_accuracy_rate(one.sensitivity),
            _format_accuracy_rate(one.specificity),
            str(one.n_left_out),
        )
        for one in (*found.against_program, *found.against_truth)
    )
    if not rows:
        return None
    head = ("Judge", "Reference", "Sensitivity", "Specificity", "Left out: unsure, undecided")
    return TextTable(head, rows, (2, 3, 4))


def _format_accuracy_rate(value: Any) -> str:
    return "not known (0 of 0)" if not value.n else f"{format_rate(value)}, {value.k} of {value.n}"


def _format_share_interval(interval: tuple[float, float] | None) -> str:
    return (
        ""
        if interval is None
        else f"{format_percent(interval[0])} to {format_percent(interval[1])}"
    )


def _format_number(value: float, unit: str) -> str:
    if unit == "share":
        return format_percent(value)
    return f"{value:.1f}" if unit == "volumes" else f"{value:.4g}"


def _format_setting(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)
