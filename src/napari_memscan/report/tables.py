"""The tables of the page: what stands in their cells, without how they look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_memscan.detection.planting.perturbations import describe_largest
from napari_memscan.detection.results.scan_result import MEASURES, ScanResult
from napari_memscan.detection.statistics.intervals import clopper_pearson
from napari_memscan.report.conclusion import explain_no_power, find_deciding_rule, get_chance_share
from napari_memscan.typing import Verdict

if TYPE_CHECKING:
    from napari_memscan.detection.planting.selftest import PerturbationResult, SelfTest
    from napari_memscan.detection.results.calibration_record import CalibrationRecord
    from napari_memscan.detection.statistics.proportions import Proportion
    from napari_memscan.typing import Interval

PLANTED_LABELS = (Verdict.COPY, Verdict.NEAR_DUPLICATE, Verdict.NOVEL)
PLANTED_NAMES = {
    Verdict.COPY: "planted copies",
    Verdict.NEAR_DUPLICATE: "planted near-duplicates",
    Verdict.NOVEL: "perturbed unrelated volumes",
}


@dataclass(frozen=True)
class TextTable:
    """A table of texts.

    Attributes
    ----------
    head : tuple of str
        One a column.
    rows : tuple of tuple of str
    numbers : tuple of int
        Columns of numbers, which are set to the right.
    strong : tuple of int
        Rows that stand out.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[int, ...] = ()
    strong: tuple[int, ...] = ()


def format_percent(share: float, digits: int = 1) -> str:
    """Return a share as ``12.5 %``."""
    return f"{100 * share:.{digits}f} %"


def format_interval(interval: Interval | None, digits: int = 3) -> str:
    """Return an interval as ``0.812 to 0.934``."""
    return "" if interval is None else f"{interval[0]:.{digits}f} to {interval[1]:.{digits}f}"


def tabulate_shares(result: ScanResult) -> TextTable:
    """Return how many volumes have which verdict, with intervals."""
    powerless = (
        bool(explain_no_power(result)) and not result.n_near and not result.count(Verdict.COPY)
    )
    called = "above tau; none is called a copy here" if powerless else "called copies"
    mem = "training volumes with at least one copy"
    if result.rule == "conformal":
        mem = "training volumes that a called volume was found near"
    elif powerless:
        mem = "training volumes with at least one above tau"
    n, floor = result.n_synthetic, get_chance_share(result)
    chance = find_deciding_rule(result).by_chance if floor is None else format_percent(floor)
    if result.null_floor_copies is not None:
        chance += " (null floor)"
    rows = [_make_share_row(f"N_copies: synthetic volumes {called}", result.n_copies, n, chance)]
    if result.rule == "conformal":
        rows += [
            _make_share_row(
                "synthetic volumes called near-duplicates", result.n_near, n, "as above"
            ),
            _make_share_row(
                "undecided: neither called nor novel", result.count(Verdict.UNDECIDED), n
            ),
            _make_share_row(Verdict.NOVEL, result.count(Verdict.NOVEL), n),
        ]
    floor_mem = result.null_floor_mem
    chance_mem = "" if floor_mem is None else f"{format_percent(floor_mem)} (null floor)"
    rows.append(_make_share_row(f"N_mem: {mem}", result.n_mem, result.n_training, chance_mem))
    head = ("Measure", "Count", "Share", "95 % interval", "Expected by chance")
    return TextTable(head, tuple(rows), (1, 2, 3), (0,))


def _make_share_row(name: str, k: int, n: int, chance: str = "") -> tuple[str, ...]:
    low, high = clopper_pearson(k, n)
    return (
        name,
        f"{k} of {n}",
        format_percent(k / max(n, 1)),
        f"{format_percent(low)} to {format_percent(high)}",
        chance,
    )


def tabulate_rules(result: ScanResult) -> TextTable:
    """Return every rule on the same volumes; the deciding one stands out."""
    rows = []
    for rule in result.rules:
        digits = max(4, result.digits) if rule.measure == "similarity" else 4
        level = "calls nothing" if rule.threshold is None else f"{rule.threshold:.{digits}f}"
        if rule.threshold_interval is not None:
            level += f" ({format_interval(rule.threshold_interval, digits)})"
        low, high = rule.copies_interval
        mem = "" if rule.mem_share is None else f"{format_percent(rule.mem_share)}, {rule.mem_note}"
        rows.append(
            (
                f"{rule.name}{' (decides)' if rule.decides else ''}",
                MEASURES[rule.measure],
                f"{rule.n_copies} of {result.n_synthetic}",
                f"{format_percent(low)} to {format_percent(high)}",
                level,
                rule.by_chance,
                mem,
            )
        )
    head = (
        "Rule",
        "Compares",
        "Calls",
        "95 % interval",
        "Threshold (95 % interval)",
        "By chance",
        "Training volumes with a copy",
    )
    strong = tuple(i for i, rule in enumerate(result.rules) if rule.decides)
    return TextTable(head, tuple(rows), (2, 3), strong)


def tabulate_limits(calibration: CalibrationRecord) -> TextTable:
    """Return where copies begin and novel volumes end, and how well classes separate."""

    def limit(name: str, value: float | None, interval: Interval | None) -> tuple[str, ...]:
        return name, "not known" if value is None else f"{value:.3f}", format_interval(interval)

    def area(name: str, found: tuple[float, float, float] | None) -> tuple[str, ...]:
        if found is None:
            return name, "not known", ""
        return name, f"{found[0]:.3f}", format_interval(found[1:])

    c = calibration
    return TextTable(
        ("Limit", "Value", "95 % interval"),
        (
            limit("novel up to a score of", c.novel_limit, c.novel_limit_interval),
            limit(
                "copy up to a displacement, in mm, of",
                c.displacement_limit,
                c.displacement_limit_interval,
            ),
            area("area under the ROC curve, copy against near-duplicate", c.auc_copy_near),
            area("area under the ROC curve, near-duplicate against novel", c.auc_near_novel),
        ),
        (1, 2),
    )


def tabulate_kinds(test: SelfTest) -> TextTable:
    """Return what the self-test found of each kind of planted volume."""
    labels = [label for label in PLANTED_LABELS if test.sum(label).n]
    every = [*test.kinds, *(test.sum(label) for label in labels)]
    head = (
        "Planted",
        "Volumes",
        "Source retrieved first",
        "among 5",
        f"among {test.k}",
        "Called",
        "95 % interval",
        *Verdict,
        "Right verdict",
        "95 % interval",
    )
    rows = tuple(_make_kind_row(row) for row in every if row.n)
    sums = tuple(range(len(rows) - len(labels), len(rows)))
    rows += tuple(_make_kind_row(row, test.strength) for row in test.harder if row.n)
    return TextTable(head, rows, tuple(range(1, len(head))), sums)


def _make_kind_row(row: PerturbationResult, strength: float = 1.0) -> tuple[str, ...]:
    name = f"all {PLANTED_NAMES[row.label]}" if row.kind == "all" else row.kind
    name += f", {describe_largest(row.kind, strength)}" if strength != 1 else ""
    if row.label == Verdict.NOVEL and row.kind != "all":
        name = f"unrelated, {name}"
    retrieved = (row.retrieved_1, row.retrieved_5, row.retrieved_k)
    return (
        name,
        str(row.n),
        *("" if row.label == Verdict.NOVEL else format_percent(k / row.n, 0) for k in retrieved),
        format_percent(row.found.k / row.n, 0),
        format_percent_interval(row.found.interval),
        *(str(row.verdicts[verdict]) for verdict in Verdict),
        format_percent(row.right.k / row.n, 0),
        format_percent_interval(row.right.interval),
    )


def format_percent_interval(interval: Interval) -> str:
    """Return an interval of shares as ``93 to 100 %``."""
    return f"{100 * interval[0]:.0f} to {100 * interval[1]:.0f} %"


def format_rate(value: Proportion) -> str:
    """Return a rate as ``98 % (93 to 100 %)``."""
    if not value.n:
        return "not known (none planted)"
    return f"{format_percent(value.k / value.n, 0)} ({format_percent_interval(value.interval)})"


def tabulate_confusion(test: SelfTest) -> TextTable:
    """Return what planted volumes are against what they were called, cell by cell a share."""
    sums = [test.sum(label) for label in PLANTED_LABELS]
    return TextTable(
        ("Is \\ was called (95 % interval of the row's share)", *Verdict),
        tuple(
            (
                PLANTED_NAMES[row.label],
                *(_format_cell(row.verdicts[verdict], row.n) for verdict in Verdict),
            )
            for row in sums
            if row.n
        ),
        tuple(range(1, len(Verdict) + 1)),
    )


def _format_cell(k: int, n: int) -> str:
    return f"{k} ({format_percent_interval(clopper_pearson(k, n))})"


def list_methods(result: ScanResult, more: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return names and values of all that the numbers depend on."""
    c = result.calibration
    level = "nothing called" if result.threshold is None else f"{result.threshold:.6f}"
    rule = f"{result.rule} on the {MEASURES[result.measure]}; threshold {level}"
    rule += f"; q {c.q:g}" if c is not None else ""
    values = {
        "Rule": rule,
        "Threshold of the paper": f"tau {result.tau:.6f}, quantile {result.quantile:g}",
        "Sizes": (
            f"{result.n_training} training, {result.n_validation} validation, "
            f"{result.n_synthetic} synthetic"
            + (f"; {c.n_null} validation subjects in the null" if c is not None else "")
        ),
    }
    if c is not None:
        values |= {
            "Search": (
                f"{c.retrieved} candidates retrieved, the best {c.verified} registered; hash "
                f"{c.search_hash}"
            ),
            "Planted": (
                f"{c.n_planted} copies and as many near-duplicates, seed {c.seed}, for the limits"
            ),
            "Power": (
                f"{c.least_discoveries} volumes nearer than all of the null are needed to call "
                f"any; with {c.least_validation} validation subjects one is enough"
            ),
        }
    values |= {
        "Intervals": "Clopper-Pearson, 95 %, of shares; bootstrap, 95 %, of limits",
        "Embedder": f"{result.embedder}, hash {result.embedder_hash}",
        "Preprocessing": str(result.preprocessing),
        **{name[:1].upper() + name[1:]: value for name, value in more.items()},
    }
    return list(values.items())
