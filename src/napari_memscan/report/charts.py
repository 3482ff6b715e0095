"""Charts of a report as PNG bytes; they are read without colour as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.detection.exploration.threshold_curve import (
    RarefactionCurve,
    ThresholdCounts,
    count_above_threshold,
    is_threshold_inclusive,
)
from napari_memscan.report.conclusion import name_threshold
from napari_memscan.report.figures import render_png
from napari_memscan.typing import Verdict

if TYPE_CHECKING:
    from napari_memscan.detection.planting.selftest import PerturbationResult, SelfTest
    from napari_memscan.detection.results.scan_result import ScanResult

N_SWEEP_POINTS = 160
"""Thresholds of a sweep."""
DARK, MIDDLE, LIGHT = "#1c1f23", "#7b8794", "#d0d6dd"
LABEL_FILLS = {Verdict.COPY: DARK, Verdict.NEAR_DUPLICATE: "white", Verdict.NOVEL: LIGHT}
LABEL_MARKERS = {Verdict.COPY: "o", Verdict.NEAR_DUPLICATE: "s", Verdict.NOVEL: "^"}
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ThresholdSweep:
    """What every threshold would call.

    Attributes
    ----------
    at : tuple of ThresholdCounts
        Thresholds in rising order.
    """

    at: tuple[ThresholdCounts, ...]

    @property
    def thresholds(self) -> Floats:
        """Thresholds (k,)."""
        return np.array([one.threshold for one in self.at])

    @property
    def called(self) -> Floats:
        """Synthetic volumes that are called (k,)."""
        return np.array([one.above for one in self.at], float)

    @property
    def error(self) -> Floats:
        """Share of the null that would be called, its lower and its upper limit (3, k)."""
        rates = [(one.error_rate or 0.0, *one.interval) for one in self.at]
        return np.array(rates, float).T

    @property
    def by_chance(self) -> Floats:
        """Synthetic volumes that would be called if nothing were memorised, and limits (3, k)."""
        return self.error * self.at[0].n


def compute_threshold_sweep(result: ScanResult) -> ThresholdSweep:
    """Return what every threshold from the lowest to the highest value would call."""
    values, null = [result.value(s) for s in result.samples], result.null
    every = [*values, *null]
    grid = np.linspace(min(every), max(every), N_SWEEP_POINTS)
    if result.threshold is not None and grid[0] < result.threshold < grid[-1]:
        grid = np.sort(np.append(grid, result.threshold))
    at_or_above = is_threshold_inclusive(result)
    return ThresholdSweep(
        tuple(count_above_threshold(values, null, float(t), reaching=at_or_above) for t in grid)
    )


def draw_threshold_sweep(result: ScanResult, found: ThresholdSweep) -> bytes:
    """Draw how many volumes every threshold calls, and how many of them by chance."""
    from matplotlib.figure import Figure

    x, (chance, low, high) = found.thresholds, found.by_chance
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    upper: Any
    lower: Any
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    upper.plot(
        x,
        found.called,
        color=DARK,
        linewidth=2.2,
        label="synthetic volumes called",
        drawstyle="steps-post",
    )
    upper.plot(
        x,
        chance,
        color=MIDDLE,
        linewidth=1.8,
        linestyle=":",
        drawstyle="steps-post",
        label="expected if nothing were memorised",
    )
    upper.fill_between(
        x, low, high, color=LIGHT, label="95 % interval of that", step="post", zorder=1
    )
    upper.set_ylabel("volumes")
    upper.set_ylim(bottom=0)
    rate, rate_low, rate_high = 100 * found.error
    lower.fill_between(x, rate_low, rate_high, color=LIGHT, step="post")
    lower.plot(x, rate, color=MIDDLE, linewidth=1.8, linestyle=":", drawstyle="steps-post")
    lower.set_ylabel("error rate:\n% of null called")
    lower.set_ylim(0, 100)
    scored = result.measure == "score"
    lower.set_xlabel(
        f"threshold on the {'score after registration' if scored else 'similarity'}"
        " (larger is nearer)"
    )
    if result.threshold is not None:
        digits = 3 if scored else result.digits
        for axes in (upper, lower):
            axes.axvline(
                result.threshold,
                color="black",
                linestyle="--",
                linewidth=1.6,
                label=f"the rule's: {name_threshold(result)} {result.threshold:.{digits}f}",
            )
    handles, labels = upper.get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, loc="outside upper left", ncols=2)
    return render_png(figure)


def draw_rarefaction(curve: RarefactionCurve) -> bytes:
    """Draw how many training volumes have a copy over the number of synthetic volumes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    axes: Any = figure.subplots()
    axes.fill_between(curve.sizes, curve.low, curve.high, color=LIGHT, label="95 % interval")
    axes.plot(curve.sizes, curve.n_mem, color=DARK, linewidth=2.2, label="N_mem, on average")
    total = curve.unseen
    if total.interval is not None:
        axes.axhline(
            total.estimate,
            color="black",
            linestyle="--",
            linewidth=1.4,
            label=f"expected in all, at least: {total.estimate:.0f}",
        )
    axes.set_xlim(0, max(curve.n_synthetic, 1))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("synthetic volumes")
    axes.set_ylabel("training volumes with a copy")
    figure.legend(fontsize=8, loc="outside upper left", ncols=3)
    return render_png(figure)


def draw_selftest(test: SelfTest) -> bytes:
    """Draw which share of each kind of planted volume was called, with 95 % intervals."""
    from matplotlib.figure import Figure

    rows = [row for row in test.kinds if row.n]
    figure = Figure(figsize=(7.2, 1.3 + 0.24 * len(rows)), layout="constrained")
    axes: Any = figure.subplots()
    for place, row in enumerate(rows):
        share, (low, high) = 100 * row.found.k / row.n, row.found.interval
        axes.errorbar(
            share,
            place,
            xerr=[[max(share - 100 * low, 0)], [max(100 * high - share, 0)]],
            fmt=LABEL_MARKERS[row.label],
            color=DARK,
            markerfacecolor={
                Verdict.COPY: DARK,
                Verdict.NEAR_DUPLICATE: "white",
                Verdict.NOVEL: LIGHT,
            }[row.label],
            markersize=6,
            capsize=3,
            linewidth=1.2,
        )
    axes.axvline(100 * test.level, color=MIDDLE, linestyle="--", linewidth=1.4)
    axes.set_yticks(range(len(rows)), [format_kind(row) for row in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(-2, 102)
    axes.grid(axis="x", color=LIGHT, linewidth=0.8)
    axes.set_xlabel(
        f"% called copy or near-duplicate, with 95 % interval (dashed: {100 * test.level:g} %, "
        "false calls allowed)",
        fontsize=8,
    )
    axes.set_title(
        "● copies    □ near-duplicates    △ unrelated volumes, to be left alone",
        fontsize=9,
        loc="left",
    )
    return render_png(figure)


def format_kind(row: PerturbationResult) -> str:
    """Return what a kind of planted volume is called beside others."""
    if row.label == Verdict.NOVEL:
        return f"unrelated, {row.kind}"
    return f"{row.kind} (near-duplicate)" if row.label == Verdict.NEAR_DUPLICATE else row.kind
