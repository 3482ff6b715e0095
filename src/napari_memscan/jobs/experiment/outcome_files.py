"""Table, answers and figures of an experiment on disk."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from napari_memscan.files import write_atomically, write_json, write_text
from napari_memscan.jobs.experiment.factors import FACTORS
from napari_memscan.jobs.experiment.outcome import ExperimentOutcome

TABLE_FILE, ANSWERS_FILE = "table.csv", "answers.json"


def write_outcome(out: str | Path, found: ExperimentOutcome) -> None:
    """Write ``table.csv``, ``answers.json`` and a figure for every factor."""
    from napari_memscan.report.experiment import build_run_table, draw_factor_effect

    out = Path(out)
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\n").writerows(
        build_run_table(found.rows, found.plan.factors)
    )
    write_text(out / TABLE_FILE, stream.getvalue())
    write_json(
        out / ANSWERS_FILE,
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
            png = draw_factor_effect(FACTORS[name], values, counts, found.deciding)
            with write_atomically(out / "figures" / f"{name}.png") as temporary:
                temporary.write_bytes(png)
