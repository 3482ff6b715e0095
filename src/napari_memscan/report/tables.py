"""The tables of the page: what stands in their cells, without how they look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_memscan.detection.planting.perturbations import largest
from napari_memscan.detection.results.scan_result import VERDICTS
from napari_memscan.detection.results.summary import MEASURES
from napari_memscan.detection.statistics.intervals import clopper_pearson
from napari_memscan.report.conclusion import by_chance, deciding, no_power

if TYPE_CHECKING:
    from napari_memscan.detection.planting.selftest import KindResult, SelfTest
    from napari_memscan.detection.results.calibration_record import Calibration, Interval
    from napari_memscan.detection.results.scan_result import ScanResult
    from napari_memscan.detection.statistics.proportions import Rate

LABELS = ("copy", "near-duplicate", "novel")
PLANTED = {
    "copy": "planted copies",
    "near-duplicate": "planted near-duplicates",
    "novel": "perturbed unrelated volumes",
}


@dataclass(frozen=True)
class Table:
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


def percent(share: float, digits: int = 1) -> str:
    """Return a share as ``12.5 %``."""
    return f"{100 * share:.{digits}f} %"


def between(interval: Interval | None, digits: int = 3) -> str:
    """Return an interval as ``0.812 to 0.934``."""
    return "" if interval is None else f"{interval[0]:.{digits}f} to {interval[1]:.{digits}f}"


def shares(result: ScanResult) -> Table:
    """Return how many volumes have which verdict, with intervals."""
    powerless = bool(no_power(result)) and not result.n_near and not result.count("copy")
    called = "above tau; none is called a copy here" if powerless else "called copies"
    mem = "training volumes with at least one copy"
    if result.rule == "conformal":
        mem = "training volumes that a called volume was found near"
    elif powerless:
        mem = "training volumes with at least one above tau"
    n, floor = result.n_synthetic, by_chance(result)
    chance = deciding(result).by_chance if floor is None else percent(floor)
    if result.null_floor_copies is not None:
        chance += " (null floor)"
    rows = [_share(f"N_copies: synthetic volumes {called}", result.n_copies, n, chance)]
    if result.rule == "conformal":
        rows += [
            _share("synthetic volumes called near-duplicates", result.n_near, n, "as above"),
            _share("undecided: neither called nor novel", result.count("undecided"), n),
            _share("novel", result.count("novel"), n),
        ]
    floor_mem = result.null_floor_mem
    chance_mem = "" if floor_mem is None else f"{percent(floor_mem)} (null floor)"
    rows.append(_share(f"N_mem: {mem}", result.n_mem, result.n_training, chance_mem))
    head = ("Measure", "Count", "Share", "95 % interval", "Expected by chance")
    return Table(head, tuple(rows), (1, 2, 3), (0,))


def _share(name: str, k: int, n: int, chance: str = "") -> tuple[str, ...]:
    low, high = clopper_pearson(k, n)
    return (
        name,
        f"{k} of {n}",
        percent(k / max(n, 1)),
        f"{percent(low)} to {percent(high)}",
        chance,
    )


def rules(result: ScanResult) -> Table:
    """Return every rule on the same volumes; the deciding one stands out."""
    rows = []
    for rule in result.rules:
        digits = max(4, result.digits) if rule.measure == "similarity" else 4
        level = "calls nothing" if rule.threshold is None else f"{rule.threshold:.{digits}f}"
        if rule.threshold_interval is not None:
            level += f" ({between(rule.threshold_interval, digits)})"
        low, high = rule.copies_interval
        mem = "" if rule.mem_share is None else f"{percent(rule.mem_share)}, {rule.mem_note}"
        rows.append(
            (
                f"{rule.name}{' (decides)' if rule.decides else ''}",
                MEASURES[rule.measure],
                f"{rule.n_copies} of {result.n_synthetic}",
                f"{percent(low)} to {percent(high)}",
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
    return Table(head, tuple(rows), (2, 3), strong)


def limits(calibration: Calibration) -> Table:
    """Return where copies begin and novel volumes end, and how well classes separate."""

    def limit(name: str, value: float | None, interval: Interval | None) -> tuple[str, ...]:
        return name, "not known" if value is None else f"{value:.3f}", between(interval)

    def area(name: str, found: tuple[float, float, float] | None) -> tuple[str, ...]:
        if found is None:
            return name, "not known", ""
        return name, f"{found[0]:.3f}", between(found[1:])

    c = calibration
    return Table(
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


def kinds(test: SelfTest) -> Table:
    """Return what the self-test found of each kind of planted volume."""
    labels = [label for label in LABELS if test.sum(label).n]
    every = [*test.kinds, *(test.sum(label) for label in labels)]
    head = (
        "Planted",
        "Volumes",
        "Source retrieved first",
        "among 5",
        f"among {test.k}",
        "Called",
        "95 % interval",
        *VERDICTS,
        "Right verdict",
        "95 % interval",
    )
    rows = tuple(_kind(row) for row in every if row.n)
    sums = tuple(range(len(rows) - len(labels), len(rows)))
    rows += tuple(_kind(row, test.strength) for row in test.harder if row.n)
    return Table(head, rows, tuple(range(1, len(head))), sums)


def _kind(row: KindResult, strength: float = 1.0) -> tuple[str, ...]:
    name = f"all {PLANTED[row.label]}" if row.kind == "all" else row.kind
    name += f", {largest(row.kind, strength)}" if strength != 1 else ""
    if row.label == "novel" and row.kind != "all":
        name = f"unrelated, {name}"
    retrieved = (row.retrieved_1, row.retrieved_5, row.retrieved_k)
    return (
        name,
        str(row.n),
        *("" if row.label == "novel" else percent(k / row.n, 0) for k in retrieved),
        percent(row.found.k / row.n, 0),
        told(row.found.interval),
        *(str(row.verdicts[verdict]) for verdict in VERDICTS),
        percent(row.right.k / row.n, 0),
        told(row.right.interval),
    )


def told(interval: Interval) -> str:
    """Return an interval of shares as ``93 to 100 %``."""
    return f"{100 * interval[0]:.0f} to {100 * interval[1]:.0f} %"


def rate(value: Rate) -> str:
    """Return a rate as ``98 % (93 to 100 %)``."""
    if not value.n:
        return "not known (none planted)"
    return f"{percent(value.k / value.n, 0)} ({told(value.interval)})"


def confusion(test: SelfTest) -> Table:
    """Return what planted volumes are against what they were called, cell by cell a share."""
    sums = [test.sum(label) for label in LABELS]
    return Table(
        ("Is \\ was called (95 % interval of the row's share)", *VERDICTS),
        tuple(
            (PLANTED[row.label], *(_cell(row.verdicts[verdict], row.n) for verdict in VERDICTS))
            for row in sums
            if row.n
        ),
        tuple(range(1, len(VERDICTS) + 1)),
    )


def _cell(k: int, n: int) -> str:
    return f"{k} ({told(clopper_pearson(k, n))})"


def methods(result: ScanResult, more: Mapping[str, str]) -> list[tuple[str, str]]:
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
