"""The page about a study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_memscan.errors import BadInput
from napari_memscan.study import SampleRow, Study


def report(study: Study) -> Path:
    """Write the report of the last scan and the decisions; return ``report/index.html``."""
    from napari_memscan.detection.selftest import SelfTest
    from napari_memscan.jobs.searching import spacing
    from napari_memscan.report.page import write_report

    result = study.result()
    if result is None:
        raise BadInput(f"{study.folder}: not scanned yet. Scan first.")
    samples = study.samples()
    store = study.store()
    try:
        current, (events, head) = store.current(), store.head()
    finally:
        store.close()
    names = {str(study.sample_path(row)): row.sample for row in samples}
    return write_report(
        study.report_dir,
        result,
        title=study.config.name,
        decisions={path: current[name] for path, name in names.items() if name in current},
        pictures=study.array,
        spacing=spacing(study) if any(s.score is not None for s in result.samples) else None,
        selftest=SelfTest.load(study.scan_dir),
        provenance=provenance(study, samples, events, head),
    )


def provenance(
    study: Study, samples: Sequence[SampleRow], events: int, head: str
) -> dict[str, str]:
    """Return what the table of methods says of the model, the seeds and the decisions."""
    from napari_memscan import __version__

    seeded = [row for row in samples if row.seed]
    return {
        "memscan": __version__,
        "generator": study.config.generator.kind if study.config.generator else "none",
        "checkpoint hash": ", ".join(sorted({r.checkpoint_hash for r in samples} - {""})),
        "recipe hash": ", ".join(sorted({r.recipe_hash for r in samples} - {""})),
        "sampler": ", ".join(sorted({f"{r.sampler} {r.steps} steps" for r in samples if r.seed})),
        "networks run with": ", ".join(sorted({r.settings for r in seeded} - {""})),
        "declared of the model": _declared(study),
        "seeds": _ranges(sorted({int(r.seed) for r in seeded})),
        "preprocessing hash": study.config.preprocessing.hash,
        # A page that is handed out is a place to note it; see `memscan audit`.
        "head of the decisions": f"{head} after {events} events" if events else "",
    }


def _declared(study: Study) -> str:
    """Say what was stated or estimated because the model's files do not hold it."""
    config = study.config.generator
    stated = config.declared if config is not None else {}
    return ", ".join(f"{name} {value}" for name, value in stated.items())


def _ranges(numbers: list[int]) -> str:
    parts: list[list[int]] = []
    for n in numbers:
        if parts and n == parts[-1][-1] + 1:
            parts[-1].append(n)
        else:
            parts.append([n])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]} to {p[-1]}" for p in parts)
