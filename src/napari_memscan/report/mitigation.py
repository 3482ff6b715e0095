"""Measures against copying as a table for a terminal, and as a page that needs nothing else."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from napari_memscan.detection.mitigation import (
    MAX_COVERAGE_LOSS,
    QUALITY_METRICS,
    UNSEEN_COVERAGE,
    MitigationComparison,
    MitigationMeasure,
    RetrainingComparison,
)
from napari_memscan.detection.statistics.proportions import Proportion
from napari_memscan.files import write_text

METRIC_MEANINGS = {
    "precision": "larger: more like the patients",
    "recall": "larger: more diverse",
    "density": "larger: more like the patients",
    "coverage": "larger: more of the training volumes have a synthetic one nearby",
    "ms_ssim": "larger: less diverse",
    UNSEEN_COVERAGE: "larger: more of the patients that the model has not seen have one nearby",
}
SCREENING_NOTE = (
    "Screening leaves no called volume by construction: the same detector counts what it has left "
    "out. What it missed is said beside it, and what the other rules call, which left nothing out."
)
BATCH_NOTE = "All volumes were scanned in one batch, so one level holds for all measures."
QUALITY_NOTE = (
    "Coverage, precision and recall praise copies, so that some loss is expected where copies go; "
    "coverage of validation is not raised by copying."
)

RETRAINING_NOTE = (
    "Of measures that need another training, each row compares two trainings that differ in it; "
    "the interval of the difference (Newcombe) knows how many volumes were sampled, not how far "
    "two trainings differ by chance."
)


def compose_mitigation_answer(found: MitigationComparison) -> str:
    """Return in one sentence what the measures together bring."""
    first, last = found.measures[0], found.measures[-1]
    text = (
        f"Verified copies: {_format_share(first)} as the model samples, {_format_share(last)} with"
        f" {last.name}"
    )
    loss = found.loss(last)
    if loss is not None:
        text += f"; coverage {'lost' if loss >= 0 else 'gained'} {abs(loss):.0%}"
    if last.below:
        text += f". None left: up to {last.limit:.1%} cannot be excluded with {last.n} volumes"
    return text + "."


def format_mitigation(found: MitigationComparison) -> str:
    """Return all of it for a terminal."""
    lines = [compose_mitigation_answer(found), ""]
    lines.append(
        f"{'measure':24}{'drawn':>7}{'left':>6}{'copies':>8}  {'95 % interval':17}{'near':>5}"
        f"{'undec.':>8}" + "".join(f"{name:>14}" for name in found.measures[0].others)
    )
    for one in found.measures:
        low, high = one.rate.interval
        interval = f"{low:.1%} to {high:.1%}"
        lines.append(
            f"{one.name:24}{one.drawn:7}{one.n:6}{one.copies:8}  {interval:17}{one.near:5}"
            f"{one.undecided:8}" + "".join(f"{k:14}" for k in one.others.values())
        )
    keys = (*QUALITY_METRICS, UNSEEN_COVERAGE)
    lines += ["", f"{'quality':24}" + "".join(f"{_shorten_key(key):>16}" for key in keys)]
    lines += [
        f"{one.name:24}" + "".join(f"{_format_number(one.quality[key][0]):>16}" for key in keys)
        for one in found.measures
    ]
    lines.append(f"{'':24}each on {found.sizes['quality']} volumes")
    lines.append("")
    lines += [f"{one.name}: copies that may be left: {one.missed}" for one in found.measures]
    lines += ["", *(f"{name}: {text}" for name, text in found.elsewhere.items()), ""]
    if found.retrained:
        lines += [format_retrained_table(found.retrained), "", RETRAINING_NOTE]
    lines += [
        BATCH_NOTE,
        SCREENING_NOTE,
        QUALITY_NOTE,
        *(f"warning: {text}" for text in found.warnings),
    ]
    return "\n".join(
        textwrap.fill(x, 110, subsequent_indent="  ") if ": " in x else x for x in lines
    )


def format_retrained_table(rows: Sequence[RetrainingComparison]) -> str:
    """Return measures that need another training as a table for a terminal."""
    head = ("measure", "change", "counted", "before", "after", "difference", "fewer?", "source")
    table = [head, *(tuple(_make_retrained_row(one).values())[:-1] for one in rows)]
    widths = [max(map(len, column)) + 2 for column in zip(*table, strict=True)]
    lines = [
        "".join(f"{x:{w}}" for x, w in zip(row, widths, strict=True)).rstrip() for row in table
    ]
    notes = dict.fromkeys(f"{one.name}: {one.note}" for one in rows if one.note)
    return "\n".join([*lines, *notes])


def _make_retrained_row(one: RetrainingComparison) -> dict[str, str]:
    def share(rate: Proportion) -> str:
        low, high = rate.interval
        return f"{rate.k} of {rate.n} ({low:.1%} to {high:.1%})"

    low, high = one.difference.interval
    return {
        "name": one.name,
        "change": one.change,
        "counted": one.counted,
        "before": share(one.before),
        "after": share(one.after),
        "difference": f"{one.difference.value:+.1%} ({low:+.1%} to {high:+.1%})",
        "answer": one.answer,
        "source": one.source,
        "note": one.note,
    }


def write_mitigation_page(path: str | Path, found: MitigationComparison) -> None:
    """Write the page; it opens offline, prints, and asks nothing of anybody else."""
    from jinja2 import Environment

    keys = (*QUALITY_METRICS, UNSEEN_COVERAGE)
    rows = [
        {
            "name": one.name,
            "cells": [
                one.drawn,
                one.n,
                _format_share(one),
                one.near,
                one.undecided,
                *one.others.values(),
            ],
            "quality": [_format_quality(one, key) for key in keys],
            "lost": _format_loss(found, one),
            "missed": one.missed,
        }
        for one in found.measures
    ]
    text = (
        Environment(autoescape=True)
        .from_string(TEMPLATE)
        .render(
            found=found,
            answer=compose_mitigation_answer(found),
            good=found.measures[-1].below,
            rows=rows,
            others=list(found.measures[0].others),
            keys=[(key, METRIC_MEANINGS[key]) for key in keys],
            retrained=[_make_retrained_row(one) for one in found.retrained],
            notes=[
                BATCH_NOTE,
                SCREENING_NOTE,
                QUALITY_NOTE,
                *([RETRAINING_NOTE] if found.retrained else []),
            ],
            most_loss=f"{MAX_COVERAGE_LOSS:.0%}",
        )
    )
    write_text(path, text)


def _format_share(one: MitigationMeasure) -> str:
    if not one.n:
        return "none left"
    low, high = one.rate.interval
    return f"{one.copies} of {one.n} = {one.copies / one.n:.1%} ({low:.1%} to {high:.1%})"


def _format_loss(found: MitigationComparison, one: MitigationMeasure) -> str:
    loss = found.loss(one)
    return "not known" if loss is None else f"{loss:+.0%}"


def _shorten_key(key: str) -> str:
    return {UNSEEN_COVERAGE: "cov. unseen"}.get(key, key)


def _format_number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _format_quality(one: MitigationMeasure, key: str) -> str:
    value, interval = one.quality[key]
    if value is None:
        return "too few volumes"
    if interval is None:
        return f"{value:.3f}"
    return f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"


TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ found.title }}: measures against copying</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; color: #1c1f23; background: #fff; max-width: 68rem;
    margin: 2rem auto; padding: 0 1rem; }
  h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
  .answer { border-left: .4rem solid {{ "#3a6ea5" if good else "#b3261e" }}; padding: .6rem 1rem;
    background: #f5f6f8; font-size: 1.1rem; }
  .scroll { overflow-x: auto; }
  table { border-collapse: collapse; width: 100%; font-size: .92rem; }
  th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #d5d9de;
    vertical-align: top; }
  td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
  .warning { background: #fff6e0; border-left: .3rem solid #b07800; padding: .3rem .8rem; }
  .small { font-size: .9rem; }
  @media print { body { margin: 0; max-width: none; } tr { break-inside: avoid; }
    .answer, .warning { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
</style>
</head>
<body>
<h1>{{ found.title }}: measures against copying</h1>
<p>What can be done about copies, what is left of them, and what does it cost?</p>
<p class="answer"><strong>{{ answer }}</strong></p>
{% for text in found.warnings %}<p class="warning">{{ text }}</p>
{% endfor %}
<h2>Copies before and after</h2>
<div class="scroll"><table>
<thead><tr><th scope="col">measure</th><th scope="col" class="n">drawn</th>
<th scope="col" class="n">left</th><th scope="col">verified copies among them (95 %)</th>
<th scope="col" class="n">near-duplicates</th><th scope="col" class="n">undecided</th>
{% for name in others %}<th scope="col" class="n">{{ name }} calls</th>{% endfor %}
<th scope="col">copies that may be left</th></tr></thead>
<tbody>
{% for row in rows %}<tr><th scope="row">{{ row.name }}</th>
{% for cell in row.cells %}<td class="n">{{ cell }}</td>{% endfor %}<td>{{ row.missed }}</td></tr>
{% endfor %}</tbody>
</table></div>
<p class="small">Verdicts by the rule {{ found.rule }}; guidance of strength {{ found.strength }}.
{{ found.sizes.training }} training and {{ found.sizes.validation }} validation volumes;
checkpoint {{ found.checkpoint }}.</p>
<h2>What it costs in quality</h2>
<div class="scroll"><table>
<thead><tr><th scope="col">measure</th>{% for key, _ in keys %}<th scope="col">{{ key }}</th>
{% endfor %}<th scope="col" class="n">coverage lost</th></tr></thead>
<tbody>
{% for row in rows %}<tr><th scope="row">{{ row.name }}</th>
{% for cell in row.quality %}<td>{{ cell }}</td>{% endfor %}<td class="n">{{ row.lost }}</td></tr>
{% endfor %}</tbody>
</table></div>
<p class="small">Each on {{ found.sizes.quality }} volumes, since all grow with their number. At
most {{ most_loss }} of the coverage should be lost.
{% for key, text in keys %}{{ key }}, {{ text }}{{ "." if loop.last else "; " }}{% endfor %}</p>
<h2>Measures that need another training</h2>
{% if retrained %}<div class="scroll"><table>
<thead><tr><th scope="col">measure</th><th scope="col">change</th><th scope="col">counted</th>
<th scope="col">before (95 %)</th><th scope="col">after (95 %)</th>
<th scope="col">difference (95 %)</th><th scope="col">fewer?</th><th scope="col">source</th></tr>
</thead>
<tbody>
{% for row in retrained %}<tr><th scope="row">{{ row.name }}</th><td>{{ row.change }}</td>
<td>{{ row.counted }}</td><td>{{ row.before }}</td><td>{{ row.after }}</td>
<td>{{ row.difference }}</td><td>{{ row.answer }}{% if row.note %}<br>
<span class="small">{{ row.note }}</span>{% endif %}</td><td>{{ row.source }}</td></tr>
{% endfor %}</tbody>
</table></div>
{% endif %}<div class="scroll"><table><tbody>
{% for name, text in found.elsewhere.items() %}<tr><th scope="row">{{ name }}</th>
<td>{{ text }}</td></tr>
{% endfor %}</tbody></table></div>
<h2>How to read this</h2>
<ul>{% for text in notes %}<li>{{ text }}</li>{% endfor %}</ul>
</body>
</html>
"""
