"""The command ``evidence``."""

from __future__ import annotations

import sys
import textwrap
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_memscan.cli.console import note, run_with_progress, say
from napari_memscan.cli.options import JsonOption
from napari_memscan.errors import BadInput

if TYPE_CHECKING:
    from napari_memscan.detection.evidence import Metric, MetricResult

WIDTH = 96


def evidence(
    study: Annotated[Path, typer.Argument(help="Folder of a scanned study.", show_default=False)],
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            "-m",
            metavar="KEY",
            help="Such as authpct; can be repeated. Default: the few that matter.",
        ),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every metric there is.")] = False,
    json: JsonOption = False,
) -> None:
    """Compute published metrics of copying and of quality.

    Each is printed with its interval, what is expected if nothing were memorised, what larger and
    smaller mean, and when it misleads. All use the embedder of the scan and the paper's threshold.
    The result is kept in the study's scan/evidence.json.

    \b
    Examples:
      memscan evidence audit
      memscan evidence audit --metric authpct --metric ncc
      memscan evidence audit --all --json > evidence.json
    """
    from napari_memscan import jobs
    from napari_memscan.detection.evidence import METRICS, get_metric
    from napari_memscan.study import Study

    if all_ and metrics:
        raise BadInput("--all and --metric: give one of them.")
    keys = [metric.key for metric in METRICS] if all_ else metrics
    # Libraries that print would spoil the JSON.
    with redirect_stdout(sys.stderr):
        opened = Study.open(study)
        results = run_with_progress(jobs.evaluate_metrics(opened, keys), "evidence")
    if json:
        say((opened.scan_dir / "evidence.json").read_text(encoding="utf-8").rstrip())
        return
    say("\n\n".join(_format_metric(get_metric(result.key), result) for result in results))
    if keys is None:
        note(f"{len(METRICS) - len(results)} more: memscan evidence {study} --all")


def _format_metric(metric: Metric, result: MetricResult) -> str:
    """Return what there is to say of one metric, in a few lines."""
    value = "not computed" if result.value is None else _format_number(result.value, metric.unit)
    lines = [f"{metric.key:14}  {value:>12}  {metric.title}"]
    if result.interval:
        low, high = (_format_number(limit, metric.unit) for limit in result.interval)
        lines.append(f"95 % interval {low} to {high} ({result.rule})")
    if result.expected is not None:
        expected = _format_number(result.expected, metric.unit)
        lines.append(f"if nothing were memorised, about {expected}")
    if result.value is not None:
        lines.append(metric.direction)
        lines.append(
            ", ".join(f"{k} {_format_value(v)}" for k, v in _select_values(metric, result).items())
        )
    lines += [result.note, f"Careful: {metric.misleads}"]
    return "\n".join(
        [lines[0]]
        + [
            textwrap.fill(line, WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 6)
            for line in lines[1:]
            if line
        ]
    )


def _select_values(metric: Metric, result: MetricResult) -> dict[str, Any]:
    """Return what else was measured; of a curve its end points."""
    values = dict(result.values)
    if metric.key == "rarefaction":
        sizes, curve = values.pop("sizes"), values.pop("n_mem")
        for at in (0, -1):
            values[f"N_mem of {sizes[at]} synthetic volumes"] = curve[at]
        for name in ("n_mem at half", "n_mem at all"):
            values.pop(name)
    return values | {f"{name} volumes": n for name, n in result.n.items()}


def _format_number(value: float, unit: str) -> str:
    if unit == "share":
        return f"{value:.1%}"
    return f"{value:.1f}" if unit == "volumes" else f"{value:.4g}"


def _format_value(value: Any) -> str:
    if isinstance(value, dict):
        return " / ".join(f"{k} {_format_value(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return " / ".join(_format_value(v) for v in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
