"""Table, answers and figures of an experiment on disk."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from napari_memscan.files import replacing, write_json, write_text
from napari_memscan.jobs.experiment.factors import FACTORS
from napari_memscan.jobs.experiment.outcome import Outcome

TABLE, ANSWERS = "table.csv", "answers.json"


def write_outcome(out: str | Path, found: Outcome) -> None:
    """Write ``table.csv``, ``answers.json`` and a figure for every factor."""
    from napari_memscan.report.experiment import figure, table

    out = Path(out)
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\n").writerows(table(found.rows, found.plan.factors))
    write_text(out / TABLE, stream.getvalue())
    write_json(
        out / ANSWERS,
        {
            "deciding": found.deciding,
            "missing": found.missing,
            "answers": [
                {
                    "factor": a.factor,
                    "measure": a.measure,
                    "low": a.low,
                    "high": a.high,
                    "counts": [
                        [a.difference.k_low, a.difference.n_low],
                        [a.difference.k_high, a.difference.n_high],
                    ],
                    "difference": a.difference.value,
                    "interval": list(a.difference.interval),
                    "expected": a.expected,
                    "source": a.source,
                    "answer": a.answer,
                    "note": a.note,
                }
                for a in found.answers
            ],
        },
    )
    for name in found.plan.factors:
        if len(levels := found.levels(name)) > 1:
            values = [str(level.value) for level in levels]
            counts = {m: [level.counts[m] for level in levels] for m in found.measures}
            png = figure(FACTORS[name], values, counts, found.deciding)
            with replacing(out / "figures" / f"{name}.png") as temporary:
                temporary.write_bytes(png)
