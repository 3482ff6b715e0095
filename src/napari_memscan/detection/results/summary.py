"""A scan as text for a terminal or notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_memscan.typing import Verdict

if TYPE_CHECKING:
    from napari_memscan.detection.results.calibration_record import CalibrationRecord, RuleResult
    from napari_memscan.detection.results.scan_result import SampleResult, ScanResult

MOST_SHOWN = 20

MEASURES = {
    "similarity": "similarity of embeddings",
    "score": "score after registration (local correlation)",
}


OTHER_METRICS_HINT = "more      other metrics of copying and of quality: memscan evidence STUDY"


def format_summary(result: ScanResult) -> str:
    """Return counts, rules side by side, calibration, warnings and the nearest pairs."""
    copies = _format_share(result.n_copies, result.n_synthetic, result.copies_interval)
    mem = _format_share(result.n_mem, result.n_training, result.mem_interval)
    lines = [
        f"N_copies  {copies}{_format_floor(result.null_floor_copies)}",
        f"N_mem     {mem}{_format_floor(result.null_floor_mem)}",
    ]
    if result.measure == "score":
        lines.append(
            f"verdicts  {result.n_copies} copy, {result.n_near} near-duplicate, "
            f"{result.count(Verdict.NOVEL)} novel, {result.count(Verdict.UNDECIDED)} undecided"
        )
    lines += [
        f"embedder  {result.embedder} ({result.embedder_hash[:8]})",
        f"measure   {MEASURES[result.measure]}; larger is nearer",
        "",
        *_format_rules(result.rules, result.digits),
    ]
    if result.calibration is not None:
        lines += ["", *_format_calibration(result.calibration)]
    lines += [f"warning   {text}" for text in result.warnings]
    lines += [OTHER_METRICS_HINT, "", *_format_pairs(result)]
    return "\n".join(lines)


def _format_share(k: int, n: int, interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{k} of {n} = {k / max(n, 1):.1%} (95 % interval {low:.1%} to {high:.1%})"


def _format_floor(floor: float | None) -> str:
    return "" if floor is None else f"; {floor:.1%} expected if nothing were memorised"


def _format_rules(rules: tuple[RuleResult, ...], digits: int) -> list[str]:
    lines = [f"  {'rule':14}{'calls':>7}{'from':>9}  {'95 % interval':18}  by chance"]
    for rule in rules:
        places = max(4, digits) if rule.measure == "similarity" else 4
        level = "-" if rule.threshold is None else f"{rule.threshold:.{places}f}"
        within = "-"
        if rule.threshold_interval is not None:
            low, high = rule.threshold_interval
            within = f"{low:.{places}f} to {high:.{places}f}"
        lines.append(
            f"{'*' if rule.decides else ' '} {rule.name:14}{rule.n_copies:7}{level:>9}  "
            f"{within:18}  {rule.by_chance}"
        )
        if rule.note:
            lines.append(f"  {'':14}{rule.note}")
    return [*lines, "  * decides"]


def _format_calibration(calibration: CalibrationRecord) -> list[str]:
    def limit(value: float | None, interval: tuple[float, float] | None) -> str:
        if value is None or interval is None:
            return "not known"
        return f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"

    moved = limit(calibration.displacement_limit, calibration.displacement_limit_interval)
    novel = limit(calibration.novel_limit, calibration.novel_limit_interval)

    lines = [
        f"limits    novel up to a score of {novel}, copy up to a displacement of {moved} mm; from "
        f"{calibration.n_planted} planted copies, as many near-duplicates and {calibration.n_null} "
        "validation subjects"
        + (", all decoded by the generator's autoencoder first" if calibration.decoded else ""),
    ]
    lines += [f"          {text}" for text in calibration.limit_reasons]
    kind = "warning  " if calibration.assumption_shifted else "assumed  "
    return [*lines, f"{kind} {calibration.assumption}"]


def _format_pairs(result: ScanResult) -> list[str]:
    scored, places = result.measure == "score", max(4, result.digits)
    head = f"{'similarity':>10}  {'verdict':14}  synthetic volume -> nearest training volume"
    if scored:
        head = f"{'score':>7}{'mm':>6}{'p':>8}  {head}"
    lines = [head]
    for sample in result.samples[:MOST_SHOWN]:
        lines.append(
            (_format_score(sample) if scored else "")
            + (
                f"{sample.similarity:10.{places}f}  {sample.verdict:14}  "
                f"{sample.name} -> {sample.neighbour}"
            )
        )
    if len(result.samples) > MOST_SHOWN:
        lines.append(f"{'...':>10}  and {len(result.samples) - MOST_SHOWN} more")
    return lines


def _format_score(sample: SampleResult) -> str:
    score = "-" if sample.score is None else f"{sample.score:.3f}"
    p_value = "-" if sample.p_value is None else f"{sample.p_value:.4f}"
    apart = sample.neighbours[0].displacement
    moved = "-" if apart is None else f"{apart:.2f}"
    return f"{score:>7}{moved:>6}{p_value:>8}  "
