"""Tables and figures of an experiment."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from napari_memscan.detection.statistics.differences import SINGLE_TRAINING_NOTE
from napari_memscan.detection.statistics.intervals import clopper_pearson
from napari_memscan.typing import Verdict

MARKERS = ("o", "s", "^", "D", "v")


class _FactorLike(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def what(self) -> str: ...
    @property
    def expected(self) -> str: ...


class _AnswerLike(Protocol):
    @property
    def factor(self) -> str: ...
    @property
    def measure(self) -> str: ...
    @property
    def low(self) -> Any: ...
    @property
    def high(self) -> Any: ...
    @property
    def difference(self) -> Any: ...
    @property
    def expected(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def answer(self) -> str: ...
    @property
    def note(self) -> str: ...


def build_run_table(
    rows: Sequence[Mapping[str, Any]], factors: Mapping[str, Any]
) -> list[list[Any]]:
    """Return one row a run, after a row of names; numbers as the scan gives them.

    Parameters
    ----------
    rows : sequence of dict
        Results of the runs.
    factors : mapping
        Its keys are columns.
    """
    rules = [rule["name"] for rule in rows[0]["rules"]] if rows else []
    head = ["run", *factors, "steps_done", "n_training", "n", "copies", "copies_low", "copies_high"]
    head += ["near_duplicates", "undecided", "n_mem", "n_mem_low", "n_mem_high"]
    for name in rules:
        head += [f"{name}_{what}" for what in ("calls", "low", "high", "mem_share")]
    head += ["duplicated", "called_of_duplicated", "validation_loss"]
    lines: list[list[Any]] = [head]
    for row in rows:
        line = [row["run"], *(row["values"][name] for name in factors)]
        line += [row["steps"], row["n_training"], row["n"], row["verdicts"][Verdict.COPY]]
        line += [*map(_round_number, row["copies_interval"])]
        line += [
            row["verdicts"][Verdict.NEAR_DUPLICATE],
            row["verdicts"][Verdict.UNDECIDED],
            row["n_mem"],
        ]
        line += [*map(_round_number, row["mem_interval"])]
        for rule in row["rules"]:
            line += [
                rule["n"],
                *map(_round_number, rule["interval"]),
                _round_number(rule["mem_share"]),
            ]
        line += [row["duplicated"], row["called_of_duplicated"], row["validation_loss"]]
        lines.append(line)
    return lines


def _round_number(value: float | None) -> float | str:
    return "" if value is None else round(value, 6)


def format_run_table(rows: Sequence[Mapping[str, Any]], factors: Mapping[str, Any]) -> str:
    """Return the runs for a terminal."""
    if not rows:
        return "no run is finished yet"
    width = max(len(row["run"]) for row in rows) + 2
    names = [rule["name"] for rule in rows[0]["rules"]]
    wide = max(map(len, names)) + 3
    head = f"{'run':{width}}{'training':>9}{'sampled':>8}{'copies':>8}  {'95 % interval':18}"
    head += f"{'N_mem':>6}  {'95 % interval':18}" + "".join(f"{name:>{wide}}" for name in names)
    lines = [head]
    for row in rows:
        lines.append(
            f"{row['run']:{width}}{row['n_training']:9}{row['n']:8}{row['verdicts']['copy']:8} "
            f" {_format_range(row['copies_interval']):18}{row['n_mem']:6} "
            f" {_format_range(row['mem_interval']):18}"
            + "".join(f"{rule['n']:{wide}}" for rule in row["rules"])
        )
    notes = {
        f"{rule['name']}: {rule['note']}" for row in rows for rule in row["rules"] if rule["note"]
    }
    lines.append("The last columns: volumes that each rule calls.")
    return "\n".join([*lines, *sorted(notes)])


def _format_range(interval: Sequence[float]) -> str:
    low, high = interval
    return f"{low:.1%} to {high:.1%}"


def format_answers(answers: Sequence[_AnswerLike], deciding: str) -> str:
    """Return what others found beside what was found here."""
    lines = ["What others found, and whether it holds here"]
    for answer in answers:
        d = answer.difference
        low, high = d.interval
        if answer.measure == deciding:
            lines.append(
                f"\n{answer.factor} {answer.low} -> {answer.high} {answer.expected} copying "
                f"({answer.source}): {answer.answer.upper()}"
            )
        text = (
            f"{answer.measure}: {d.k_low} of {d.n_low} -> {d.k_high} of {d.n_high}, "
            f"{d.value:+.1%} ({low:+.1%} to {high:+.1%}): {answer.answer}"
        )
        lines.append(
            textwrap.fill(
                text
                + (f"; {answer.note}" if answer.note not in ("", SINGLE_TRAINING_NOTE) else ""),
                96,
                initial_indent="  ",
                subsequent_indent="    ",
            )
        )
    if any(answer.note == SINGLE_TRAINING_NOTE for answer in answers):
        lines.append(
            f"\n{SINGLE_TRAINING_NOTE[0].upper()}{SINGLE_TRAINING_NOTE[1:]}. Vary the seed as well:"
            " --factor seed."
        )
    return "\n".join(lines)


def draw_factor_effect(
    factor: _FactorLike,
    values: Sequence[str],
    counts: Mapping[str, Sequence[tuple[int, int]]],
    deciding: str,
) -> bytes:
    """Draw shares over the values of a factor, each with its 95 % interval.

    Parameters
    ----------
    factor : Factor
    values : sequence of str
        From the lowest on.
    counts : mapping of str to sequence of (int, int)
        Measure to `k` of `n` at each value.
    deciding : str
        Measure that is drawn strongest.
    """
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(7.2, 3.8), layout="constrained")
    axes: Any = drawn.subplots()
    step = 0.5 / max(1, len(counts))
    for i, (name, measured) in enumerate(counts.items()):
        shares = [k / n for k, n in measured]
        limits = [clopper_pearson(k, n) for k, n in measured]
        # A share of 0 or 1 lies on its limit; rounding must not make the bar negative.
        down = [max(0.0, s - low) for s, (low, _) in zip(shares, limits, strict=True)]
        up = [max(0.0, high - s) for s, (_, high) in zip(shares, limits, strict=True)]
        strong = name == deciding
        axes.errorbar(
            [x + (i - (len(counts) - 1) / 2) * step for x in range(len(values))],
            shares,
            yerr=[down, up],
            marker=MARKERS[i % len(MARKERS)],
            linestyle="-" if strong else ":",
            linewidth=2 if strong else 1.2,
            capsize=3,
            label=f"{name} (decides)" if strong else name,
        )
    axes.set_xticks(range(len(values)), values)
    axes.set_xlim(-0.5, len(values) - 0.5)
    # Marks at 0 are seen whole.
    axes.set_ylim(bottom=-0.02 * max(axes.get_ylim()[1], 0.05))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel(f"{factor.name} ({factor.what})")
    axes.set_ylabel("share, 95 % interval")
    if factor.expected:
        word = "more" if factor.expected == "raises" else "less"
        axes.set_title(f"Others found: with more {factor.name} {word} copying", fontsize=10)
    drawn.legend(loc="outside right upper", fontsize=8)
    buffer = io.BytesIO()
    # Without the writer's name and version the same counts give the same bytes.
    drawn.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()
